"""Pools of encoded examples on disk, and the batches and masks that a step draws from them.

A step's batch is a function of (seed, step) alone, which is what makes a resumed run exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dllm_decode.tasks import GeneratedTask, training_examples


@dataclass(frozen=True, slots=True)
class Pool:
    """Encoded examples of one task.

    Attributes:
        prompts: ``(N, P) uint16``, left-padded with the end token.
        lengths: ``(N,) int64``, prompt tokens.
        answers: ``(N, G) uint16``, filled to the task's ``gen_length`` with the end token.
        answer_lengths: ``(N,) int64``, answer tokens without the end token.
    """

    prompts: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    answers: NDArray[np.uint16]
    answer_lengths: NDArray[np.int64]


def encode_prompts(
    tokenizer: Tokenizer, prompts: list[str], pad: int
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Returns left-padded prompts ``(N, P) uint16`` and their lengths ``(N,) int64``."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(prompts)]
    lengths = np.array([len(row) for row in rows])
    padded = np.full((len(rows), int(lengths.max())), pad, dtype=np.uint16)
    for place, row in enumerate(rows):
        padded[place, padded.shape[1] - len(row) :] = row
    return padded, lengths


def make_pool(task: GeneratedTask, tokenizer: Tokenizer, size: int, seed: int, end: int) -> Pool:
    """Samples and encodes `size` training examples of a task."""
    examples = list(islice(training_examples([task], seed), size))
    prompts, lengths = encode_prompts(tokenizer, [example.prompt for example in examples], end)
    rows = [
        encoding.ids for encoding in tokenizer.encode_batch_fast([example.reference for example in examples])
    ]
    answers = np.full((size, task.gen_length), end, dtype=np.uint16)
    kept = np.zeros(size, dtype=bool)
    for place, row in enumerate(rows):
        kept[place] = len(row) < task.gen_length
        answers[place, : min(len(row), task.gen_length)] = row[: task.gen_length]
    if not kept.all():
        raise ValueError(
            f"{task.name}: {size - int(kept.sum())} answers do not fit gen_length {task.gen_length}"
        )
    return Pool(prompts, lengths, answers, np.array([len(row) for row in rows]))


def cached_pool(folder: Path, task: GeneratedTask, tokenizer: Tokenizer, size: int, seed: int, end: int) -> Pool:
    """Loads a task's pool from `folder`, making it first where it is not there."""
    path = folder / f"{task.name}-{size}-{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pool = make_pool(task, tokenizer, size, seed, end)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, prompts=pool.prompts, lengths=pool.lengths, answers=pool.answers,
                 answer_lengths=pool.answer_lengths)  # fmt: skip
        partial.rename(path)
    with np.load(path) as stored:
        return Pool(stored["prompts"], stored["lengths"], stored["answers"], stored["answer_lengths"])


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows, all of one task (B rows, T = P + G columns).

    Attributes:
        tokens: ``(B, T) int64`` with the mask token at masked answer positions.
        valid: ``(B, T) bool``, False on the prompt's padding.
        targets: ``(B, G) int64``.
        weights: ``(B, G) float32``, each position's weight in the loss; zero where nothing was masked.
    """

    tokens: NDArray[np.int64]
    valid: NDArray[np.bool_]
    targets: NDArray[np.int64]
    weights: NDArray[np.float32]


def draw_batch(
    pool: Pool,
    rng: np.random.Generator,
    *,
    tokens_per_batch: int,
    mask: int,
    inverse_ratio: float,
    revealed_tail: float,
    tail_weight: float,
) -> Batch:
    """Draws rows and masks them as LLaDA does: ratio t in (0, 1], stratified over the batch.

    Args:
        pool: The task's examples.
        rng: A generator of this step alone.
        tokens_per_batch: Rows times columns, about.
        mask: The mask token.
        inverse_ratio: 0 weighs every masked token alike, 1 weighs it by 1/t (LLaDA's bound).
        revealed_tail: Share of rows whose end tokens after the first are never masked, which is how a
            canvas looks once confident decoding has settled its tail.
        tail_weight: Weight of end tokens after the first, which are many and easy.
    """
    width = pool.prompts.shape[1] + pool.answers.shape[1]
    rows = max(8, tokens_per_batch // width // 8 * 8)
    picked = rng.integers(0, len(pool.lengths), rows)
    ratio = (rng.permutation(rows) + rng.random(rows)) / rows
    ratio = np.maximum(1 - ratio, 1e-3)[:, None]
    answers = pool.answers[picked].astype(np.int64)
    masked = rng.random(answers.shape) < ratio
    tail = np.arange(answers.shape[1]) > pool.answer_lengths[picked][:, None]
    masked &= ~(tail & (rng.random(rows) < revealed_tail)[:, None])
    weights = masked * np.where(tail, tail_weight, 1.0) * ratio**-inverse_ratio
    weights = weights / max(float(weights.sum()), 1e-6)
    tokens = np.concatenate([pool.prompts[picked].astype(np.int64), np.where(masked, mask, answers)], axis=1)
    valid = np.arange(width) >= (pool.prompts.shape[1] - pool.lengths[picked])[:, None]
    return Batch(tokens, valid, answers, weights.astype(np.float32))

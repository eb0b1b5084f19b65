"""The log-likelihood of an answer under a masked diffusion model, estimated by LLaDA's Monte-Carlo rule.

The rule (LLaDA, arXiv 2502.09992): of an answer of L tokens draw a number n of 1 to L evenly, mask n of its tokens
evenly, and take L/n times the summed log-probabilities of the masked ones, given the rest. The mean over draws estimates
a lower bound of the log-likelihood; of a single token one draw is all there is. As in the released evaluation, the
numbers of one answer's draws are spread evenly over 1 to L. Knows nothing of lm-evaluation-harness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM


@dataclass(frozen=True, slots=True)
class Pair:
    """An answer and what stands before it."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    """At least one token."""
    seed: int
    """Of the draws: the estimate depends on nothing else but the pair."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What was found of a pair."""

    number: int
    """Its place among the pairs."""
    log: float
    """The estimate, in nats."""
    top: bool
    """Whether every masked token was the most probable one of its position, in every draw."""


@dataclass(frozen=True, slots=True)
class _Draw:
    """One forward's row: the tokens with some of the answer masked."""

    number: int
    tokens: tuple[int, ...]
    places: Tensor
    """(n,) int64: masked positions, counted from the row's end, -1 the last."""
    weight: float


def draw_masks(length: int, count: int, seed: int) -> Tensor:
    """Return (count, length) bool: which tokens of an answer are masked in each draw, one to all of them.

    The number masked is even over 1 to `length`, and so is, given the number, the choice.
    """
    source = torch.Generator().manual_seed(seed)
    # One even number moved along in equal steps: even for every draw, and spread over all draws.
    places = (torch.rand((), generator=source, dtype=torch.float64) + torch.arange(count) / count) % 1
    masked = 1 + (places * length).long().clamp(max=length - 1)  # (count,)
    ranks = torch.rand(count, length, generator=source, dtype=torch.float64).argsort(1).argsort(1)
    return ranks < masked[:, None]


def likelihoods(
    lm: DiffusionLM, pairs: Sequence[Pair], *, draws: int, batch_size: int
) -> Iterator[Likelihood]:
    """Estimate the log-likelihood of answers, and yield each as soon as it is known; the longest come first.

    Args:
        lm: The model.
        pairs: What is asked; pairs that differ in a single-token answer share their forward.
        draws: Draws of an answer of several tokens; one of a single token.
        batch_size: Rows of a forward.
    """
    order = sorted(range(len(pairs)), key=lambda n: (-len(pairs[n].prompt) - len(pairs[n].answer), pairs[n].prompt))
    found = {number: Likelihood(number, 0.0, True) for number in order}
    left = {number: 1 if len(pairs[number].answer) == 1 else draws for number in order}
    for batch in _batches((draw for n in order for draw in _draws(pairs[n], n, left[n], lm.special.mask)), batch_size):
        for draw, log, top in _answers(lm, batch, pairs):
            so_far = found[draw.number]
            found[draw.number] = Likelihood(draw.number, so_far.log + draw.weight * log, so_far.top and top)
            left[draw.number] -= 1
            if not left[draw.number]:
                yield found[draw.number]


def _draws(pair: Pair, number: int, count: int, mask: int) -> Iterator[_Draw]:
    length = len(pair.answer)
    for row in draw_masks(length, count, pair.seed):
        answer = torch.tensor(pair.answer).masked_fill(row, mask)
        places = row.nonzero()[:, 0] - length
        yield _Draw(number, (*pair.prompt, *answer.tolist()), places, length / len(places) / count)


def _batches(draws: Iterator[_Draw], size: int) -> Iterator[list[list[_Draw]]]:
    """Yield lists of at most `size` rows; each row is the draws that ask for the same forward."""
    batch: list[list[_Draw]] = []
    for _, same in groupby(draws, key=lambda draw: draw.tokens):
        batch.append(list(same))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@torch.inference_mode()
def _answers(
    lm: DiffusionLM, batch: Sequence[Sequence[_Draw]], pairs: Sequence[Pair]
) -> Iterator[tuple[_Draw, float, bool]]:
    """Yield of every draw the summed log-probability of its masked tokens, and whether each was the most probable."""
    rows = [same[0].tokens for same in batch]
    width = max(map(len, rows))
    tokens = torch.full((len(rows), width), lm.special.mask)
    valid = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, ids in enumerate(rows):
        tokens[row, width - len(ids) :] = torch.tensor(ids)
        valid[row, width - len(ids) :] = True
    span = max(-int(draw.places.min()) for same in batch for draw in same)
    window = slice(width - span, width)
    padding = None if bool(valid.all()) else valid.to(lm.device)
    logits = lm.denoiser.logits(ModelInputs(tokens.to(lm.device), padding, window))  # (B, span, V)
    for row, same in enumerate(batch):
        for draw in same:
            answer = torch.tensor(pairs[draw.number].answer)[draw.places].to(logits.device)
            wanted = logits[row, draw.places.to(logits.device) + span].float()  # (n, V)
            logs = wanted.log_softmax(-1).gather(1, answer[:, None])  # (n, 1)
            yield draw, float(logs.double().sum()), bool((wanted.argmax(-1) == answer).all())

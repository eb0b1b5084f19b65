"""From decoded answers to outcomes: what is right, and what each example cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dllm_decode.errors import ContractError
from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.generation.answers import ended

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Example, Task


def judge(lm: DiffusionLM, task: Task, examples: Sequence[Example], out: Generation) -> list[Outcome]:
    """Return the outcomes of examples that were decoded together, in their order."""
    tokens = out.tokens.cpu()  # (B, G) int64
    if task.infill:
        answer = out.decided.cpu()  # (B, G) bool
        positions = answer.sum(1).tolist()
    else:
        answer = ~ended(tokens, lm.special)
        positions = [tokens.shape[1]] * len(examples)
    hidden = torch.isin(tokens, torch.tensor(lm.hidden_tokens, dtype=torch.int64))
    up_to_eos, visible = answer.sum(1).tolist(), (answer & ~hidden).sum(1).tolist()
    passes = out.forward_passes.tolist()
    texts = [cut_at_stops(text, task.stop) for text in out.texts]
    scores = [
        _checked(task, example, score)
        for example, score in zip(
            examples, task.score_many(list(zip(examples, texts, strict=True))), strict=True
        )
    ]
    return [
        Outcome(
            id=example.id,
            correct=scores[row] == 1,
            text=texts[row],
            forward_passes=int(passes[row]),
            positions=positions[row],
            tokens=up_to_eos[row],
            visible=visible[row],
            model_calls=out.model_calls / len(examples),
            seconds=out.seconds / len(examples),
            score=scores[row],
        )
        for row, example in enumerate(examples)
    ]


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """Return what stands before the first stop string; the whole text if none occurs."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _checked(task: Task, example: Example, score: object) -> float:
    """Return a score as a number from 0 to 1.

    Raises:
        ContractError: It is none.
    """
    if isinstance(score, (bool, int, float)) and 0 <= score <= 1:
        return float(score)
    raise ContractError(
        f"task {task.name!r}: the score of example {example.id} should be True, False or from 0 to 1, got {score!r}"
    )

"""From decoded answers to outcomes: what is right, and what each example cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.generation.answers import ended

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Example, Task


def judge(lm: DiffusionLM, task: Task, examples: Sequence[Example], out: Generation) -> list[Outcome]:
    """Return the outcomes of examples that were decoded together, in their order."""
    tokens = out.tokens.cpu()  # (B, gen_length) int64
    answer = ~ended(tokens, lm.special)  # (B, gen_length) bool
    hidden = torch.isin(tokens, torch.tensor(lm.hidden_tokens, dtype=torch.int64))
    up_to_eos, visible = answer.sum(1).tolist(), (answer & ~hidden).sum(1).tolist()
    passes = out.forward_passes.tolist()
    correct = task.score_many(list(zip(examples, out.texts, strict=True)))
    return [
        Outcome(
            id=example.id,
            correct=bool(correct[row]),
            text=out.texts[row],
            forward_passes=int(passes[row]),
            positions=tokens.shape[1],
            tokens=up_to_eos[row],
            visible=visible[row],
            model_calls=out.model_calls / len(examples),
            seconds=out.seconds / len(examples),
        )
        for row, example in enumerate(examples)
    ]

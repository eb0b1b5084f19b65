"""Traces of some of an evaluation's examples: decoded once more while every step is kept.

An answer does not depend on what it is decoded with, so these are the answers that were judged; only in dtypes with few digits
may the rounding of another batch decide a tie otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dllm_decode.evaluate.choose import choose_examples
from dllm_decode.evaluate.evaluate import Evaluation
from dllm_decode.generation.chat import Chat

if TYPE_CHECKING:
    from dllm_decode.decoding.trace import Trace
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task


def traced(
    lm: DiffusionLM,
    task: Task,
    done: Evaluation,
    count: int,
    *,
    split: str | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    chat: Chat = "auto",
) -> Trace:
    """Return the trace of an evaluation's first examples, those left out for their length apart.

    Args:
        lm: The model of the evaluation.
        task: Its task.
        done: What came out of it.
        count: Examples, at most.
        split: As in `evaluate`; so are the rest.
        data: A file of examples, or a folder.
        limit: The first so many examples.
        chat: Whether a text goes through the model's chat template.
    """
    chosen, record = choose_examples(task, split, data, limit, None), done.record
    kept = [
        (place, example.prompt)
        for place, example in zip(chosen.places, chosen.examples, strict=True)
        if example.id not in record.skipped
    ][:count]
    places, prompts = [place for place, _ in kept], [prompt for _, prompt in kept]
    if task.infill:
        out = lm.infill(
            prompts, record.strategy, seed=record.seed, batch_size=record.batch_size, row_ids=places, trace=True
        )
    else:
        out = lm.generate(
            prompts,
            record.strategy,
            seed=record.seed,
            batch_size=record.batch_size,
            row_ids=places,
            chat=chat,
            trace=True,
        )
    assert out.trace is not None, "it was asked for"
    return out.trace

"""Says what a trace is of, once its rows are decoded: texts, cost and strategy, as `About`."""

from __future__ import annotations

import torch

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.decoding.about import About
from dllm_decode.decoding.trace import Trace
from dllm_decode.generation.answers import Generation
from dllm_decode.generation.table import Table
from dllm_decode.models.tokenizer import Tokenizer


def tell_about(
    out: Generation,
    table: Table,
    tokenizer: Tokenizer | None,
    special: SpecialTokens,
    *,
    model: str,
    seed: int,
) -> None:
    """Let the trace of a generation, if it has one, know what it is of.

    Args:
        out: What came out.
        table: The rows as they were decoded.
        tokenizer: None to show token ids.
        special: The model's own ids.
        model: Its name.
        seed: Of the decoding noise.
    """
    if out.trace is None:
        return
    before = table.tokens.masked_fill(table.undecided, special.mask).cpu()
    starts = [row[keep].tolist() for row, keep in zip(before, table.valid.cpu(), strict=True)]
    answer = None if table.prompt_length is None else table.tokens.shape[1] - table.prompt_length
    asked = [start if answer is None else start[: len(start) - answer] for start in starts]
    out.trace.about = About(
        strategy=out.strategy.name,
        digest=out.strategy.digest(),
        yaml=out.strategy.to_yaml(),
        model=model,
        seed=seed,
        seconds=out.seconds,
        model_calls=out.model_calls,
        forward_passes=tuple(out.forward_passes.tolist()),
        prompts=tuple(_text(tokenizer, ids) for ids in asked),
        starts=tuple(tuple(start) for start in starts),
        columns=table.tokens.shape[1],
        answer=answer,
        special=special,
        texts={token: _text(tokenizer, [token]) for token in _tokens(out.trace, starts, answer)},
    )


def _tokens(trace: Trace, starts: list[list[int]], answer: int | None) -> list[int]:
    """Return the ids of the tokens that stood in the positions to look at, or were written or proposed there."""
    found = {token for start in starts for token in (start if answer is None else start[-answer:])}
    parts = [event.tokens[event.open | event.chosen] for event in trace.events]
    if parts:
        found.update(torch.bincount(torch.cat(parts)).nonzero()[:, 0].tolist())
    return sorted(found)


def _text(tokenizer: Tokenizer | None, ids: list[int]) -> str:
    return " ".join(map(str, ids)) if tokenizer is None else str(tokenizer.decode(ids))

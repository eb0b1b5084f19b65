"""Whether prompts fit the model's context together with their answers.

Knows lengths only; what to do about a prompt that is too long is the caller's business.
"""

from __future__ import annotations

from dllm_decode.errors import ConfigError
from dllm_decode.generation.table import Table


def over_long(table: Table, gen_length: int, limit: int) -> list[int]:
    """Return the rows that are over a context of `limit` tokens with `gen_length` more behind them."""
    lengths = table.valid.sum(1) + gen_length  # (N,)
    return [int(place) for place in (lengths > limit).nonzero()[:, 0]]


def refuse_over_long(table: Table, gen_length: int, limit: int | None) -> None:
    """Refuse rows that are too long, all of them at once; None is a model that takes any length.

    Raises:
        ConfigError: Names the rows, and the way out.
    """
    long = [] if limit is None else over_long(table, gen_length, limit)
    if not long:
        return
    if limit is not None and gen_length > limit:
        raise ConfigError(f"gen_length {gen_length} is over the model's context of {limit} tokens.")
    first, length = long[0], int(table.valid[long[0]].sum())
    more = f" and gen_length is {gen_length}: {length + gen_length} together" if gen_length else ""
    others = f" So are prompts {', '.join(map(str, long[1:]))}." if len(long) > 1 else ""
    raise ConfigError(
        f"prompt {first} has {length} tokens{more}, over the model's context of {limit} tokens.{others} "
        f"Shorten {'them' if others else 'the prompt'}{' or lower gen_length' if gen_length else ''}."
    )

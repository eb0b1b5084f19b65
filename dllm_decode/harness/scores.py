"""How `loglikelihood` requests are answered: the estimate of each answer, and whether it is decoded greedily."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dllm_decode.harness.likelihood import Pair, likelihoods

if TYPE_CHECKING:
    from dllm_decode.harness.arguments import Arguments
    from dllm_decode.model import DiffusionLM


def pair_of(prompt: Sequence[int], answer: Sequence[int], seed: int) -> Pair:
    """Return a pair whose draws follow from itself and the run's seed: not from its place among others."""
    together = f"{seed} {list(prompt)} {list(answer)}".encode()
    return Pair(tuple(prompt), tuple(answer), int.from_bytes(hashlib.sha256(together).digest()[:7], "big"))


def scores(lm: DiffusionLM, pairs: Sequence[Pair], arguments: Arguments) -> Iterator[tuple[int, float, bool]]:
    """Yield places among the pairs, the estimates, and whether greedy decoding gives the answer, as they are known."""
    long = [number for number, pair in enumerate(pairs) if len(pair.answer) > 1]
    decoded = _greedy(lm, [pairs[number] for number in long], arguments.rows) if arguments.greedy else [False] * len(long)
    greedy = dict(zip(long, decoded, strict=True))
    for one in likelihoods(lm, pairs, draws=arguments.mc_num, batch_size=arguments.rows):
        # Of a single token, the forward of the estimate has told it.
        yield one.number, one.log, greedy.get(one.number, one.top)


def _greedy(lm: DiffusionLM, pairs: Sequence[Pair], batch_size: int) -> list[bool]:
    """Say of each answer whether LLaDA's rule decodes it, one token a forward; equal questions are decoded once."""
    decoded: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for length in sorted({len(pair.answer) for pair in pairs}):
        prompts = list(dict.fromkeys(pair.prompt for pair in pairs if len(pair.answer) == length))
        asked = [list(prompt) for prompt in prompts]
        out = lm.generate(asked, "llada", gen_length=length, batch_size=batch_size, chat="off")
        decoded |= {(prompt, length): ids for prompt, ids in zip(prompts, out.tokens.tolist(), strict=True)}
    return [decoded[pair.prompt, len(pair.answer)] == list(pair.answer) for pair in pairs]

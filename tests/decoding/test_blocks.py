"""Blocks that show only while decoding: adaptive ones and several at once, against plain loops of their rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Stage
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.views import BlockContext, StageContext
from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import SPECIAL, RandomModel, canvas_of, random_logits

PROMPT = [5, 7, 11]
LENGTH = 16


def best_of(tokens: list[int], seed: int) -> tuple[list[int], list[float]]:
    """The best token that is not the mask, and its probability, for every column of one row."""
    chances = random_logits(torch.tensor([tokens]), None, seed)[0].softmax(-1)
    choice = chances.clone()
    choice[:, SPECIAL.mask] = -1
    return choice.argmax(-1).tolist(), choice.max(-1).values.tolist()


def slow_adaptive(length: int, delimiter: float, threshold: float, seed: int) -> tuple[list[int], int, list[int]]:
    """Decode one row as AdaBlock's rule says; return tokens, forwards and the blocks' sizes."""
    tokens = [*PROMPT, *[SPECIAL.mask] * LENGTH]
    start, forwards, sizes = len(PROMPT), 0, []
    while start < len(tokens):
        best, score = best_of(tokens, seed)
        reach = range(start, min(start + max(1, LENGTH // 4), len(tokens)))
        ends = [c for c in reach if best[c] in SPECIAL.newlines and score[c] >= delimiter]
        stop = min(start + length, len(tokens))
        if ends:
            stop = min(ends, key=lambda c: (-score[c], c)) + 1
        open_ = list(range(start, stop))
        sizes.append(stop - start)
        while open_:
            best, score = best_of(tokens, seed)
            forwards += 1
            chosen = [c for c in open_ if score[c] >= threshold] or [min(open_, key=lambda c: (-score[c], c))]
            for c in chosen:
                tokens[c] = best[c]
            open_ = [c for c in open_ if c not in chosen]
        start = stop
    return tokens, forwards, sizes


def slow_multi(length: int, add: float, active: int, threshold: float, seed: int) -> tuple[list[int], int]:
    """Decode one row in several blocks at once; return tokens and forwards."""
    tokens = [*PROMPT, *[SPECIAL.mask] * LENGTH]
    first = len(PROMPT)
    blocks = [range(at, min(at + length, len(tokens))) for at in range(first, len(tokens), length)]
    opened, forwards = 1, 0

    def left(block: range) -> list[int]:
        return [c for c in block if tokens[c] == SPECIAL.mask]

    while any(left(block) for block in blocks):
        while opened < len(blocks):
            last = blocks[opened - 1]
            if (len(last) - len(left(last))) < add * len(last):
                break
            if sum(bool(left(block)) for block in blocks[:opened]) >= active:
                break
            opened += 1
        working = [block for block in blocks[:opened] if left(block)]
        best, score = best_of(tokens, seed)
        forwards += 1
        open_ = [c for block in working for c in left(block)]
        chosen = {c for c in open_ if score[c] >= threshold}
        oldest = left(working[0])
        if not chosen & set(oldest):
            chosen.add(min(oldest, key=lambda c: (-score[c], c)))
        for c in chosen:
            tokens[c] = best[c]
    return tokens, forwards


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("length", "delimiter", "threshold"), [(5, 0.1, 0.3), (3, 0.3, 0.9), (20, 0.05, 0.2)])
def test_adaptive_blocks_equal_a_plain_loop_of_the_rule(
    length: int, delimiter: float, threshold: float, seed: int
) -> None:
    changes = {"block.length": length, "block.threshold": delimiter, "scheduler.threshold": threshold}
    strategy = Strategy.load("adablock").override({"gen_length": LENGTH, **changes})
    done = decode(RandomModel(seed), canvas_of([PROMPT], LENGTH), strategy)
    tokens, forwards, _ = slow_adaptive(length, delimiter, threshold, seed)
    assert done.canvas.tokens[0].tolist() == tokens
    assert done.forward_passes.tolist() == [forwards]
    assert done.model_calls == forwards  # the forward that finds a block's end is the one that begins it


def test_some_adaptive_block_of_these_tests_ends_at_a_delimiter() -> None:
    sizes = [size for seed in range(4) for size in slow_adaptive(5, 0.1, 0.3, seed)[2]]
    assert any(size < 4 for size in sizes)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("length", "add", "active", "threshold"), [(4, 0.1, 4, 0.3), (3, 0.5, 2, 0.2), (5, 1.0, 4, 0.3), (4, 0.25, 1, 0.9)]
)
def test_several_blocks_at_once_equal_a_plain_loop_of_the_rule(
    length: int, add: float, active: int, threshold: float, seed: int
) -> None:
    changes = {"block.length": length, "block.add": add, "block.active": active, "scheduler.threshold": threshold}
    strategy = Strategy.load("multi-block").override({"gen_length": LENGTH, **changes})
    done = decode(RandomModel(seed), canvas_of([PROMPT], LENGTH), strategy)
    tokens, forwards = slow_multi(length, add, active, threshold, seed)
    assert done.canvas.tokens[0].tolist() == tokens
    assert done.forward_passes.tolist() == [forwards]


def test_one_active_block_that_waits_for_all_of_the_last_is_fixed_blocks() -> None:
    multi = Strategy.load("multi-block").override(
        {"gen_length": LENGTH, "block": {"name": "multi", "length": 5, "add": 1.0, "active": 1}}
    )
    fixed = Strategy.load("fast-dllm").override({"gen_length": LENGTH, "block": {"name": "fixed", "length": 5}})
    first, second = (decode(RandomModel(), canvas_of([PROMPT, [4]], LENGTH), each) for each in (multi, fixed))
    assert torch.equal(first.canvas.tokens, second.canvas.tokens)
    assert torch.equal(first.forward_passes, second.forward_passes)


class Nowhere(RandomModel):
    """A model whose tokenizer has no line breaks."""

    special = SpecialTokens(mask=SPECIAL.mask, eos=1, eot=2)


def test_adaptive_blocks_without_delimiters_say_what_to_give() -> None:
    strategy = Strategy.load("adablock", gen_length=LENGTH)
    with pytest.raises(ConfigError, match=r"no line-break tokens.*block\.delimiters"):
        decode(Nowhere(), canvas_of([PROMPT], LENGTH), strategy)
    given = strategy.override({"block.delimiters": [3]})
    assert not decode(Nowhere(), canvas_of([PROMPT], LENGTH), given).canvas.undecided.any()


@pytest.mark.parametrize("recipe", ["adablock", "multi-block"])
def test_a_budget_of_steps_for_blocks_not_known_beforehand_is_refused(recipe: str) -> None:
    strategy = Strategy.load(recipe).override({"scheduler": "even", "steps": 4})
    with pytest.raises(ConfigError, match="steps: 4 steps cannot be shared out.*set steps to null"):
        strategy.check()
    assert Strategy.load(recipe).override({"scheduler": "even"}).check().max_forwards() == 64


def test_the_early_commit_decides_the_block_from_the_forward_that_was_sure_enough() -> None:
    for threshold, expected in ((0.0, 1), (0.99, 8)):
        strategy = Strategy.load("prophet").override({"gen_length": LENGTH, "steps": 8, "stop.0.threshold": threshold})
        trace = Trace()
        done = decode(RandomModel(), canvas_of([PROMPT], LENGTH), strategy, on_step=trace.record)
        assert done.forward_passes.tolist() == [expected]
        filled = [int(event.chosen.sum()) for event in trace.events if event.stage == "stop"]
        assert sum(filled) == (LENGTH - 2 if threshold == 0.0 else 0)


def test_the_early_commit_measures_the_mean_gap_over_what_was_open() -> None:
    tokens = [*PROMPT, *[SPECIAL.mask] * LENGTH]
    top = random_logits(torch.tensor([tokens]), None)[0].softmax(-1)
    top[:, SPECIAL.mask] = 0
    gaps = top.topk(2, dim=-1).values
    mean = float((gaps[:, 0] - gaps[:, 1])[len(PROMPT) :].mean())
    for threshold, forwards in ((mean - 1e-3, 1), (mean + 1e-3, None)):
        strategy = Strategy.load("prophet").override({"gen_length": LENGTH, "stop.0.threshold": threshold})
        done = decode(RandomModel(), canvas_of([PROMPT], LENGTH), strategy)
        assert (int(done.forward_passes[0]) == 1) is (forwards == 1)


class EmptyBlocks(BlockConfig):
    """Blocks without a position, without end."""

    name: Literal["empty-blocks"] = "empty-blocks"

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield nothing to do, for ever."""
        nothing: Tensor = torch.zeros_like(context.canvas.undecided)
        while True:
            yield Block(nothing, context.canvas.region, None, context.canvas.prompt_length)


class EmptyStages(LayeringConfig):
    """Stages without a position, without end."""

    name: Literal["empty-stages"] = "empty-stages"

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield nothing to do, for ever."""
        while True:
            yield Stage("nothing", torch.zeros_like(context.where), None)


@pytest.mark.parametrize("part", [{"block": EmptyBlocks()}, {"layering": EmptyStages()}])
def test_parts_that_offer_nothing_without_end_are_stopped_and_named(part: dict[str, Any]) -> None:
    strategy = Strategy.load("llada", gen_length=LENGTH).model_copy(update=part)
    kind, config = next(iter(part.items()))
    with pytest.raises(ContractError, match=f"{kind} '{config.name}'.*without a position to decide"):
        decode(RandomModel(), canvas_of([PROMPT], LENGTH), strategy)

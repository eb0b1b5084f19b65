"""Rows with nothing left to decide are left out of the forwards that their batch mates still need."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from dllm_decode.data.canvas import Block, Stage
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.views import BlockContext, StageContext
from dllm_decode.decoding import left as remaining
from dllm_decode.decoding.decoded import Decoded, decode
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing import ScriptedDenoiser
from dllm_decode.testing import canvas_of as kit_canvas
from dllm_strategies.blocks import FixedBlocks
from dllm_strategies.single import SingleStage
from tests.support.random_model import SPECIAL, RandomModel, canvas_of, random_llama

LENGTH = 12
PROMPTS = [[5], [7, 3, 9, 4, 8, 12, 6], [3, 3, 10], [15, 6, 7, 8, 9], [4, 4], [20, 21]]
SCHEDULES: dict[str, tuple[str, dict[str, Any]]] = {
    "threshold": ("fast-dllm", {"block": {"name": "fixed", "length": 6}, "scheduler.threshold": 0.3}),
    "threshold at a temperature": ("fast-dllm", {"scheduler.threshold": 0.3, "temperature": 0.8}),
    "entropy bounded": ("entropy-bounded", {"scheduler.gamma": 0.5}),
    "CHLG": ("said", {"steps": 3, "layering.detail.threshold": 0.3}),
    "guided": ("fast-dllm", {"scheduler.threshold": 0.3, "logits": ["guidance"]}),
    "stop at the end token": ("llada", {"stop": "eos"}),
    "KLASS": ("klass", {"scheduler.threshold": 0.2, "scheduler.epsilon": 0.5}),
    "several blocks": ("multi-block", {"block.length": 4, "scheduler.threshold": 0.3}),
    "adaptive blocks": ("adablock", {"block.length": 5, "block.threshold": 0.1, "scheduler.threshold": 0.3}),
}


class Counting(RandomModel):
    """Counts the rows that go through the model."""

    rows = 0

    def logits(self, inputs: ModelInputs) -> torch.Tensor:
        """Return the logits and add up the rows."""
        self.rows += inputs.tokens.shape[0]
        return super().logits(inputs)


def run(name: str) -> tuple[Decoded, int]:
    recipe, changes = SCHEDULES[name]
    model = Counting()
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, **changes})
    return decode(model, canvas_of(PROMPTS, LENGTH), strategy, seed=4), model.rows


@pytest.mark.parametrize("name", SCHEDULES)
def test_leaving_rows_out_changes_neither_tokens_nor_costs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, fewer = run(name)
    monkeypatch.setattr(remaining, "DROP_AT", -1.0)
    plain, all_rows = run(name)
    assert torch.equal(fast.canvas.tokens, plain.canvas.tokens)
    assert torch.equal(fast.forward_passes, plain.forward_passes)
    assert fast.model_calls == plain.model_calls
    assert fewer < all_rows


def test_a_threshold_runs_hardly_more_rows_than_the_rows_pay_for() -> None:
    done, rows = run("threshold")
    paid = int(done.forward_passes.sum())
    assert paid <= rows <= 1.25 * paid


def test_planned_forwards_keep_every_row() -> None:
    model = Counting()
    strategy = Strategy.load("wino").override({"gen_length": LENGTH, "scheduler.threshold": 0.2})
    done = decode(model, canvas_of(PROMPTS, LENGTH), strategy)
    assert model.rows == len(PROMPTS) * done.model_calls


def cached(strategy: Strategy, monkeypatch: pytest.MonkeyPatch, worth: float) -> tuple[Decoded, list[int]]:
    """Return a decode on a scripted model and the rows of its forwards."""
    monkeypatch.setattr(remaining, "DROP_AT", worth)
    model = ScriptedDenoiser(wander=0.2)
    done = decode(model, kit_canvas(PROMPTS, LENGTH), strategy, seed=4)
    return done, [len(canvas) for canvas in model.canvases]


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "several blocks"])
def test_rows_leave_cached_forwards_and_come_back_in_the_next_block(
    name: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, changes = SCHEDULES[name]
    blocks = {} if "block" in changes or "block.length" in changes else {"block": {"name": "fixed", "length": 4}}
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, **changes, **blocks, "cache": cache})
    fast, fewer = cached(strategy, monkeypatch, 0.99)
    plain, every = cached(strategy, monkeypatch, -1.0)
    assert torch.equal(fast.canvas.tokens, plain.canvas.tokens)
    assert torch.equal(fast.forward_passes, plain.forward_passes)
    assert fast.model_calls == plain.model_calls
    assert sum(fewer) < sum(every)
    if name == "threshold":  # rows that have ended early do not come back, but those that only waited do
        assert any(after > before for before, after in pairwise(fewer))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("guided", [[], ["guidance"]])
def test_a_cut_cache_of_a_real_model_gives_the_same_tokens(
    guided: list[str], cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"block.length": 4, "scheduler.threshold": 0.3, "cache": cache, "logits": guided}
    strategy = Strategy.load("fast-dllm").override({"gen_length": LENGTH, **changes})
    results = []
    for worth in (0.99, -1.0):
        monkeypatch.setattr(remaining, "DROP_AT", worth)
        model = BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))
        monkeypatch.setattr(model, "_tokens_a_piece", 40)  # several pieces of rows, of a cut cache
        results.append(decode(model, canvas_of(PROMPTS, LENGTH), strategy, seed=4))
    fast, plain = results
    assert torch.equal(fast.canvas.tokens, plain.canvas.tokens)
    assert torch.equal(fast.forward_passes, plain.forward_passes)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("layering", ["single", "scaffold", "grid", "chlg"])
@pytest.mark.parametrize("scheduler", ["even", "threshold"])
def test_rows_that_left_a_cached_block_are_there_for_the_next_blocks_probe(
    scheduler: str, layering: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"block.length": 4, "block.threshold": 0.1, "scheduler": scheduler, "layering": layering, "cache": cache}
    strategy = Strategy.load("adablock").override({"gen_length": 20, **changes})
    fast, _ = cached(strategy, monkeypatch, 0.99)
    plain, _ = cached(strategy, monkeypatch, -1.0)
    assert torch.equal(fast.canvas.tokens, plain.canvas.tokens)
    assert torch.equal(fast.forward_passes, plain.forward_passes)


class LooksBack(SingleStage):
    """Leaves the last column out of its first stage, and probes before it goes on."""

    def stages(self, context: StageContext) -> Iterator[Stage]:
        """Yield everything but the last column, and then that."""
        last = context.where & (context.where.flip(1).cumsum(1).flip(1) == 1)
        yield Stage("first", context.where & ~last, None)
        context.probe()
        yield Stage("last", last, None)


class Nameless(FixedBlocks):
    """Blocks that do not say which they are."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield the blocks from left to right."""
        yield from (replace(block, number=0) for block in super().blocks(context))


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("parts", [{"layering": LooksBack()}, {"block": Nameless(length=4)}])
def test_a_forward_over_rows_that_the_cache_has_dropped_computes_everything(
    parts: dict[str, Any], cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"block.length": 4, "scheduler.threshold": 0.3, "cache": cache, "gen_length": LENGTH}
    strategy = Strategy.load("fast-dllm").override(changes).model_copy(update=parts)
    monkeypatch.setattr(remaining, "DROP_AT", 0.99)
    model = BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))
    done = decode(model, canvas_of(PROMPTS, LENGTH), strategy)
    assert not done.canvas.undecided.any()


def test_caches_that_know_nothing_of_rows_keep_every_row() -> None:
    model = ScriptedDenoiser(wander=0.2)
    changes = {"block.length": 4, "scheduler.threshold": 0.3, "cache": "delayed", "gen_length": LENGTH}
    decode(model, kit_canvas(PROMPTS, LENGTH), Strategy.load("fast-dllm").override(changes))
    assert {len(canvas) for canvas in model.canvases} == {len(PROMPTS)}

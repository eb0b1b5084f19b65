"""The delayed-commit cache: which columns it recomputes, however the window moves, and what a decode makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.canvas import Block
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.checkpoints import write_small_model
from dllm_strategies.delayed import DelayedCache
from tests.models.test_cache import prompts

LENGTH = 40


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    """A small LLaDA checkpoint in float64, where equal means equal."""
    folder = write_small_model(tmp_path_factory.mktemp("delayed"))
    return DiffusionLM.from_pretrained(folder, dtype="float64", eot_token_id=3)


def recomputed(windows: list[tuple[int, int]], **fields: Any) -> list[tuple[int, int] | None]:
    """Return what a policy recomputes for a window a forward; None is everything."""
    policy = DelayedCache(**fields).build()
    found: list[tuple[int, int] | None] = []
    for number, (start, stop) in enumerate(windows):
        where = torch.zeros(1, LENGTH, dtype=torch.bool)
        where[:, start:stop] = True
        block = Block(where, slice(start, stop), None, start, number=number // 3)
        columns = policy.recompute(block, number % 3, LENGTH)
        found.append(None if columns is None else (columns.start, columns.stop))
    return found


def by_column(windows: list[tuple[int, int]], delay: int) -> list[tuple[int, int] | None]:
    """The same rule column by column: one that the window has left is recomputed in `delay` more forwards."""
    left_since: dict[int, int] = {}
    found: list[tuple[int, int] | None] = []
    for number, (start, stop) in enumerate(windows):
        for column in range(start):
            left_since.setdefault(column, number if number else -delay)  # the prompt was never in a window
        for column in range(start, LENGTH):
            left_since.pop(column, None)
        waiting = [column for column, since in left_since.items() if number - since < delay]
        found.append(None if number == 0 else (min([start, *waiting]), stop))
    return found


def test_a_finished_block_is_computed_once_more_and_then_frozen() -> None:
    windows = [(8, 16), (8, 16), (16, 24), (16, 24), (24, 32)]
    assert recomputed(windows) == [None, (8, 16), (8, 24), (16, 24), (16, 32)]
    assert recomputed(windows, delay=2) == [None, (8, 16), (8, 24), (8, 24), (16, 32)]


def test_everything_is_computed_again_at_a_refresh_and_delays_run_on() -> None:
    windows = [(8, 16), (16, 24), (16, 24), (16, 24), (24, 32)]
    assert recomputed(windows, refresh=3) == [None, (8, 24), (16, 24), None, (16, 32)]


moves = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=20)


@given(moves, st.integers(1, 4))
def test_the_window_is_always_covered_and_every_column_waits_its_delay(
    steps: list[tuple[int, int]], delay: int
) -> None:
    windows, start, stop = [], 0, 4
    for more_start, more_stop in steps:
        start = min(start + more_start, LENGTH - 1)
        stop = max(min(stop + more_stop, LENGTH), start + 1)
        windows.append((start, stop))
    found = recomputed(windows, delay=delay)
    assert found == by_column(windows, delay)
    for columns, (start, stop) in zip(found, windows, strict=True):
        assert columns is None or (columns[0] <= start and columns[1] >= stop)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 15)), min_size=1, max_size=12), st.integers(1, 3)
)
def test_a_window_that_moves_anywhere_is_covered(spans: list[tuple[int, int]], delay: int) -> None:
    windows = [(start, start + width) for start, width in spans]
    for columns, (start, stop) in zip(recomputed(windows, delay=delay), windows, strict=True):
        assert columns is None or (columns[0] <= start and columns[1] >= stop)


def test_every_decode_begins_with_a_memory_of_its_own() -> None:
    config = DelayedCache()
    assert config.build() is not config.build()


@pytest.mark.parametrize("fields", [{"delay": 0}, {"refresh": 0}, {"delay": 1.5}])
def test_a_delay_below_one_forward_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cache"):
        Strategy.load("fast-dllm").override({"cache": {"name": "delayed", **fields}})


def spied(lm: DiffusionLM, monkeypatch: pytest.MonkeyPatch) -> list[ModelInputs]:
    """Return a list that fills with what the model is asked."""
    asked: list[ModelInputs] = []
    answer = lm.denoiser.hidden
    monkeypatch.setattr(lm.denoiser, "hidden", lambda inputs: asked.append(inputs) or answer(inputs))
    return asked


def test_blocks_are_served_from_one_full_forward(lm: DiffusionLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spied(lm, monkeypatch)
    tokens, _ = prompts()
    strategy = Strategy.load("llada", gen_length=12, steps=6).override(
        {"block": {"name": "fixed", "length": 4}, "cache": "delayed"}
    )
    lm.generate(tokens, strategy)
    columns = [inputs.recompute for inputs in asked]
    assert columns == [None, slice(9, 13), slice(9, 17), slice(13, 17), slice(13, 21), slice(17, 21)]


def test_several_blocks_at_once_are_served_while_their_window_moves(
    lm: DiffusionLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spied(lm, monkeypatch)
    tokens, valid = prompts()
    strategy = Strategy.load("multi-block", gen_length=20).override(
        {"block.length": 4, "scheduler.threshold": 0.4, "cache": {"name": "delayed", "delay": 2}}
    )
    lm.generate(tokens, strategy, attention_mask=valid)
    windows = [(inputs.window.start, inputs.window.stop) for inputs in asked]
    assert len({start for start, _ in windows}) > 3
    assert sum(inputs.recompute is None for inputs in asked) == 1
    columns = [None if c is None else (c.start, c.stop) for c in (inputs.recompute for inputs in asked)]
    assert columns == by_column(windows, delay=2)


def test_buffers_are_allocated_by_the_first_forward_and_kept(
    lm: DiffusionLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = spied(lm, monkeypatch)
    buffers: list[tuple[int, ...]] = []
    answer = lm.denoiser.hidden

    def noted(inputs: ModelInputs) -> Tensor:
        logits = answer(inputs)
        assert inputs.cache is not None
        buffers.append(tuple(part.data_ptr() for part in (*inputs.cache.keys, *inputs.cache.values)))
        return logits

    monkeypatch.setattr(lm.denoiser, "hidden", noted)
    tokens, valid = prompts()
    strategy = Strategy.load("fast-dllm", gen_length=12).override(
        {"block.length": 4, "cache": {"name": "delayed", "refresh": 3}}
    )
    lm.generate(tokens, strategy, attention_mask=valid)
    assert len(asked) > 3
    assert len(set(buffers)) == 1


@pytest.mark.parametrize("refresh", [None, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {"block": "whole"},
        {"block": {"name": "fixed", "length": 5}},
        {"layering": "scaffold", "steps": 8},
        {"layering": "chlg", "temperature": 0.7},
        {"logits": ["guidance"], "block": {"name": "fixed", "length": 4}},
    ],
)
def test_a_decode_is_deterministic_and_decides_everything(
    lm: DiffusionLM, changes: dict[str, Any], refresh: int | None
) -> None:
    tokens, valid = prompts()
    cache = {"name": "delayed", "delay": 2, "refresh": refresh}
    strategy = Strategy.load("fast-dllm", gen_length=12).override(
        {"scheduler.threshold": 0.5, **changes, "cache": cache}
    )
    first, second = (lm.generate(tokens, strategy, attention_mask=valid, seed=4) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)
    assert not (first.tokens == lm.special.mask).any()
    assert int(first.forward_passes.max()) <= strategy.max_forwards()


def test_refreshing_in_every_forward_decodes_as_without_a_cache(lm: DiffusionLM) -> None:
    tokens, valid = prompts()
    plain = Strategy.load("fast-dllm", gen_length=12).override(
        {"block.length": 4, "scheduler.threshold": 0.5}
    )
    cached = plain.override({"cache": {"name": "delayed", "refresh": 1}})
    assert torch.equal(
        lm.generate(tokens, cached, attention_mask=valid).tokens,
        lm.generate(tokens, plain, attention_mask=valid).tokens,
    )


@pytest.mark.parametrize("padded", [False, True])
def test_infill_works_with_scattered_positions(lm: DiffusionLM, padded: bool) -> None:
    tokens, valid = prompts()
    tokens[:, 5], tokens[:, 7] = lm.special.mask, lm.special.mask
    tokens[1, 2] = lm.special.mask
    strategy = Strategy.load("llada").override({"block": {"name": "fixed", "length": 2}, "cache": "delayed"})
    out = lm.infill(tokens, strategy, attention_mask=valid if padded else None)
    given_tokens = tokens != lm.special.mask
    assert torch.equal(out.tokens[given_tokens], tokens[given_tokens])
    assert not (out.tokens == lm.special.mask).any()


@pytest.mark.parametrize(
    ("cache", "dependent"),
    [
        ("prefix", False),
        ("dual", False),
        ({"name": "dual", "refresh": 2}, True),
        ({"name": "dual", "refresh": 1}, False),
        ("delayed", True),
        ({"name": "delayed", "refresh": 1}, False),
    ],
)
def test_the_dependence_on_batch_mates_is_stated(cache: Any, dependent: bool) -> None:
    strategy = Strategy.load("fast-dllm").override({"cache": cache})
    assert strategy.cache is not None
    assert strategy.cache.batch_dependent is dependent

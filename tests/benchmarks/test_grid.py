"""What a constrained search spends beside an exhaustive grid of the same space, on a made-up objective."""

from __future__ import annotations

import pytest

from benchmarks.quality.grid import GRID, compare, points
from dllm_decode.errors import ConfigError
from dllm_search.space.space import Space
from tests.search.test_constrained import LENGTH, MadeUp


def test_a_grid_and_a_search_of_the_same_space_are_compared_by_the_forwards_they_take() -> None:
    limits = GRID | {"block": "whole", "stop": "none", "steps": {"choices": [2, 4, 8, 12, 16, 24, 32]}}
    del limits["block.fixed.length"]
    space = Space.everything(LENGTH).limited(limits)
    strategies = list(points(space))
    assert len(strategies) == 13 and len({strategy.digest() for strategy in strategies}) == 13
    result = compare(MadeUp(), "made-up", space, examples=60, trials=8, max_drop=3.0, seed=0)
    paid = sum(MadeUp().rows(s, "tune", range(60)).forward_passes * 60 for s in strategies)
    assert result["grid"]["forwards"] == round(paid) and result["grid"]["points"] == 13
    assert result["search"]["forwards"] < result["grid"]["forwards"] + 3 * 60 * LENGTH
    assert result["grid"]["best"]["accuracy"] >= result["reference"]["accuracy"] - 0.03
    with pytest.raises(ConfigError, match="steps should be choices"):
        list(points(Space.load("llada", LENGTH)))

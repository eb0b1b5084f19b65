"""The scheduler on a small table, counted by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dllm_decode_cosine import CosineScheduler
from pydantic import ValidationError

from dllm_decode.state import Proposal


def commits(scheduler: CosineScheduler, positions: int, steps: int | None) -> list[int]:
    """How many positions each step commits when larger columns have larger scores."""
    score = torch.arange(positions, dtype=torch.float32)[None]  # (1, W)
    open_ = torch.ones(1, positions, dtype=torch.bool)
    counts = []
    while open_.any():
        view: Any = SimpleNamespace(
            open=open_,
            stage_open=torch.tensor([positions]),
            step=len(counts),
            stage=SimpleNamespace(steps=steps),
        )
        chosen = scheduler.select(view, Proposal(torch.zeros(1, positions, dtype=torch.int64), score))
        assert not (chosen & ~open_).any()
        counts.append(int(chosen.sum()))
        open_ = open_ & ~chosen
    return counts


def test_eight_positions_in_four_steps_follow_the_cosine() -> None:
    # 8 cos(22.5°) = 7.4, 8 cos(45°) = 5.7, 8 cos(67.5°) = 3.1, 8 cos(90°) = 0 stay open
    assert commits(CosineScheduler(), 8, 4) == [1, 2, 2, 3]


def test_a_larger_power_commits_later() -> None:
    # 7.96, 7.4, 5.1, 0 stay open; where this says none, the engine commits the best position
    assert commits(CosineScheduler(power=2.0), 8, 4) == [1, 0, 2, 5]


def test_the_power_must_be_positive() -> None:
    with pytest.raises(ValidationError):
        CosineScheduler(power=0)

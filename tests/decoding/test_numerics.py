"""The vectorised arithmetic agrees with plain loops, and noise is what noise should be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_decode.data.noise import Noise, gumbel
from dllm_decode.data.selection import best_open, even_quota, top_by_quota
from dllm_decode.testing.reference_loops import best, even_counts
from tests.support.views import noise_of

SCORES = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 0.5, 1.0])  # few values, so that ties are common


@st.composite
def selections(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int]]:
    """(B, W) float32 scores, (B, W) bool open positions, a quota for each row."""
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    score = [[draw(SCORES) for _ in range(width)] for _ in range(rows)]
    open_ = [[draw(st.booleans()) for _ in range(width)] for _ in range(rows)]
    quota = [draw(st.integers(0, width + 2)) for _ in range(rows)]
    return torch.tensor(score), torch.tensor(open_), quota


def chosen_by_a_loop(score: Tensor, open_: Tensor, quota: list[int]) -> list[list[bool]]:
    """Choose row after row: the best open columns, of equal ones the smaller."""
    chosen = []
    for row_score, row_open, count in zip(score.tolist(), open_.tolist(), quota, strict=True):
        columns = [column for column, is_open in enumerate(row_open) if is_open]
        taken = best(row_score, columns, count)
        chosen.append([column in taken for column in range(len(row_open))])
    return chosen


@given(positions=st.lists(st.integers(0, 40), min_size=1, max_size=4), steps=st.integers(1, 12))
def test_even_quota_splits_as_the_formula_says(positions: list[int], steps: int) -> None:
    for step in range(steps):
        expected = [even_counts(count, steps)[step] for count in positions]
        batched = even_quota(torch.tensor(positions), steps, step)
        assert isinstance(batched, Tensor) and batched.tolist() == expected
        assert [even_quota(count, steps, step) for count in positions] == expected


def test_even_quota_without_steps_is_one_a_step() -> None:
    assert even_quota(7, None, 3) == 1
    batched = even_quota(torch.tensor([7, 2]), None, 3)
    assert isinstance(batched, Tensor) and batched.tolist() == [1, 1]


@given(selections())
def test_top_by_quota_equals_a_loop_over_rows(case: tuple[Tensor, Tensor, list[int]]) -> None:
    score, open_, quota = case
    assert top_by_quota(score, open_, torch.tensor(quota)).tolist() == chosen_by_a_loop(score, open_, quota)
    same = [quota[0]] * len(quota)
    assert top_by_quota(score, open_, quota[0]).tolist() == chosen_by_a_loop(score, open_, same)


@given(selections())
def test_best_open_is_the_first_of_the_best_and_nothing_in_an_empty_row(
    case: tuple[Tensor, Tensor, list[int]],
) -> None:
    score, open_, quota = case
    assert best_open(score, open_).tolist() == chosen_by_a_loop(score, open_, [1] * len(quota))


def test_uniform_noise_is_uniform_and_strictly_inside_the_unit_interval() -> None:
    values = torch.cat([noise_of(100, 400, counter=step).uniform().flatten() for step in range(5)])
    assert values.dtype == torch.float32 and values.min() > 0 and values.max() < 1
    ordered = values.double().sort().values
    grid = (torch.arange(len(ordered), dtype=torch.float64) + 0.5) / len(ordered)
    assert (ordered - grid).abs().max() < 1.95 / math.sqrt(len(ordered))  # Kolmogorov-Smirnov, p = 0.001


@pytest.mark.parametrize("other", ["row", "column", "step", "seed", "stream"])
def test_noise_is_uncorrelated_across(other: str) -> None:
    base = noise_of(200, 200)
    here = base.uniform()
    there = {
        "row": Noise(0, torch.arange(1, 201), base.counter, base.columns).uniform(),
        "column": Noise(0, base.row_ids, base.counter, base.columns - 1).uniform(),
        "step": Noise(0, base.row_ids, base.counter + 1, base.columns).uniform(),
        "seed": Noise(1, base.row_ids, base.counter, base.columns).uniform(),
        "stream": base.uniform(stream=2),
    }[other]
    correlation = torch.corrcoef(torch.stack([here.flatten(), there.flatten()]))[0, 1]
    if other == "row":  # shifted rows hold the same values one row up: compare position by position instead
        assert torch.equal(here[1:], there[:-1])
    if other == "column":
        assert torch.equal(here[:, :-1], there[:, 1:])
    assert correlation.abs() < 4.5 / 200


@settings(max_examples=30)
@given(
    seed=st.integers(-(2**40), 2**70),
    row_ids=st.lists(st.integers(0, 2**62), min_size=2, max_size=5, unique=True),
    counter=st.integers(0, 1000),
)
def test_noise_of_a_row_does_not_depend_on_the_batch_or_the_window(seed: int, row_ids: list[int], counter: int) -> None:
    columns = torch.arange(-8, 0)
    ids = torch.tensor(row_ids)
    together = Noise(seed, ids, torch.full((len(ids),), counter), columns)
    alone = Noise(seed, ids[1:2], torch.tensor([counter]), columns[3:6])
    assert torch.equal(together.uniform()[1:2, 3:6], alone.uniform())
    assert torch.equal(gumbel(together.keys(), 6)[1:2, 3:6], gumbel(alone.keys(), 6))

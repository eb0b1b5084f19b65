"""Scaffolds of every pattern: their positions against plain loops, their order by hand, their bound as a property."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import StageContext
from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.space.space import Space
from dllm_strategies.patterns import NAMES
from dllm_strategies.scaffold import Scaffold
from tests.decoding.test_row_independence import assert_rows_stand_alone
from tests.parts.test_strategies import model_with, order_of
from tests.support.random_model import FunctionModel, canvas_of, random_logits
from tests.support.views import noise_of

ONCE = {"name": "single", "steps": 1}
PROMPTS = [[5, 6, 7], [9], [3, 3]]


def scaffold_order(pattern: Any, probabilities: list[float], steps: int, **fields: Any) -> list[list[int]]:
    """Return the positions committed in each step of a scaffold whose detail takes one step."""
    strategy = Strategy.load("llada", gen_length=len(probabilities), steps=steps).override(
        {"layering": {"name": "scaffold", "pattern": pattern, "detail": ONCE, **fields}}
    )
    return order_of(model_with(probabilities), strategy)[0]


EIGHT = [0.5, 0.9, 0.6, 0.85, 0.7, 0.3, 0.2, 0.4]


@pytest.mark.parametrize(
    ("pattern", "order"),
    [
        ("parity", [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ({"name": "checkerboard", "cell": 2}, [[0, 1, 4, 5], [2, 3, 6, 7]]),
        ("halves", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ({"name": "halves", "side": "right"}, [[4, 5, 6, 7], [0, 1, 2, 3]]),
        ({"name": "halves", "share": 0.3}, [[0, 1, 2], [3, 4, 5, 6, 7]]),
        ({"name": "dilated", "dilation": 4}, [[0, 4], [1, 2, 3, 5, 6, 7]]),
        ({"name": "dilated", "dilation": 3}, [[0, 3, 6], [1, 2, 4, 5, 7]]),
        ("most-confident", [[1, 2, 3, 4], [0, 5, 6, 7]]),
        ("least-confident", [[0, 5, 6, 7], [1, 2, 3, 4]]),
        ({"name": "least-confident", "share": 0.25}, [[5, 6], [0, 1, 2, 3, 4, 7]]),
    ],
)
def test_the_pattern_comes_first_and_the_rest_is_the_detail(pattern: Any, order: list[list[int]]) -> None:
    assert scaffold_order(pattern, EIGHT, steps=1) == order


def test_the_scaffold_gets_the_steps_most_probable_first() -> None:
    assert scaffold_order("halves", EIGHT, steps=2) == [[1, 3], [0, 2], [4, 5, 6, 7]]


def test_dilated_columns_are_refined_from_coarse_to_fine() -> None:
    pattern = {"name": "dilated", "dilation": 8, "refine": 2}
    assert scaffold_order(pattern, [0.5] * 16, steps=3) == [
        [0, 8],
        [4, 12],
        [2, 6, 10, 14],
        [1, 3, 5, 7, 9, 11, 13, 15],
    ]
    order = scaffold_order({"name": "dilated", "dilation": 9, "refine": 3}, [0.5] * 9, steps=2)
    assert order == [[0], [3, 6], [1, 2, 4, 5, 7, 8]]


def test_tiers_share_the_steps_evenly_and_the_first_ones_take_the_remainder() -> None:
    pattern = {"name": "dilated", "dilation": 4, "refine": 2}
    assert scaffold_order(pattern, [0.5] * 8, steps=3) == [[0], [4], [2, 6], [1, 3, 5, 7]]


def test_the_dilated_recipe_takes_a_forward_for_every_halving_of_the_gap() -> None:
    steps, calls = order_of(model_with([0.5] * 32), Strategy.load("dilated", gen_length=32))
    assert [len(step) for step in steps] == [2, 2, 4, 8, 16]
    assert calls == 5 == Strategy.load("dilated", gen_length=32).max_forwards()


def test_ties_of_confidence_go_to_the_smallest_column() -> None:
    for pattern in ("most-confident", "least-confident"):
        assert scaffold_order(pattern, [0.5] * 6, steps=1) == [[0, 1, 2], [3, 4, 5]]


def test_judging_by_confidence_costs_no_forward() -> None:
    strategy = Strategy.load("learned-scaffold", gen_length=16, steps=4)
    _, calls = order_of(model_with([0.5, 0.9] * 8), strategy)
    assert calls <= strategy.max_forwards() == 4 + 4


def test_a_checkerboard_of_one_column_is_parity() -> None:
    parity, board = (
        Strategy.load("said", gen_length=14, steps=4).override({"layering.pattern": pattern})
        for pattern in ("parity", {"name": "checkerboard", "cell": 1})
    )
    first, second = (
        decode(FunctionModel(random_logits), canvas_of(PROMPTS, 14), strategy) for strategy in (parity, board)
    )
    assert torch.equal(first.canvas.tokens, second.canvas.tokens)


def test_scaffolds_nest_so_that_any_sequence_of_patterns_can_be_written() -> None:
    inner = {"name": "scaffold", "pattern": "halves", "steps": 1, "detail": ONCE}
    order = scaffold_order("parity", [0.5] * 8, steps=1, detail=inner)
    assert order == [[0, 2, 4, 6], [1, 3], [5, 7]]


def test_a_budget_of_its_own_comes_before_the_blocks_share() -> None:
    assert scaffold_order("parity", [0.5] * 4, steps=1) == [[0, 2], [1, 3]]
    strategy = Strategy.load("llada", gen_length=4, steps=1).override(
        {"layering": {"name": "scaffold", "steps": 2, "detail": ONCE}}
    )
    assert order_of(model_with([0.5] * 4), strategy)[0] == [[0], [2], [1, 3]]


def tier_of(column: int, pattern: dict[str, Any]) -> int | None:
    """Return the tier of a column by the patterns' definitions, or None for the detail."""
    if pattern["name"] == "parity":
        return None if column % 2 else 0
    if pattern["name"] == "checkerboard":
        return None if column // pattern["cell"] % 2 else 0
    distance, tier = pattern["dilation"], 0
    while distance > 1:
        if column % distance == 0:
            return tier
        if pattern["refine"] is None:
            return None
        distance, tier = distance // pattern["refine"], tier + 1
    return None


column_patterns = st.one_of(
    st.just({"name": "parity"}),
    st.builds(lambda cell: {"name": "checkerboard", "cell": cell}, st.integers(1, 9)),
    st.builds(lambda d: {"name": "dilated", "dilation": d, "refine": None}, st.integers(2, 9)),
    st.builds(
        lambda base, power: {"name": "dilated", "dilation": base**power, "refine": base},
        st.integers(2, 4),
        st.integers(1, 3),
    ),
)
ranked_patterns = st.builds(
    lambda name, share: {"name": name, "share": share},
    st.sampled_from(["halves", "random", "least-confident", "most-confident"]),
    st.floats(0.01, 1.0),
)
patterns = st.one_of(column_patterns, ranked_patterns)


def context_of(open_: Tensor, probability: Tensor, prompt: int = 3) -> StageContext:
    """Return the context of a block over everything after the prompt, of which (B, W) `open_` is undecided."""
    rows, width = open_.shape
    undecided = torch.cat([torch.zeros(rows, prompt, dtype=torch.bool), open_], dim=1)
    tokens = torch.zeros(rows, prompt + width, dtype=torch.int64)
    canvas = Canvas(tokens, undecided, torch.ones_like(undecided), prompt_length=prompt, mask_id=9)
    block = Block(undecided, slice(prompt, prompt + width), None, prompt)
    stats = VocabStats(torch.zeros_like(open_, dtype=torch.int64), probability)
    noise = noise_of(rows, width)
    return StageContext(canvas, block, open_, None, None, lambda: stats, lambda: noise)


@settings(max_examples=60, deadline=None)
@given(column_patterns, st.integers(1, 24))
def test_tiers_by_column_equal_a_plain_loop(pattern: dict[str, Any], width: int) -> None:
    scaffold = Scaffold.model_validate({"name": "scaffold", "pattern": pattern})
    open_ = torch.ones(1, width, dtype=torch.bool)
    found = scaffold.pattern.tiers(context_of(open_, torch.zeros(1, width)), 0)
    for number, (where, _) in enumerate(found):
        expected = [column for column in range(width) if tier_of(column, pattern) == number]
        assert where[0].nonzero().flatten().tolist() == expected
    assert scaffold.pattern.counts(0, width) == tuple(int(where.sum()) for where, _ in found)  # type: ignore[union-attr]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=4),
    st.sampled_from(["halves", "random", "least-confident", "most-confident"]),
    st.floats(0.01, 1.0),
    st.integers(0, 99),
)
def test_a_ranked_scaffold_equals_a_plain_loop_over_rows(
    rows: list[list[bool]], name: str, share: float, seed: int
) -> None:
    open_ = torch.tensor(rows)
    probability = torch.randint(1, 5, open_.shape, generator=torch.Generator().manual_seed(seed)).float() / 5
    context = context_of(open_, probability)
    scaffold = Scaffold.model_validate({"name": "scaffold", "pattern": {"name": name, "share": share}})
    [(where, _)] = scaffold.pattern.tiers(context, 0)
    noise = context.noise().uniform(3)
    for row, flags in enumerate(rows):
        columns = [column for column, is_open in enumerate(flags) if is_open]
        score = {
            "halves": lambda column: -column,
            "random": lambda column, row=row: noise[row, column].item(),
            "least-confident": lambda column, row=row: -probability[row, column].item(),
            "most-confident": lambda column, row=row: probability[row, column].item(),
        }[name]
        best = sorted(columns, key=lambda column: (-score(column), column))
        expected = sorted(best[: math.ceil(len(columns) * share - 1e-9)])
        assert where[row].nonzero().flatten().tolist() == expected


details = st.sampled_from(
    [
        "single",
        ONCE,
        {"name": "chlg", "threshold": 0.4, "hard_steps": 2},
        {
            "name": "chlg",
            "threshold": 0.6,
            "easy_steps": 2,
            "between": [{"threshold": 0.3, "steps": 2}],
            "hard_steps": 1,
        },
        {"name": "scaffold", "pattern": "halves", "steps": 1, "detail": "chlg"},
    ]
)


@settings(max_examples=25, deadline=None)
@given(
    pattern=patterns,
    detail=details,
    steps=st.none() | st.integers(1, 12),
    own=st.none() | st.integers(1, 5),
    gen_length=st.integers(1, 16),
    length=st.integers(1, 16),
    scheduler=st.sampled_from(["even", "cosine", {"name": "threshold", "threshold": 0.4}]),
    stop=st.sampled_from([[], ["eos"]]),
    seed=st.integers(0, 1000),
)
def test_forwards_stay_within_the_bound_and_rows_stand_alone(
    pattern: dict[str, Any],
    detail: Any,
    steps: int | None,
    own: int | None,
    gen_length: int,
    length: int,
    scheduler: Any,
    stop: list[str],
    seed: int,
) -> None:
    try:
        strategy = Strategy.load("llada", gen_length=gen_length, steps=steps).override(
            {
                "block": {"name": "fixed", "length": length},
                "layering": {"name": "scaffold", "pattern": pattern, "steps": own, "detail": detail},
                "scheduler": scheduler,
                "stop": stop,
            }
        )
        strategy.check()
    except ConfigError:
        assume(False)
    canvas = canvas_of(PROMPTS, gen_length)
    done = decode(FunctionModel(random_logits), canvas, strategy, seed=seed)
    assert not done.canvas.undecided.any()
    assert int(done.forward_passes.max()) <= strategy.max_forwards()
    assert_rows_stand_alone(strategy, PROMPTS, seed)


@pytest.mark.parametrize("name", NAMES)
def test_scattered_positions_are_decided_within_the_bound(name: str) -> None:
    canvas = canvas_of(PROMPTS, 12)
    canvas.uniform = False
    closed = torch.rand(canvas.undecided.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    closed[0, -12:] = True  # this row has nothing to do
    canvas.undecided &= ~closed
    canvas.tokens[closed & (canvas.tokens == canvas.mask_id)] = 4
    before = canvas.tokens.clone(), canvas.undecided.clone()
    strategy = Strategy.load("said", gen_length=12, steps=3).override({"layering.pattern": name})
    done = decode(FunctionModel(random_logits), canvas, strategy)
    assert not done.canvas.undecided.any()
    assert torch.equal(done.canvas.tokens[~before[1]], before[0][~before[1]])
    assert int(done.forward_passes[0]) == 0
    assert int(done.forward_passes.max()) <= strategy.max_forwards()


def random_half(row_ids: list[int], seed: int, **changes: Any) -> list[list[int]]:
    """Return the scaffold of each row, as the columns committed in the first of its one step."""
    strategy = Strategy.load("random-scaffold", gen_length=16, steps=1).override(changes)
    columns: list[Tensor] = []
    decode(
        FunctionModel(random_logits),
        canvas_of([[5, 6]] * len(row_ids), 16),
        strategy,
        seed=seed,
        row_ids=torch.tensor(row_ids),
        on_step=lambda event: columns.append(event.chosen.clone()),
    )
    return [row.nonzero().flatten().tolist() for row in columns[0]]


def test_a_random_scaffold_belongs_to_the_row_and_the_seed() -> None:
    first, second, third = random_half([0, 1, 0], seed=0)
    assert first == third != second
    assert [len(row) for row in (first, second)] == [8, 8]
    assert random_half([1], seed=0) == [second]
    assert random_half([0], seed=1) != [first]


def test_a_random_scaffold_is_no_function_of_a_random_order() -> None:
    ordered = random_half([0], 0, confidence="random", steps=8, **{"layering.pattern": "parity"})
    assert len(ordered[0]) == 1
    scaffold = set(random_half([0], 0)[0])
    drawn = random_half([0], 0, layering="single", confidence="random", steps=2)
    assert set(drawn[0]) != scaffold


def test_a_scaffold_is_written_as_a_name_or_a_mapping_and_old_files_keep_their_meaning() -> None:
    said = Strategy.load("said")
    assert said.to_dict()["layering"]["pattern"] == {"name": "parity"}
    assert said.override({"layering.parity": "absolute"}).override({"layering.pattern": "parity"})
    named = said.override({"layering.pattern": "checkerboard"})
    assert named.override({"layering.pattern.cell": 2}).to_dict()["layering"]["pattern"]["cell"] == 2
    assert Strategy.from_yaml(named.to_yaml()) == named


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layering.pattern": "chekerboard"}, "Did you mean 'checkerboard'"),
        ({"layering.pattern": {"cell": 2}}, "unknown pattern"),
        ({"layering.pattern": {"name": "parity", "cell": 2}}, "cell"),
        ({"layering.pattern": {"name": "checkerboard", "cell": 0}}, "cell: input should be >= 1"),
        ({"layering.pattern": {"name": "halves", "share": 0}}, "share: input should be > 0"),
        ({"layering.pattern": {"name": "dilated", "dilation": 12, "refine": 2}}, "a power of refine=2"),
        (
            {"layering.pattern": "halves", "layering.parity": "absolute"},
            "which the pattern 'halves' does not do",
        ),
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused_with_the_way_out(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Strategy.load("said").override(changes)


def test_fewer_steps_than_tiers_is_refused() -> None:
    strategy = Strategy.load("said", gen_length=16, steps=2).override(
        {"layering.pattern": {"name": "dilated", "dilation": 8, "refine": 2}}
    )
    with pytest.raises(ConfigError, match="at least 3 steps a block"):
        strategy.check()


@pytest.mark.parametrize("name", ["said", "checkerboard", "halves", "random-scaffold", "learned-scaffold"])
def test_the_search_composes_scaffolds_of_every_pattern(name: str) -> None:
    space = Space.everything(32)
    assert set(space.ranges()["layering.scaffold.pattern"].choices) == set(NAMES)
    strategy = Strategy.load(name, gen_length=32, steps=8)
    parameters = space.parameters(strategy)
    assert parameters is not None
    assert space.build(parameters).digest() == strategy.digest()

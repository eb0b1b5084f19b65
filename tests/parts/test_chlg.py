"""CHLG with any number of confidence layers, in any block, over any scaffold: by hand, beside a plain loop, bounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from tests.parts.test_strategies import model_with, order_of
from tests.support.random_model import SPECIAL, FunctionModel, canvas_of, random_logits

LENGTH = 12


def chlg(layers: list[tuple[float, int]], hard_steps: int) -> dict[str, Any]:
    """Return the layering with (threshold, steps) of each confidence layer."""
    (threshold, easy_steps), *between = layers
    return {
        "name": "chlg",
        "threshold": threshold,
        "easy_steps": easy_steps,
        "between": [{"threshold": least, "steps": steps} for least, steps in between],
        "hard_steps": hard_steps,
    }


def alone(
    layers: list[tuple[float, int]], hard_steps: int, length: int, gen_length: int = LENGTH
) -> Strategy:
    """Return CHLG alone in blocks."""
    return Strategy.load("llada", gen_length=gen_length).override(
        {"block": {"name": "fixed", "length": length}, "layering": chlg(layers, hard_steps)}
    )


def by_plain_loop(prompt: list[int], strategy: Strategy) -> tuple[list[int], int]:
    """Decode one row as the definition reads, a position at a time; return the tokens and the forwards."""
    tokens = [*prompt, *[SPECIAL.mask] * strategy.gen_length]
    layering = strategy.to_dict()["layering"]
    layers = [(layering["threshold"], layering["easy_steps"])]
    layers += [(layer["threshold"], layer["steps"]) for layer in layering["between"]]
    length = strategy.to_dict()["block"]["length"]
    forwards, read_at = 0, None

    def probabilities() -> tuple[list[int], list[float]]:
        nonlocal forwards, read_at
        if read_at != tokens:
            forwards, read_at = forwards + 1, list(tokens)
        logits = random_logits(torch.tensor([tokens]), None)[0].float()
        probability = logits.softmax(-1)
        logits[:, SPECIAL.mask] = -torch.inf
        best = logits.argmax(-1)
        return best.tolist(), probability.gather(1, best[:, None])[:, 0].tolist()

    def spend(columns: list[int], steps: int) -> None:
        count = len(columns)
        for step in range(min(steps, count)):
            best, probability = probabilities()
            ranked = sorted(columns, key=lambda column: (-probability[column], column))
            for column in ranked[: count // steps + (step < count % steps)]:
                tokens[column] = best[column]
                columns.remove(column)

    for start in range(len(prompt), len(tokens), length):
        left = list(range(start, min(start + length, len(tokens))))
        for threshold, steps in layers:
            if left:
                _, probability = probabilities()
                sure = [column for column in left if probability[column] >= threshold]
                left = [column for column in left if column not in sure]
                spend(sure, steps)
        spend(left, layering["hard_steps"])
    return tokens[len(prompt) :], forwards


layers_of = st.lists(
    st.tuples(st.sampled_from([0.9, 0.7, 0.5, 0.4, 0.3, 0.2]), st.integers(1, 3)),
    min_size=1,
    max_size=4,
    unique_by=lambda layer: layer[0],
).map(lambda layers: sorted(layers, reverse=True))


@settings(max_examples=30, deadline=None)
@given(
    layers_of, st.integers(1, 4), st.integers(2, LENGTH), st.lists(st.integers(3, 22), min_size=1, max_size=5)
)
def test_it_decodes_as_a_plain_loop_over_layers_and_positions(
    layers: list[tuple[float, int]], hard_steps: int, length: int, prompt: list[int]
) -> None:
    strategy = alone(layers, hard_steps, length)
    done = decode(FunctionModel(random_logits), canvas_of([prompt], LENGTH), strategy)
    tokens, forwards = by_plain_loop(prompt, strategy)
    assert done.canvas.tokens[0, -LENGTH:].tolist() == tokens
    assert done.forward_passes.tolist() == [forwards]
    assert forwards <= strategy.max_forwards()


def test_three_layers_are_judged_one_after_another_each_with_its_steps() -> None:
    strategy = alone([(0.9, 1), (0.7, 2), (0.4, 1)], hard_steps=2, length=8, gen_length=8)
    steps, calls = order_of(model_with([0.95, 0.8, 0.75, 0.5, 0.6, 0.1, 0.2, 0.92]), strategy)
    assert steps == [[0, 7], [1], [2], [3, 4], [6], [5]]
    assert calls == 6 == strategy.max_forwards()


def test_easy_positions_may_be_given_more_than_one_step() -> None:
    strategy = alone([(0.5, 2)], hard_steps=1, length=6, gen_length=6)
    steps, _ = order_of(model_with([0.9, 0.8, 0.7, 0.6, 0.1, 0.2]), strategy)
    assert steps == [[0, 1], [2, 3], [4, 5]]


def test_nothing_sure_and_everything_sure_both_cost_no_forward_that_commits_nothing() -> None:
    layered = alone([(0.9, 1), (0.8, 1), (0.7, 1)], hard_steps=2, length=4, gen_length=4)
    assert order_of(model_with([0.1, 0.2, 0.3, 0.4]), layered) == ([[2, 3], [0, 1]], 2)
    assert order_of(model_with([0.95] * 4), layered) == ([[0, 1, 2, 3]], 1)


def test_the_published_case_alone_takes_at_most_four_forwards_a_block() -> None:
    strategy = Strategy.load("chlg", gen_length=64)
    assert strategy.max_forwards() == 2 * 4
    _, calls = order_of(model_with([0.9, 0.3, 0.5, 0.4] * 16), strategy)
    assert calls == 8


def test_the_layered_recipe_takes_at_most_seven_forwards_a_block() -> None:
    strategy = Strategy.load("chlg-layers", gen_length=32)
    assert strategy.max_forwards() == 7
    _, calls = order_of(model_with([0.96, 0.85, 0.6, 0.1] * 8), strategy)
    assert calls == 7


@pytest.mark.parametrize("block", ["whole", {"name": "fixed", "length": 5}])
@pytest.mark.parametrize(
    "over",
    [
        None,
        "parity",
        {"name": "checkerboard", "cell": 2},
        "halves",
        "random",
        {"name": "dilated", "dilation": 4, "refine": 2},
        "least-confident",
        "most-confident",
        "grid",
    ],
)
def test_it_stands_in_any_block_over_any_scaffold(block: Any, over: Any) -> None:
    layering: dict[str, Any] = chlg([(0.6, 1), (0.4, 2)], hard_steps=2)
    if over == "grid":
        layering = {"name": "grid", "stage_count": 2, "rec_steps": 1, "detail": layering}
    elif over is not None:
        layering = {"name": "scaffold", "pattern": over, "detail": layering}
    strategy = Strategy.load("llada", gen_length=LENGTH, steps=9).override(
        {"block": block, "layering": layering}
    )
    prompts = [[5, 6, 7], [9], [3, 3]]
    before, canvas = (canvas_of(prompts, LENGTH) for _ in range(2))
    done = decode(FunctionModel(random_logits), canvas, strategy)
    assert not done.canvas.undecided.any()
    assert torch.equal(done.canvas.tokens[~before.undecided], before.tokens[~before.undecided])
    assert int(done.forward_passes.max()) <= strategy.max_forwards()


def test_ends_that_are_ignored_by_the_confidence_still_count_as_sure() -> None:
    end = SPECIAL.eos or 0
    strategy = alone([(0.8, 1)], hard_steps=2, length=4, gen_length=4).override(
        {"confidence": {"name": "top-probability", "ignore_ends": True}}
    )
    steps, _ = order_of(model_with([0.9, 0.3, 0.2, 0.4], tokens=[end, 4, 4, end]), strategy)
    assert steps == [[0], [1, 2], [3]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0.5, "between": [{"threshold": 0.5}]}, "should fall from layer to layer"),
        ({"threshold": 0.9, "between": [{"threshold": 0.3}, {"threshold": 0.6}]}, "should fall"),
        ({"easy_steps": 0}, "easy_steps: input should be >= 1"),
        ({"between": [{"steps": 2}]}, "threshold"),
    ],
)
def test_layers_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Strategy.load("llada").override({"layering": {"name": "chlg", **changes}})

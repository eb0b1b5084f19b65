"""CreditDecoding, LESS and SchED, which remember earlier steps: whole decodes on random models against plain loops."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode.decoding.decoded import decode
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.less import divergence
from tests.support.plain_rules import PlainStep, Rule, assert_equal
from tests.support.random_model import SPECIAL, VOCABULARY, RandomModel, canvas_of

PROMPTS = [[5, 7, 11], [9], [3, 3, 10, 4, 6]]
CASES = [*range(20), *(pytest.param(case, marks=pytest.mark.slow) for case in range(20, 200))]


class Credit:
    def __init__(self, threshold: float, weight: float, decay: float, power: float) -> None:
        self.threshold, self.weight, self.decay, self.power = threshold, weight, decay, power
        self.credit: dict[tuple[int, int], float] = {}

    def choose(self, step: PlainStep) -> dict[int, int]:
        self.credit = {place: value * self.decay for place, value in self.credit.items()}
        found: dict[int, tuple[float, int]] = {}
        for column in step.open:
            place = column, step.best[column]
            self.credit[place] = self.credit.get(place, 0.0) + step.score[column] ** self.power
            chances = step.chances[column].tolist()
            raised = [
                chances[token] * (1 + self.credit.get((column, token), 0.0)) ** self.weight
                for token in range(VOCABULARY)
            ]
            token = max((t for t in range(VOCABULARY) if t != SPECIAL.mask), key=lambda t: (raised[t], -t))
            found[column] = raised[token] / sum(raised), token
        taken = [column for column in step.open if found[column][0] >= self.threshold]
        best = min(step.open, key=lambda column: (-found[column][0], column))
        return {column: found[column][1] for column in taken or [best]}


class Less:
    def __init__(self, threshold: float, drift: float, history: int, top: int) -> None:
        self.threshold, self.drift, self.history, self.top = threshold, drift, history, top
        self.tokens: dict[int, list[int]] = {}
        self.largest: dict[int, dict[int, float]] = {}

    def choose(self, step: PlainStep) -> dict[int, int]:
        taken = []
        for column in step.open:
            chances = step.chances[column].tolist()
            ids = sorted(range(VOCABULARY), key=lambda token: -chances[token])[: self.top]
            now, before = {token: chances[token] for token in ids}, self.largest.get(column)
            past = self.tokens.setdefault(column, [])
            recent = past[-self.history :]
            stays = len(recent) == self.history and set(recent) == {step.best[column]}
            calm = before is not None and jensen_shannon(now, before) <= self.drift
            if stays and calm and step.score[column] >= self.threshold:
                taken.append(column)
            past.append(step.best[column])
            self.largest[column] = now
        return step.tokens_of(taken)


def jensen_shannon(one: dict[int, float], other: dict[int, float]) -> float:
    """In nats, of two distributions given as some of their entries; the rest of each is one more."""
    pairs = [(one.get(token, 0.0), other.get(token, 0.0)) for token in {*one, *other}]
    pairs.append((max(0.0, 1 - sum(one.values())), max(0.0, 1 - sum(other.values()))))
    found = 0.0
    for p, q in pairs:
        for share in (p, q):
            found += share * math.log(share / ((p + q) / 2)) / 2 if share > 0 else 0.0
    return found


class Sched:
    """LLaDA's counts until the rest is sure enough."""

    def __init__(
        self, curve: str, high: float, low: float, bend: float, changed: float, steps: int | None
    ) -> None:
        self.curve, self.high, self.low, self.bend, self.changed = curve, high, low, bend, changed
        self.steps, self.step, self.size = steps, 0, 0
        self.before: list[int] | None = None

    def threshold(self, steps: int) -> float:
        if steps <= 1:
            return self.low
        t = min(1.0, self.step / (steps - 1))
        weight = {
            "exp": math.exp(-self.bend * t),
            "cosine": (1 + math.cos(math.pi * t)) / 2,
            "linear": 1 - t,
        }[self.curve]
        return self.low + (self.high - self.low) * weight

    def choose(self, step: PlainStep) -> dict[int, int]:
        self.size = self.size or len(step.open)
        steps = self.steps or self.size
        quota = self.size // steps + (self.step < self.size % steps)
        margins = []
        for column in step.open:
            chances = step.chances[column].tolist()
            del chances[SPECIAL.mask]
            first, second = sorted(chances)[:-3:-1]
            margins.append(math.log(first / second))
        sure = sum(margins) / len(margins) >= self.threshold(steps)
        before = self.before
        changes = len(step.open) if before is None else sum(before[c] != step.best[c] for c in step.open)
        calm = changes / len(step.open) <= self.changed
        self.step, self.before = self.step + 1, step.best
        return step.tokens_of(step.open if sure and calm else step.ranked()[:quota])


def credit(drawn: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    rule = {"weight": drawn.uniform(0, 2), "decay": drawn.uniform(0, 1), "power": drawn.uniform(0, 1)}
    threshold = drawn.uniform(0.4, 0.8)
    return rule | {"threshold": threshold}, under("confidence", rule) | {"scheduler.threshold": threshold}


def less(drawn: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    rule = {
        "threshold": drawn.uniform(0.1, 0.4),
        "drift": drawn.uniform(0.01, 0.4),
        "history": drawn.randint(1, 3),
    }
    rule["top"] = drawn.choice([1, 3, 8, VOCABULARY])
    return rule, under("scheduler", rule)


def sched(drawn: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    rule = {
        "curve": drawn.choice(["exp", "cosine", "linear"]),
        "high": drawn.uniform(0, 4),
        "low": drawn.uniform(0, 0.6),
    }
    rule |= {"bend": drawn.uniform(0, 8), "changed": drawn.choice([0.0, 0.3, 1.0])}
    steps = drawn.choice([None, 2, 5, 30])
    return rule | {"steps": steps}, under("stop.0", rule) | {"scheduler": "even", "steps": steps}


def under(part: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {f"{part}.{name}": value for name, value in fields.items()}


RULES: dict[
    str, tuple[Callable[[random.Random], tuple[dict[str, Any], dict[str, Any]]], Callable[..., Rule]]
] = {
    "credit": (credit, Credit),
    "less": (less, Less),
    "sched": (sched, Sched),
}


def compare(name: str, case: int) -> tuple[int, int]:
    """Decode one case both ways; return its forwards and its tokens."""
    drawn = random.Random(case)
    settings, rule = RULES[name]
    fields, changes = settings(drawn)
    length, prompts = drawn.randint(5, 12), drawn.sample(PROMPTS, 2)
    block = length if name == "sched" else drawn.randint(2, 12)
    if name != "sched":
        changes["block.length"] = block
    else:
        changes["confidence"] = "top-probability"
    strategy = Strategy.load(name, gen_length=length, steps=None).override(changes)
    return assert_equal(strategy, prompts, length, block, case % 4, lambda: rule(**fields)), 2 * length


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", RULES)
def test_a_batch_decodes_as_the_plain_loop_does_row_by_row(name: str, case: int) -> None:
    compare(name, case)


@pytest.mark.parametrize("name", RULES)
def test_the_random_models_make_the_rules_commit_several_tokens_at_once(name: str) -> None:
    forwards, tokens = map(sum, zip(*(compare(name, case) for case in range(2)), strict=True))
    assert forwards < 0.9 * tokens


def run(strategy: Strategy, prompts: list[list[int]]) -> tuple[Tensor, list[int]]:
    """Return the (B, L) answers of a random model and what each cost."""
    done = decode(RandomModel(), canvas_of(prompts, strategy.gen_length), strategy)
    return done.canvas.tokens[:, -strategy.gen_length :], done.forward_passes.tolist()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("credit", {"confidence.weight": 0.0}),
        ("less", {"scheduler.drift": 1.0}),
        ("less", {"scheduler.history": 1}),
        ("sched", {"stop.0.changed": 1.0}),
    ],
)
def test_what_is_remembered_matters_to_the_cost(name: str, changes: dict[str, Any]) -> None:
    """Otherwise the comparisons with the loops would hold without it."""
    sharp = {
        "less": {"scheduler.threshold": 0.2},
        "credit": {"scheduler.threshold": 0.7},
        "sched": {"stop.0.high": 1.0},
    }
    strategy = Strategy.load(name).override({"gen_length": 32, "steps": None, **sharp[name]})
    assert run(strategy, [[5, 7]])[1] != run(strategy.override(changes), [[5, 7]])[1]


@pytest.mark.parametrize(
    ("block", "layering"),
    [
        ({"name": "fixed", "length": 6}, "scaffold"),
        ({"name": "multi", "length": 4}, "single"),
        ({"name": "adaptive", "length": 5}, "single"),
    ],
    ids=["fixed", "multi", "adaptive"],
)
def test_rows_stand_alone_whatever_the_blocks_and_layers(block: dict[str, Any], layering: str) -> None:
    strategy = Strategy.load(
        "less",
        gen_length=12,
        layering=layering,
        block=block,
        scheduler={"name": "less", "threshold": 0.2, "drift": 0.3, "history": 1},
        confidence={"name": "credit", "weight": 1.5},
        stop={"name": "scheduled-commit", "high": 2.5, "changed": 0.6},
    ).check()
    prompts = [[5], [7, 3, 9, 4], [3, 3, 10]]
    tokens, passes = run(strategy, prompts)
    assert not (tokens == SPECIAL.mask).any()
    assert max(passes) <= strategy.max_forwards()
    for row, prompt in enumerate(prompts):
        alone, cost = run(strategy, [prompt])
        assert torch.equal(alone[0], tokens[row]) and cost == [passes[row]]


def test_drift_worked_by_hand() -> None:
    # Halves against a sure token: (ln(4/3) / 2 + ln(2) / 2) / 2 + ln(4/3) / 2 = 0.2158 nats. The same is no drift.
    halves, sure = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[1.0, 0.0]]])
    ids = torch.tensor([[[4, 7]]])
    assert float(divergence(ids, halves, ids, sure)) == pytest.approx(0.2158, abs=1e-4)
    assert float(divergence(ids, halves, ids.flip(-1), halves)) == pytest.approx(0.0, abs=1e-6)
    # Nothing in common among the entries kept, and no rest: as far apart as can be.
    assert float(divergence(ids, halves, ids + 1, halves)) == pytest.approx(math.log(2), abs=1e-6)

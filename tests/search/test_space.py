"""What a search may compose: declared ranges, nested and third-party parts, limits, and strategies as parameters."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Literal

import optuna
import pytest
from pydantic import Field
from torch import Tensor

from dllm_decode.data.views import Proposal, StepView
from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import Tune
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import Registry
from dllm_decode.strategy.strategy import Strategy
from dllm_search.space.baselines import baselines, reference_digests
from dllm_search.space.space import Space
from dllm_search.trials.study import quiet

LENGTHS = (16, 24, 96)


class Halving(SchedulerConfig):
    """Commits a share of what is open; what a third party might write."""

    name: Literal["halving"] = "halving"
    adaptive = True
    share: Annotated[float, Field(gt=0, le=1), Tune(0.1, 0.9)] = 0.5
    least: Annotated[int, Field(ge=1), Tune(1, 8, log=True)] | None = None
    order: Annotated[Literal["up", "down"], Tune(choices=("up", "down"))] = "up"

    def select(self, view: StepView, proposal: Proposal) -> Tensor:
        return view.open & (proposal.score >= self.share)


class ThirdParty:
    @hookimpl
    def dllm_scheduler(self) -> list[type[SchedulerConfig]]:
        return [Halving]


def random_study() -> optuna.Study:
    with quiet():
        sampler = optuna.samplers.RandomSampler(seed=3)
        return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def drawn(space: Space, count: int) -> list[Strategy]:
    study, found = random_study(), []
    for _ in range(count):
        with suppress(ConfigError):
            found.append(space.suggest(study.ask()))
    return found


def test_every_declared_range_is_a_parameter_with_a_readable_name() -> None:
    ranges = Space.everything(64).ranges()
    threshold = ranges["scheduler.threshold.threshold"]
    assert (threshold.kind, threshold.low, threshold.high) == ("float", 0.3, 0.99)
    assert ranges["block.fixed.length"].choices == (4, 8, 16, 32, 64)
    assert {"block", "layering", "scheduler", "confidence", "logits", "stop", "steps"} <= set(ranges)
    assert "layering.scaffold.detail.chlg.hard_steps" in ranges


def test_a_third_partys_part_is_in_the_space_the_moment_it_is_registered(
    isolated_registry: Callable[..., Registry],
) -> None:
    isolated_registry({"third-party": ThirdParty()})
    ranges = Space.everything(32).ranges()
    assert "halving" in ranges["scheduler"].choices
    assert ranges["scheduler.halving.share"].high == 0.9
    assert set(ranges["scheduler.halving.order"].choices) == {"up", "down"}
    found = [s for s in drawn(Space.everything(32), 240) if s.scheduler.name == "halving"]
    assert {getattr(s.scheduler, "least", None) is None for s in found} == {True, False}


def test_a_parts_fields_are_drawn_only_when_the_part_is_chosen() -> None:
    space = Space.everything(64)
    study = random_study()
    for _ in range(60):
        trial = study.ask()
        try:
            adaptive = space.suggest(trial).scheduler.adaptive
        except ConfigError:  # a scheduler that reads probabilities, and a confidence that gives none
            continue
        for name in trial.params:
            kind, *rest = name.split(".")
            assert not rest or trial.params[kind] == rest[0], name
        assert not ("steps" in trial.params and adaptive)


@pytest.mark.parametrize("gen_length", LENGTHS)
def test_hardly_any_drawn_combination_is_refused_and_none_crashes(gen_length: int) -> None:
    found = drawn(Space.everything(gen_length), 80)
    assert len(found) >= 70  # some schedulers refuse some confidences
    assert all(strategy.check().gen_length == gen_length for strategy in found)


@pytest.mark.parametrize("gen_length", LENGTHS)
def test_drawn_strategies_and_their_parameters_stand_for_each_other(gen_length: int) -> None:
    space = Space.everything(gen_length)
    for strategy in drawn(space, 40):
        parameters = space.parameters(strategy)
        assert parameters is not None
        assert space.build(parameters).digest() == strategy.digest()


@pytest.mark.parametrize("gen_length", LENGTHS)
def test_recipes_and_published_budgets_are_baselines_at_any_length(gen_length: int) -> None:
    found = baselines(gen_length)
    names = [strategy.name for strategy in found]
    assert len(set(names)) == len(names)
    assert {"llada", "said", "said-block", "said-block-chlg", "fast-dllm"} <= {
        name.split()[0] for name in names
    }
    assert found[0].digest() in reference_digests(gen_length)
    space = Space.everything(gen_length)
    inexpressible = {strategy.name.split()[0] for strategy in found if space.parameters(strategy) is None}
    # They set what is not searched: revisers and forward plans, fields without a range, a file, rules within a rule.
    few = {"said-paper", "wino", "edit", "chlg-layers", "dilated", "frequency-debiased", "bounded-or-sure"}
    assert inexpressible <= few


def test_a_recipe_fixes_the_composition_and_its_own_ranges_vary() -> None:
    space = Space.load("said", 64)
    assert set(space.ranges()) == {
        "steps",
        "layering.scaffold.pattern",
        "layering.scaffold.detail.chlg.threshold",
        "layering.scaffold.detail.chlg.hard_steps",
    }
    assert {s.layering.name for s in drawn(space, 10)} == {"scaffold"}
    assert space.parameters(Strategy.load("llada", gen_length=64)) is None


def test_a_space_is_cut_down_by_paths() -> None:
    limits = {
        "scheduler": "threshold",
        "scheduler.threshold.threshold": {"low": 0.6, "high": 0.8},
        "layering": ["single", "scaffold"],
        "layering.scaffold.detail": "chlg",
        "layering.scaffold.detail.chlg.hard_steps": {"choices": [1, 2]},
        "block": ["whole", "fixed"],
        "confidence": "top-probability",
        "logits": "none",
        "block.fixed.length": 8,
    }
    found = drawn(Space.load({"space": limits}, 64), 80)
    assert all(0.6 <= s.to_dict()["scheduler"]["threshold"] <= 0.8 for s in found)
    assert {s.layering.name for s in found} == {"single", "scaffold"}
    details = [s.to_dict()["layering"]["detail"] for s in found if s.layering.name == "scaffold"]
    assert {detail["hard_steps"] for detail in details} == {1, 2}
    assert {s.to_dict()["block"].get("length", 8) for s in found} == {8}
    assert not any(s.logits for s in found)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"schedular": "even"}, "Did you mean 'scheduler'"),
        ({"scheduler": "evn"}, "Did you mean 'even'"),
        ({"scheduler.treshold.threshold": 0.5}, "Did you mean 'threshold'"),
        ({"scheduler.threshold.treshold": 0.5}, "Did you mean 'threshold'"),
        ({"scheduler.threshold": 0.5}, "give scheduler a part's name"),
        ({"scheduler.threshold.threshold": {"lo": 0.5}}, "no such key"),
        ({"steps": {"low": 9, "high": 3}}, "above high"),
    ],
)
def test_a_wrong_limit_says_what_was_expected(limits: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Space.everything(64).limited(limits)


def test_caches_are_searched_where_time_is_the_cost_and_only_there() -> None:
    plain, timed = Space.everything(32), Space.everything(32, timed=True)
    assert "cache" not in plain.ranges() and set(timed.ranges()["cache"].choices) >= {"none", "prefix", "dual"}
    assert {getattr(strategy.cache, "name", "none") for strategy in drawn(timed, 60)} >= {"none", "prefix", "dual"}
    cached = Strategy.load("fast-dllm", gen_length=32).override({"cache": "dual"})
    for strategy in (cached, Strategy.load("llada", gen_length=32, steps=32)):
        parameters = timed.parameters(strategy)
        assert parameters is not None and timed.build(parameters).digest() == strategy.digest()
    assert plain.parameters(cached) is None

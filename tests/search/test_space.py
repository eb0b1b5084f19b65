"""What a search may compose: declared ranges, nested and third-party parts, limits, and strategies as parameters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Annotated, Literal

import optuna
import pytest
from pydantic import Field
from torch import Tensor

from dllm_decode.data.views import Proposal, StepView
from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import Tune
from dllm_decode.parts.kinds import KINDS
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.plugins.hookspecs import hookimpl
from dllm_decode.plugins.registry import Registry, load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_search.space.baselines import baselines, reference_digests
from dllm_search.space.ranges import WITHOUT
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
    study = random_study()
    return [space.suggest(study.ask()) for _ in range(count)]


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
        strategy = space.suggest(trial)
        for name in trial.params:
            kind, *rest = name.partition(WITHOUT)[0].split(".")
            held = getattr(strategy, kind)
            parts = held if isinstance(held, tuple) else (held,)
            assert not rest or rest[0] in [part.name for part in parts], name
        assert not ("steps" in trial.params and strategy.scheduler.adaptive)


@pytest.mark.parametrize("gen_length", LENGTHS)
def test_of_300_draws_none_is_refused_and_every_part_of_every_kind_appears(gen_length: int) -> None:
    space, study = Space.everything(gen_length, timed=True), random_study()
    found = [space.suggest(study.ask()) for _ in range(300)]
    assert all(strategy.check().gen_length == gen_length for strategy in found)
    seen = {(part.kind, part.name) for strategy in found for path, part in strategy.parts() if path.count(".") < 2}
    assert seen >= {(kind, name) for kind in KINDS for name in load_registry().names(kind)}


def test_a_forward_plan_is_drawn_with_the_reviser_that_reads_it_and_only_there() -> None:
    found = drawn(Space.everything(32), 150)
    plans = {tuple(part.plan for part in s.revise if part.plan): getattr(s.forward, "name", None) for s in found}
    assert plans == {("shadow",): "shadow", (): None}
    assert {s.scheduler.adaptive for s in found if s.forward is not None} == {True}


def test_a_choice_that_earlier_ones_cut_down_is_a_parameter_of_its_own() -> None:
    limits = {"scheduler": ["even", "threshold"], "block": "whole"}
    space, study = Space.everything(32).limited(limits), random_study()
    for _ in range(40):
        trial = study.ask()
        reads = space.suggest(trial).scheduler.reads_probabilities
        assert ("confidence" in trial.params) != reads
        assert ("revise without narrow-out" in trial.params) == (trial.params["scheduler"] == "even")
    (narrow,) = {name for trial in study.trials for name in trial.params if name.startswith("confidence without")}
    assert "entropy" in narrow.partition(WITHOUT)[2].split(", ")
    for trial in study.trials:
        for name, distribution in trial.distributions.items():
            assert space.range_of(name).distribution() == distribution


def test_a_third_partys_rule_of_what_goes_together_is_kept_without_being_known(
    isolated_registry: Callable[..., Registry],
) -> None:
    class OnlyWhole(SchedulerConfig):
        """Commits one position, and reads numbers between 0 and 1."""

        name: Literal["only-whole"] = "only-whole"
        reads_probabilities = True

        def select(self, view: StepView, proposal: Proposal) -> Tensor:
            return view.open

    class Own:
        @hookimpl
        def dllm_scheduler(self) -> list[type[SchedulerConfig]]:
            return [OnlyWhole]

    isolated_registry({"own": Own()})
    space, study = Space.everything(32).limited({"scheduler": "only-whole"}), random_study()
    drawn = []
    for _ in range(40):
        with contextlib.suppress(ConfigError):  # a layering that no number of steps serves
            drawn.append(space.suggest(study.ask()))
    assert len(drawn) > 30
    assert all(one.confidence.unit for one in drawn)


def test_parts_that_need_what_the_model_has_not_are_left_out() -> None:
    space = Space.everything(32, timed=True)
    assert {"forbid-eos", "eos", "prefix", "shadow"} <= {part.name for s in drawn(space, 200) for _, part in s.parts()}
    bare = space.fitting(())
    found = drawn(bare, 200)
    names = {part.name for strategy in found for _, part in strategy.parts()}
    assert len(found) == 200 and not names & {"forbid-eos", "eos", "prefix", "dual", "shadow", "narrow-out"}
    assert {"guidance", "early-commit", "edit"} <= names
    assert bare.fingerprint() != space.fingerprint() == space.fitting(("eos", "newlines", "cache", "plan")).fingerprint()
    kept = Space.load(Strategy.load("wino"), 32).fitting(())
    assert {strategy.forward is None for strategy in drawn(kept, 3)} == {False}


def test_a_space_in_which_nothing_goes_together_is_refused_at_once() -> None:
    space = Space.everything(32).limited({"scheduler": "threshold", "confidence": "entropy"})
    with pytest.raises(ConfigError, match="nothing in it goes together; .* take another confidence"):
        space.check()
    with pytest.raises(ConfigError, match="threshold: input should be <= 1"):
        Space.everything(32).limited({"scheduler.threshold.threshold": 7}).check()


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
    # They set what is not searched: fields without a range, a file, rules within a rule.
    few = {"said-paper", "chlg-layers", "dilated", "frequency-debiased", "bounded-or-sure"}
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
        ({"scheduler": "margin"}, "Note: 'margin' is a confidence, no scheduler"),
        ({"scheduler": 5}, "scheduler"),
        ({"scheduler": True}, "scheduler"),
        ({"scheduler": {"name": "even"}}, "scheduler: give a name, a number or a list of them"),
        ({"scheduler": [["even"]]}, "scheduler: give a name, a number or a list of them"),
        ({"scheduler.treshold.threshold": 0.5}, "Did you mean 'threshold'"),
        ({"scheduler.threshold.treshold": 0.5}, "Did you mean 'threshold'"),
        ({"scheduler.threshold": 0.5}, "give scheduler a part's name"),
        ({"scheduler.threshold.threshold": {"lo": 0.5}}, "no such key"),
        ({"steps": {"low": 9, "high": 3}}, "above high"),
        ({"steps": {"choices": []}}, r"choices should be a list of values, got \[\]"),
        ({"steps": {"low": math.nan}}, "steps: no value can be drawn of {'low': nan}"),
        ({"steps": {"step": -1}}, "steps: no value can be drawn of {'step': -1}"),
        ({"steps": {"low": 0, "log": True}}, "steps: no value can be drawn of {'low': 0, 'log': True}"),
        ({"scheduler.threshold.threshold": {"step": math.nan}}, "no value can be drawn of"),
        ({"steps": "x"}, "steps: should be whole numbers above 0, got 'x'"),
        ({"steps": [4, 2.5]}, "steps: should be whole numbers above 0"),
        ({"steps": {"low": 1.5}}, "steps: should be whole numbers above 0, got 1.5"),
        ({"cache": "dual"}, "holds no cache; it is searched where time is the cost, such as --cost seconds"),
    ],
)
def test_a_wrong_limit_says_what_was_expected(limits: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Space.everything(64).limited(limits)


def test_a_reviser_can_be_held_or_left_out_by_its_path() -> None:
    without = Space.everything(32).limited({"revise": "none"})
    assert {(strategy.revise, strategy.forward) for strategy in drawn(without, 40)} == {((), None)}
    held = Space.everything(32).limited({"revise": "narrow-out", "revise.narrow-out.threshold": 0.5})
    for strategy in drawn(held, 40):
        assert strategy.scheduler.adaptive and strategy.forward is not None
        assert [part.model_dump()["threshold"] for part in strategy.revise] == [0.5]


def test_caches_are_searched_where_time_is_the_cost_and_only_there() -> None:
    plain, timed = Space.everything(32), Space.everything(32, timed=True)
    assert "cache" not in plain.ranges() and set(timed.ranges()["cache"].choices) >= {"none", "prefix", "dual"}
    assert {getattr(strategy.cache, "name", "none") for strategy in drawn(timed, 60)} >= {"none", "prefix", "dual"}
    cached = Strategy.load("fast-dllm", gen_length=32).override({"cache": "dual"})
    for strategy in (cached, Strategy.load("llada", gen_length=32, steps=32)):
        parameters = timed.parameters(strategy)
        assert parameters is not None and timed.build(parameters).digest() == strategy.digest()
    assert plain.parameters(cached) is None

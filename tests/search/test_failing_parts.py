"""A plugin's part that fails costs the trials that it is in, never the search: part and plugin are named in the study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import optuna
import pytest

from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.plugin import (
    LayeringConfig,
    Proposal,
    SchedulerConfig,
    Stage,
    StageContext,
    StepView,
    hookimpl,
)
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.judge.choose import choose
from dllm_search.judge.score import Score
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.space import Space
from dllm_search.trials.study import open_study
from tests.support.made_up_study import LENGTH, Luck


class Halving(LayeringConfig):
    """Cannot count its forwards."""

    name: Literal["halving"] = "halving"

    def stages(self, context: StageContext) -> Iterator[Stage]:
        yield Stage("all", context.where, context.steps)

    def forwards(self, steps: int | None, size: int) -> int:
        return 1 // 0


class Breaking(SchedulerConfig):
    """Breaks its contract in its first step."""

    name: Literal["breaking"] = "breaking"
    adaptive: ClassVar[bool] = True

    def select(self, view: StepView, proposal: Proposal) -> Any:
        return "everything"


class Plugin:
    @hookimpl
    def dllm_layering(self) -> list[type[LayeringConfig]]:
        return [Halving]

    @hookimpl
    def dllm_scheduler(self) -> list[type[SchedulerConfig]]:
        return [Breaking]


@pytest.fixture(autouse=True)
def plugin(isolated_registry: Callable[[dict[str, object]], object]) -> None:
    isolated_registry({"faulty-plugin": Plugin()})


def reasons(study: optuna.Study) -> list[str]:
    return [t.user_attrs["reason"] for t in study.get_trials() if t.state == optuna.trial.TrialState.PRUNED]


def test_a_layering_that_cannot_count_is_named_with_its_plugin() -> None:
    with pytest.raises(ConfigError, match=r"layering: 'halving' \(plugin 'faulty-plugin'.*\) failed: ZeroDivisionError"):
        Strategy.load("llada", layering="halving").check()
    # It is named as well where another part holds it.
    with pytest.raises(ConfigError, match=r"layering: 'halving' \(plugin 'faulty-plugin'"):
        Strategy.load("said", **{"layering.detail": "halving"}).check()


def test_a_search_leaves_out_a_part_that_fails_before_anything_is_decoded_and_says_so_once() -> None:
    space = Space.everything(LENGTH).limited({"layering": ["halving", "single"]})
    said: list[str] = []
    run = Search("made-up", LENGTH, Luck(), Settings(trials=24, examples=4), said.append)
    study = open_study(None, "s", {"space": space.fingerprint()})
    run.begin(study, space)
    run.run(study, space)
    assert len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) == 24
    assert not reasons(study)  # blocks that show only while decoding do not ask a layering for its forwards
    (left_out,) = [line for line in said if "left out" in line]
    assert left_out.startswith("left out where it fails: layering: 'halving' (plugin 'faulty-plugin'")


@pytest.mark.parametrize("objective", ["pareto", "constrained", "aup"])
def test_a_search_goes_on_and_ends_where_a_part_fails_while_decoding(objective: str, tmp_path: Path) -> None:
    few = {"trials": 6, "examples": 3, "verify_examples": 4, "test_examples": 3, "objective": objective}
    space = {"space": {"scheduler": ["breaking", "threshold"], "layering": "single", "logits": [], "stop": []}}
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    result = tune(checkpoint, "square", strategy=space, out=tmp_path / "out", cache=tmp_path / "cache", **few)
    failed = [reason for reason in reasons(result.study) if "'breaking'" in reason]
    assert failed and all("faulty-plugin" in reason for reason in failed)
    assert result.strategy.scheduler.name != "breaking"
    # The study remembers: the same command neither tries it again nor fails.
    again = tune(checkpoint, "square", strategy=space, out=tmp_path / "out", cache=tmp_path / "cache", **few)
    assert len(again.study.get_trials()) == len(result.study.get_trials())


class Fragile(Luck):
    """Strategies of fewer forwards than `LENGTH` fail on many examples, or on the test split."""

    fails_on = "tune"

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        if split == self.fails_on and examples > 12 and strategy.max_forwards() < LENGTH:
            raise ContractError("scheduler 'even' of some plugin returned nothing")
        return super().__call__(strategy, split, examples)


@pytest.mark.parametrize("split", ["tune", "test"])
def test_a_part_that_fails_late_leaves_its_strategy_out_and_says_so(split: str) -> None:
    objective, said = Fragile(), []
    objective.fails_on = split
    options = Settings(trials=8, examples=12, verify_examples=40, test_examples=40)
    run = Search("made-up", LENGTH, objective, options, said.append)
    space = Space.load("said", LENGTH)
    study = open_study(None, "s", {"space": space.fingerprint()})
    run.begin(study, space)
    run.run(study, space)
    report = run.conclude(study, {})
    assert report.chosen.strategy.max_forwards() == LENGTH
    assert any("returned nothing" in line for line in said)


def test_choosing_passes_over_what_fails() -> None:
    luck = Fragile()
    steps = [Strategy.load("llada", gen_length=LENGTH, steps=number) for number in (LENGTH, 4)]
    from dllm_search.judge.candidate import Candidate

    baseline, cheap = (Candidate(one, Score((True,) * 12, (one.steps,) * 12, (LENGTH,) * 12), "x") for one in steps)
    choice = choose([baseline, cheap], baseline, lambda strategy: luck(strategy, "tune", 40))
    assert choice.chosen is baseline
    assert choice.failed == ((cheap, "scheduler 'even' of some plugin returned nothing"),)

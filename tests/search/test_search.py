"""The search itself, on a made-up objective that costs nothing: order, seeds, resuming, choosing, writing, telling."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import optuna
import pytest

from dllm_decode.errors import ConfigError, ContractError, DataError
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import Choice, choose, pareto_front
from dllm_search.judge.goals import GOALS
from dllm_search.judge.score import Score
from dllm_search.report.report import Report, compare, evidence
from dllm_search.report.write import write_report
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.baselines import baselines
from dllm_search.space.space import Space
from dllm_search.trials import driver
from dllm_search.trials import study as studies
from dllm_search.trials.generations import Plan

LENGTH = 32


def share(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12


class MadeUp:
    """More forwards are more accurate, up to a point; each example has a difficulty of its own."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.stop_after: int | None = None
        self.refuse: str | None = None

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        if strategy.layering.name == self.refuse:
            raise ContractError(f"layering {self.refuse!r} returned the wrong shape")
        self.asked.append((strategy.digest(), split, examples))
        cost = strategy.max_forwards() * (0.4 if strategy.scheduler.adaptive else 1.0)
        skill = 0.85 * min(1.0, 0.3 + cost / 18) - (0.3 if strategy.confidence.name == "random" else 0)
        correct = tuple(
            0.9 * share(split, i) + 0.1 * share(split, i, strategy.digest()) < skill for i in range(examples)
        )
        return Score(correct, (max(1, round(cost)),) * examples, (20,) * examples)


def search(objective: MadeUp, **options: object) -> Search:
    small = {"trials": 14, "examples": 60, "verify_examples": 150, "test_examples": 150}
    return Search("made-up", LENGTH, objective, Settings(**{**small, **options}), lambda line: None)  # type: ignore[arg-type]


def study_of(run: Search, space: Space, storage: Path | None = None) -> optuna.Study:
    study = studies.open_study(storage, "s", {"space": space.fingerprint(), "seed": run.settings.seed})
    run.begin(study, space)
    return study


def finished(objective: MadeUp, storage: Path | None = None, **options: object) -> optuna.Study:
    space = Space.everything(LENGTH)
    run = search(objective, **options)
    study = study_of(run, space, storage)
    run.run(study, space)
    return study


def digests(study: optuna.Study) -> list[str]:
    return [trial.user_attrs["digest"] for trial in studies.complete(study)]


@pytest.fixture(scope="module")
def report() -> Report:
    space, run = Space.everything(LENGTH), search(MadeUp())
    study = study_of(run, space)
    run.run(study, space)
    record = {"provenance": {"task": "made-up"}, "settings": {"trials": 14}}
    return run.conclude(study, record)


def test_recipes_and_published_budgets_are_the_first_trials() -> None:
    study = finished(MadeUp())
    labels = [trial.user_attrs.get("label") for trial in studies.complete(study)]
    space = Space.everything(LENGTH)
    expected = [s.name for s in baselines(LENGTH, limit=8) if space.parameters(s) is not None]
    assert [label for label in labels if label] == expected
    assert labels[len([label for label in labels if label]) :] == [None] * (
        len(labels) - sum(map(bool, labels))
    )


def test_every_recipe_is_tried_or_measured_beside_the_study() -> None:
    objective = MadeUp()
    run, space = search(objective, trials=90), Space.everything(LENGTH)
    study = studies.open_study(None, "s", {"space": space.fingerprint()})
    assert {strategy.name for strategy in run.begin(study, space)} < {s.name for s in run.first()}
    covered = {strategy.name.split()[0] for strategy in studies.note_first(study, ())}
    assert covered == set(load_registry().names("recipe"))


def test_the_same_seed_is_the_same_study_and_another_seed_is_not() -> None:
    assert digests(finished(MadeUp(), seed=4)) == digests(finished(MadeUp(), seed=4))
    assert digests(finished(MadeUp(), seed=4)) != digests(finished(MadeUp(), seed=5))


def test_a_study_ends_when_as_many_different_strategies_are_scored_as_asked_for() -> None:
    assert len(set(digests(finished(MadeUp())))) == 14


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_an_interrupted_search_goes_on_as_if_it_had_never_stopped(tmp_path: Path, sampler: str) -> None:
    whole = digests(finished(MadeUp(), tmp_path / "whole.journal", sampler=sampler))
    objective = MadeUp()
    objective.stop_after = 11
    with pytest.raises(KeyboardInterrupt):
        finished(objective, tmp_path / "cut.journal", sampler=sampler)
    objective.stop_after = None
    study = finished(objective, tmp_path / "cut.journal", sampler=sampler)
    assert digests(study) == whole
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING))


def test_a_study_is_not_continued_with_another_setup(tmp_path: Path) -> None:
    finished(MadeUp(), tmp_path / "s.journal", seed=1)
    with pytest.raises(ConfigError, match="begun with seed 1, now 2; give another --study"):
        finished(MadeUp(), tmp_path / "s.journal", seed=2)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a journal\nat all\n")
    with pytest.raises(DataError, match="not a study file"):
        studies.open_study(tmp_path / "notes.txt", "s", {})
    with pytest.raises(DataError, match="search run"):
        studies.open_study(tmp_path / "absent.journal", "s")


def test_a_part_that_breaks_its_contract_costs_its_trials_and_not_the_search() -> None:
    objective = MadeUp()
    objective.refuse = "grid"
    study = finished(objective)
    assert len(set(digests(study))) == 14
    refused = study.get_trials(states=(optuna.trial.TrialState.PRUNED,))
    assert refused and all("wrong shape" in trial.user_attrs["reason"] for trial in refused)


def test_a_baseline_beside_the_study_that_the_model_refuses_is_said_and_left_out() -> None:
    objective, said = MadeUp(), list[str]()
    objective.refuse = "scaffold"
    run, space = search(objective, trials=6), Space.load("llada", LENGTH)
    run.say = said.append
    study = study_of(run, space)
    run.run(study, space)
    report = run.conclude(study, {})
    assert any(line.startswith("said 32/16 is left out: layering 'scaffold' returned") for line in said)
    assert "scaffold" not in {candidate.strategy.layering.name for candidate in report.tried}


def test_a_small_space_is_exhausted_and_says_so() -> None:
    space = Space.load("llada", 16).limited({"steps": {"choices": [4, 8, 16]}})
    study = studies.open_study(None, "s", {})
    run = search(MadeUp(), examples=10)
    ended = driver.run(study, Plan(space), GOALS["pareto"].judge(run, run.progress()), trials=20)
    assert "exhausted" in ended and len(set(digests(study))) == 3


def test_optunas_verbosity_is_left_as_it_was() -> None:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        finished(MadeUp(), trials=6)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)


def test_no_front_point_is_beaten_in_both(report: Report) -> None:
    for one in report.front:
        assert not any(
            other.score.accuracy > one.score.accuracy
            and other.score.forward_passes <= one.score.forward_passes
            for other in report.tried
        )
    assert list(report.front) == pareto_front(report.tried)


def test_the_choice_is_cheaper_and_is_measured_beside_the_controls_on_the_test_split(report: Report) -> None:
    assert report.chosen.fewer > 1
    roles = [row.role for row in report.rows]
    assert roles[:2] == ["baseline", "chosen"] and set(roles[2:]) == {"control"}
    names = " | ".join(row.name for row in report.rows)
    assert all(
        name in names for name in ("llada", "said 32/16", "fast-dllm", "equal forwards", "random order")
    )
    assert {row.score.n for row in report.rows} == {150}


def test_the_test_split_is_read_only_after_the_choice() -> None:
    objective = MadeUp()
    run, space = search(objective), Space.everything(LENGTH)
    study = study_of(run, space)
    run.run(study, space)
    assert {split for _, split, _ in objective.asked} == {"tune"}
    run.conclude(study, {})
    splits = [split for _, split, _ in objective.asked]
    assert splits.index("test") > max(
        i for i, asked in enumerate(objective.asked) if asked[2] == 150 and asked[1] == "tune"
    )


def chosen_of(outcomes: dict[str, tuple[tuple[bool, ...], int]], few: int) -> Choice:
    """Choose among recipes with given outcomes and forwards, the first one the baseline."""

    def score(strategy: Strategy, n: int | None = None) -> Score:
        correct, forwards = outcomes[strategy.name]
        correct = correct[:n]
        return Score(correct, (forwards,) * len(correct), (10,) * len(correct))

    candidates = [Candidate(Strategy.load(name), score(Strategy.load(name), few), name) for name in outcomes]
    return choose(candidates, candidates[0], score)


def test_a_lucky_strategy_is_dropped_when_more_examples_are_looked_at() -> None:
    right = tuple(i % 10 != 0 for i in range(600))
    lucky = tuple(i < 20 or i % 2 == 0 for i in range(600))
    choice = chosen_of({"llada": (right, 32), "said": (lucky, 4), "fast-dllm": (right, 8)}, few=20)
    assert [(v.candidate.label, v.verdict) for v in choice.verified] == [
        ("said", "does not hold"),
        ("fast-dllm", "holds, proven"),
    ]
    assert choice.chosen.label == "fast-dllm"


def test_proof_goes_before_price_and_the_bolder_one_is_shown_beside_it() -> None:
    right = tuple(i % 5 != 0 for i in range(500))
    noisy = tuple(i % 5 != 2 for i in range(500))
    better = tuple(i % 10 != 0 for i in range(500))
    outcomes = {"llada": (right, 32), "said": (noisy, 4), "fast-dllm": (better, 8)}
    choice = chosen_of(outcomes, few=500)
    assert (choice.chosen.label, choice.bolder.label if choice.bolder else None) == ("fast-dllm", "said")
    del outcomes["fast-dllm"]
    choice = chosen_of(outcomes, few=500)
    assert (choice.chosen.label, choice.bolder) == ("said", None)
    assert choice.verified[0].verdict == "holds, unproven"
    outcomes["said"] = (tuple(i > 2 and one for i, one in enumerate(noisy)), 4)
    choice = chosen_of(outcomes, few=500)
    assert (choice.chosen.label, choice.verified[0].verdict) == ("said", "within the margin, unproven")


def test_the_results_are_written_and_the_strategy_loads_back(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "out")
    written = tmp_path / "out"
    assert Strategy.load(written / "strategy.yaml").digest() == report.chosen.strategy.digest()
    assert (written / "strategy.yaml").read_text().startswith("# task: made-up")
    assert (written / "front.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((written / "report.json").read_text())
    assert record["kind"] == "search" and record["chosen"]["role"] == "chosen"
    table = (written / "table.md").read_text()
    assert "(chosen)" in table and "random order" in table


def test_thin_evidence_is_called_thin() -> None:
    strategy = Strategy.load("llada")
    right = Score((True,) * 30 + (False,) * 10, (32,) * 40, (20,) * 40)
    other = Score((True,) * 29 + (False,) * 9 + (True,) * 2, (8,) * 40, (20,) * 40)
    rows = [
        compare("baseline", "llada", strategy, right, right),
        compare("chosen", "x", strategy, other, right),
    ]
    said = " ".join(evidence(rows))
    assert "4.00 times fewer" in said and "too thin" in said and "40 examples are few" in said


def test_a_search_that_finds_nothing_says_so() -> None:
    strategy = Strategy.load("llada")
    right = Score((True,) * 40, (32,) * 40, (20,) * 40)
    assert "Nothing cheaper" in evidence([compare("baseline", "llada", strategy, right, right)])[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": 0}, "trials: input should be >= 1, got 0"),
        ({"test_examples": -3}, "test_examples: input should be >= 1, got -3"),
        ({"timeout": 0.0}, "timeout: input should be > 0, got 0.0"),
        ({"trails": 3}, "trails: unknown setting 'trails'. Did you mean 'trials'?"),
        ({"objective": "paretto"}, "Did you mean 'pareto'"),
        ({"sampler": "random"}, "unknown sampler"),
    ],
)
def test_a_wrong_setting_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**options)  # type: ignore[arg-type]

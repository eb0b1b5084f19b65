"""Least cost at a kept quality: what an example's loss is, when a trial stops, and that little is spent on bad ones."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
import pytest

from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.area import area
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import choose, choose_area
from dllm_search.judge.constrained import (
    FIRST_LOOK,
    LOST,
    ConstrainedJudge,
    looks,
    loses_too_much,
    losses,
    pruner,
    viewing_order,
)
from dllm_search.judge.score import Score
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.space import Space
from dllm_search.trials import study as studies
from tests.search.test_search import share

LENGTH = 32


class MadeUp:
    """More forwards are more accurate, up to a point; counts every example that is decoded, once."""

    def __init__(self) -> None:
        self.decoded: dict[tuple[str, str], set[int]] = {}

    def rows(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Score:
        self.decoded.setdefault((strategy.digest(), split), set()).update(rows)
        cost = max(1, round(strategy.max_forwards() * (0.4 if strategy.scheduler.adaptive else 1.0)))
        skill = min(0.9, 0.3 + cost / 18)
        noise = 0.02
        correct = tuple(
            (1 - noise) * share(split, row) + noise * share(split, row, strategy.digest()) < skill for row in rows
        )
        return Score(correct, (cost,) * len(correct), (20,) * len(correct))

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        return self.rows(strategy, split, range(examples))

    def examples_of(self, strategy: Strategy) -> int:
        return len(self.decoded.get((strategy.digest(), "tune"), ()))


def judge(objective: MadeUp, baseline: Strategy, n: int = 200, max_drop: float = 0.01) -> ConstrainedJudge:
    return ConstrainedJudge(
        lambda strategy, rows: objective.rows(strategy, "tune", rows),
        objective(baseline, "tune", n),
        baseline.digest(),
        max_drop,
    )


def single(direction: str = "minimize") -> optuna.Study:
    with studies.quiet():
        return optuna.create_study(direction=direction, pruner=pruner())


def told(study: optuna.Study, one: ConstrainedJudge, strategy: Strategy) -> tuple[bool, str, int]:
    """Run one trial; return whether it went to the end, the reason it did not, and the examples looked at."""
    with studies.quiet():
        trial = study.ask()
        judged = one(trial, strategy)
        study.tell(trial, judged.values, None if judged.values else optuna.trial.TrialState.PRUNED)
    return judged.values is not None, judged.reason, judged.score.n


def constrained(made_up: MadeUp, **options: object) -> tuple[Search, optuna.Study]:
    small: dict[str, object] = {"trials": 16, "examples": 100, "verify_examples": 300, "test_examples": 100}
    settings = Settings(**{**small, "objective": "constrained", "max_drop": 3.0, **options})  # type: ignore[arg-type]
    run = Search("made-up", LENGTH, made_up, settings, lambda line: None)
    space = Space.load("llada", LENGTH)
    study = studies.open_study(None, "s", {"objective": settings.objective, "everything": False})
    run.begin(study, space)
    run.run(study, space)
    return run, study


def test_a_right_answers_loss_is_its_cost_and_a_wrong_ones_does_not_depend_on_it() -> None:
    baseline = Score((True, True, False, False), (32, 32, 32, 32), (9,) * 4)
    cheap = Score((True, False, True, False), (8, 8, 8, 8), (9,) * 4)
    dear = Score((True, False, True, False), (16, 16, 16, 16), (9,) * 4)
    assert losses(cheap, baseline, 32.0) == [0.25, LOST, 0.25, 1.0]
    assert losses(dear, baseline, 32.0) == [0.5, LOST, 0.5, 1.0]
    timed = Score(cheap.correct, cheap.forwards, cheap.tokens, measured=0.4)
    assert losses(timed, baseline, 32.0)[0] == pytest.approx(0.4)


def test_losses_leave_the_signed_rank_test_few_ties_where_right_and_wrong_alone_would() -> None:
    n = 64
    best = Score((True,) * n, (8,) * n, (9,) * n)
    dearer = Score((True,) * n, (10,) * n, (9,) * n)
    study = single()
    for number, score in enumerate((best, dearer)):
        with studies.quiet():
            trial = study.ask()
            for row, value in enumerate(losses(score, best, 8.0)):
                trial.report(value, row)
            assert trial.should_prune() == (number == 1)
            study.tell(trial, score.cost)


def test_allowed_losses_are_forgiven_before_the_rest_is_tested() -> None:
    assert not loses_too_much(lost=2, gained=0, n=200, max_drop=0.01)
    assert not loses_too_much(lost=6, gained=0, n=200, max_drop=0.01)
    assert loses_too_much(lost=7, gained=0, n=200, max_drop=0.01)
    assert not loses_too_much(lost=7, gained=4, n=200, max_drop=0.01)
    assert not loses_too_much(lost=20, gained=0, n=200, max_drop=0.1)


def test_a_bad_trial_stops_after_a_few_dozen_examples_and_a_good_one_goes_to_the_end() -> None:
    objective, baseline = MadeUp(), Strategy.load("llada", gen_length=LENGTH, steps=LENGTH)
    one, study = judge(objective, baseline), single()
    assert told(study, one, baseline) == (True, "", 200)
    good = Strategy.load("llada", gen_length=LENGTH, steps=16)
    assert told(study, one, good)[0]
    finished, reason, seen = told(study, one, Strategy.load("llada", gen_length=LENGTH, steps=4))
    assert not finished and "lost" in reason and seen <= 48
    finished, reason, seen = told(study, one, Strategy.load("llada", gen_length=LENGTH, steps=24))
    assert not finished and "worse than the best" in reason and seen <= 48
    in_blocks = baseline.override({"block": {"name": "fixed", "length": 8}})
    assert told(study, one, in_blocks)[1].startswith(f"stopped after {FIRST_LOOK} examples")
    assert objective.examples_of(Strategy.load("llada", gen_length=LENGTH, steps=24)) == seen
    assert one.spared > 0


def test_what_earlier_trials_lost_is_looked_at_first_and_what_cannot_be_lost_last() -> None:
    baseline = Score((True, True, False, True, True), (8,) * 5, (9,) * 5)
    plain = viewing_order([], baseline, seed=0)
    assert sorted(plain) == [0, 1, 2, 3, 4] and plain[-1] == 2
    assert plain == viewing_order([], baseline, seed=0)
    study = single()
    for lost in ((3,), (3, 0)):
        with studies.quiet():
            trial = study.ask()
            for row in range(5):
                trial.report(LOST if row in lost else 0.5, row)
            study.tell(trial, 1.0)
    order = viewing_order(study.trials, baseline, seed=0)
    assert order[:2] == [3, 0] and order[-1] == 2


def test_looks_grow_to_the_batch_size_and_cover_everything_once() -> None:
    found = list(looks(range(200), batch_size=64))
    assert [len(rows) for rows in found] == [FIRST_LOOK, 32, 64, 64, 24]
    assert [row for rows in found for row in rows] == list(range(200))
    assert [len(rows) for rows in looks(range(10), batch_size=4)] == [4, 4, 2]


def test_a_constrained_search_finds_what_an_exhaustive_one_finds_and_decodes_less() -> None:
    objective = MadeUp()
    run, study = constrained(objective)
    scored, stopped = run.tried(study), run.stopped(study)
    assert len(scored) + len(stopped) == 16
    assert stopped, "nothing was stopped early"
    assert sum(candidate.score.n < 100 for candidate in stopped) > len(stopped) / 2
    spent = sum(len(rows) for rows in objective.decoded.values())
    assert spent < 0.7 * 100 * 16
    report = run.conclude(study, {})
    assert report.record["trials"] == 16 and report.record["stopped_early"] == len(stopped)
    assert report.chosen.fewer > 1
    assert all(v["verdict"] == "holds, proven" for v in report.record["verified_on_tune"][-1:])


def test_the_same_seed_stops_the_same_trials_at_the_same_examples() -> None:
    def story(seed: int) -> list[tuple[str, int]]:
        _, study = constrained(MadeUp(), seed=seed, trials=10)
        return [(t.user_attrs["digest"], t.user_attrs["n"]) for t in study.trials if "digest" in t.user_attrs]

    assert story(1) == story(1)


def test_without_proof_a_constrained_search_keeps_the_baseline() -> None:
    right = tuple(i % 5 != 0 for i in range(300))
    noisy = tuple(i % 5 != 2 for i in range(300))
    scores = {"llada": Score(right, (32,) * 300, (9,) * 300), "said": Score(noisy, (4,) * 300, (9,) * 300)}
    candidates = [Candidate(Strategy.load(name), scores[name], name) for name in scores]
    choice = choose(
        candidates, candidates[0], lambda s: scores[s.name], margin=0.01, strict=True
    )
    assert choice.chosen.label == "llada" and choice.bolder is not None
    allowed = choose(candidates, candidates[0], lambda s: scores[s.name], margin=0.2, strict=True)
    assert allowed.chosen.label == "said"


def test_the_proof_of_a_constrained_search_is_the_95_percent_interval() -> None:
    right = (True,) * 500
    nearly = tuple(i >= 2 for i in range(500))
    scores = {"llada": Score(right, (32,) * 500, (9,) * 500), "said": Score(nearly, (4,) * 500, (9,) * 500)}
    candidates = [Candidate(Strategy.load(name), scores[name], name) for name in scores]
    for strict, verdict in ((True, "holds, proven"), (False, "within the margin, unproven")):
        choice = choose(candidates, candidates[0], lambda s: scores[s.name], margin=0.015, strict=strict)
        assert choice.verified[0].verdict == verdict


def test_area_grows_with_speed_while_accuracy_holds_and_not_beyond_five_points_below() -> None:
    baseline = Score((True,) * 90 + (False,) * 10, (32,) * 100, (16,) * 100)
    fast = Score((True,) * 88 + (False,) * 12, (8,) * 100, (16,) * 100)
    wrong = Score((True,) * 50 + (False,) * 50, (2,) * 100, (16,) * 100)
    assert area(fast, baseline) > area(baseline, baseline) == pytest.approx(area(wrong, baseline))
    candidates = [
        Candidate(Strategy.load(name), score, name)
        for name, score in (("llada", baseline), ("said", fast), ("fast-dllm", wrong))
    ]
    scores = {candidate.label: candidate.score for candidate in candidates}
    choice = choose_area(candidates, candidates[0], lambda s: scores[s.name], area)
    assert choice.chosen.label == "said"


def test_a_search_for_area_runs_to_a_report() -> None:
    run, study = constrained(MadeUp(), objective="aup", trials=6)
    assert study.directions == [optuna.study.StudyDirection.MAXIMIZE]
    report = run.conclude(study, {})
    assert report.chosen.score.tokens_per_forward > report.rows[0].score.tokens_per_forward


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "constrained", "max_drop": -1.0}, "max_drop: input should be >= 0, got -1"),
        ({"objective": "constrained", "sampler": "nsga2"}, "constrained takes sampler tpe, not nsga2"),
        ({"cost": "second"}, "Did you mean 'seconds'"),
        ({"objective": "aup", "cost": "seconds"}, "aup is area under .* such as forwards, not seconds"),
        ({"cost": "seconds", "cost_batch_size": 0}, "cost_batch_size: input should be >= 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**options)  # type: ignore[arg-type]

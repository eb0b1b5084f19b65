"""The one loop: what it tries follows from seed and history, however often it is killed and however wide it works."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import tests.support.made_up_study as made_up
from dllm_decode.errors import ContractError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score
from dllm_search.trials import study as studies
from dllm_search.trials.generations import Settled
from dllm_search.trials.record import Tried
from tests.support.made_up_study import Luck, drive, story

OBJECTIVES = ("pareto", "constrained", "aup")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_search_stopped_after_every_trial_is_the_search_that_ran_through(objective: str, tmp_path: Path) -> None:
    whole = story(drive(None, objective=objective))
    journal = tmp_path / "study.journal"

    def stop(tried: Tried) -> None:
        raise KeyboardInterrupt

    for _ in whole:
        with pytest.raises(KeyboardInterrupt):
            drive(journal, objective=objective, watch=stop)
    assert story(drive(journal, objective=objective)) == whole


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_replay_that_copies_nothing_draws_what_one_of_real_copies_draws(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = story(drive(None, objective=objective, trials=24))
    monkeypatch.delattr(Settled, "__deepcopy__")
    assert story(drive(None, objective=objective, trials=24)) == whole


def test_a_search_that_is_given_more_trials_goes_on_from_where_it_ended(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    few = story(drive(journal, trials=6))
    more = story(drive(journal, trials=12))
    assert more[: len(few)] == few and len(more) > len(few)


def test_another_seed_is_another_study_and_another_width_as_well() -> None:
    plain = story(drive(None))
    assert story(drive(None, seed=1)) != plain
    assert story(drive(None, generation=1)) != plain


def kill_at_random_moments(journal: Path, kills: int, seed: int, objective: str) -> optuna.Study:
    """Kill a driver again and again, also while the first strategies are noted; finish the study in the end."""
    moments = random.Random(seed)
    for _ in range(kills):
        process = made_up.forked(journal, 0.02, objective=objective)
        time.sleep(moments.uniform(0.0, 0.25))
        made_up.kill(process)
    return drive(journal, objective=objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_killed_at_random_moments_a_search_resumes_to_the_same_end(objective: str, tmp_path: Path) -> None:
    whole = story(drive(None, objective=objective))
    assert story(kill_at_random_moments(tmp_path / "study.journal", 5, 0, objective)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_twenty_random_moments_it_does_so_too(objective: str, seed: int, tmp_path: Path) -> None:
    whole = story(drive(None, objective=objective))
    assert story(kill_at_random_moments(tmp_path / "study.journal", 20, seed, objective)) == whole


def test_a_study_cut_anywhere_goes_on_to_the_same_end(tmp_path: Path) -> None:
    journal, cut = tmp_path / "study.journal", tmp_path / "cut.journal"
    whole = story(drive(journal))
    lines = journal.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        cut.write_bytes(b"".join(lines[:kept]))
        assert story(drive(cut)) == whole, kept


def test_the_first_strategies_keep_their_names_and_what_a_later_run_would_try_first_changes_nothing(
    tmp_path: Path
) -> None:
    journal = tmp_path / "study.journal"
    drive(journal, timeout=1e-9)
    run = made_up.search(Luck())
    run.nearest = []
    study = studies.open_study(journal, "made-up")
    run.run(study, made_up.space())
    assert story(study) == story(drive(None))
    noted = {t.user_attrs["label"]: t.user_attrs["digest"] for t in study.trials if "label" in t.user_attrs}
    assert noted.items() >= {strategy.name: strategy.digest() for strategy in made_up.first()[-1:]}.items()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_strategies_judged_at_the_same_time_make_the_same_study(objective: str) -> None:
    whole = story(drive(None, objective=objective))
    busy, most = [0], [0]
    lock = threading.Lock()

    class Several(Luck):
        def rows(self, strategy: Strategy, split: str, rows: object) -> Score:
            with lock:
                busy[0] += 1
                most[0] = max(most[0], busy[0])
            time.sleep(0.01)
            try:
                return super().rows(strategy, split, rows)  # type: ignore[arg-type]
            finally:
                with lock:
                    busy[0] -= 1

    run = made_up.search(Several(), objective=objective)
    run.at_once = 3
    study = studies.open_study(None, "made-up", {**run.settings.fixed(), "everything": False})
    run.run(study, made_up.space())
    assert story(study) == whole
    assert most[0] > 1


def test_two_drivers_of_one_study_make_the_study_of_one(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    drivers = [made_up.forked(journal, 0.01) for _ in range(2)]
    for process in drivers:
        process.join(timeout=60)
    study = drive(journal)
    assert [t.user_attrs["digest"] for t in studies.complete(study)] == [entry[4] for entry in story(drive(None))]


def test_a_strategy_seen_before_is_not_scored_again() -> None:
    luck = Luck()
    study = drive(None, luck, trials=40)
    digests = [trial.user_attrs["digest"] for trial in studies.complete(study)]
    assert len(digests) > len(set(digests)) == 40
    # The baseline beside the study is scored by itself.
    assert len(luck.asked) <= 41


def test_what_breaks_its_contract_is_refused_with_the_reason_and_another_takes_its_place() -> None:
    class Odd(Luck):
        def rows(self, strategy: Strategy, split: str, rows: object) -> Score:
            if strategy.steps is not None and strategy.steps % 2:
                raise ContractError("odd steps are not for me")
            return super().rows(strategy, split, rows)  # type: ignore[arg-type]

    study = drive(None, Odd())
    refused = study.get_trials(states=(TrialState.PRUNED,))
    assert refused and {trial.user_attrs["reason"] for trial in refused} == {"odd steps are not for me"}
    assert len({trial.user_attrs["digest"] for trial in studies.complete(study)}) == made_up.TRIALS


def test_an_error_of_the_machine_ends_the_search_and_is_not_held_against_the_strategy(tmp_path: Path) -> None:
    class Broken(Luck):
        def rows(self, strategy: Strategy, split: str, rows: object) -> Score:
            if len(self.asked) == 7:
                raise MemoryError("out of memory")
            return super().rows(strategy, split, rows)  # type: ignore[arg-type]

    journal = tmp_path / "study.journal"
    with pytest.raises(MemoryError):
        drive(journal, Broken())
    assert story(drive(journal)) == story(drive(None))

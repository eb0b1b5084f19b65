"""Workers that share a study: the same trials whoever runs them, lost ones tried again, none counted twice."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import tests.support.shared_study as shared
from dllm_decode.cli import main
from dllm_decode.errors import ConfigError, ContractError, DataError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score
from dllm_search.trials import study as studies
from dllm_search.trials.generations import GENERATION, SLOT, Generation, Ledger, publish
from dllm_search.trials.heartbeat import PROCESS, Watch, gone, host, identity
from dllm_search.trials.joining import join
from dllm_search.trials.patience import Patient
from dllm_search.trials.storage import open_storage, shown
from dllm_search.trials.worker import Terms
from tests.support.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def expected() -> dict[int, tuple[object, ...]]:
    return shared.without_faults()


def lost(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    failed = study.get_trials(states=(TrialState.FAIL,))
    return [trial for trial in failed if "cancelled" not in trial.user_attrs]


def test_any_number_of_workers_makes_the_same_study(expected: dict[int, tuple[object, ...]]) -> None:
    study = shared.opened(None)
    threads = [threading.Thread(target=shared.worker(study).run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.outcome(study) == expected
    assert len({digest for _, _, digest in expected.values()}) == shared.WANTED


def test_another_seed_is_another_study(expected: dict[int, tuple[object, ...]]) -> None:
    study = shared.opened(None)
    shared.worker(study, terms=Terms(width=4, seed=1)).run()
    assert shared.outcome(study) != expected


def test_a_study_whose_worker_is_killed_goes_on_to_the_same_end(
    tmp_path: Path, expected: dict[int, tuple[object, ...]]
) -> None:
    journal = tmp_path / "study.journal"
    process = shared.forked(journal, shared.slow(0.2))
    study = shared.opened(journal)
    shared.until(lambda: len(studies.complete(study)) >= 3 and shared.running(study))
    shared.kill(process)
    process.join()
    assert not lost(study)
    shared.worker(study).run()
    assert shared.outcome(study) == expected
    assert [trial.user_attrs["reason"].endswith("has ended") for trial in lost(study)] == [True]


def test_a_worker_of_another_machine_that_falls_silent_is_replaced(
    expected: dict[int, tuple[object, ...]]
) -> None:
    study = shared.opened(None)
    worker = shared.worker(study, terms=Terms(width=4, grace=0.4, poll=0.05))
    ledger = Ledger((), 3)
    worker._plan(worker._following(ledger))  # type: ignore[arg-type]
    first = study.trials[0]
    study._storage.set_trial_state_values(first._trial_id, TrialState.RUNNING)
    study._storage.set_trial_user_attr(first._trial_id, PROCESS, "far-away:7:1")
    worker.run()
    assert shared.outcome(study) == expected
    assert [trial.user_attrs["reason"] for trial in lost(study)] == [
        "its worker far-away:7:1 gave no sign for 0.4 s"
    ]


def test_a_worker_whose_trial_was_given_away_does_not_count_its_result(
    expected: dict[int, tuple[object, ...]]
) -> None:
    study = shared.opened(None)
    said: list[str] = []
    taken: list[int] = []

    def robbed(strategy: Strategy) -> Score:
        running = shared.running(study)
        if not taken:
            taken.append(running[0].number)
            study._storage.set_trial_state_values(running[0]._trial_id, TrialState.FAIL)
        return shared.score(strategy)

    shared.worker(study, robbed, say=said.append).run()
    assert shared.outcome(study) == expected
    assert said == [f"trial {taken[0]} was given to another worker meanwhile; this result is not counted"]


def test_a_slot_that_keeps_failing_is_given_up_with_its_reason_and_another_takes_its_place() -> None:
    study = shared.opened(None)
    poisoned = shared.first()[1].digest()

    def breaks(strategy: Strategy) -> Score:
        if strategy.digest() == poisoned:
            raise MemoryError("out of memory")
        return shared.score(strategy)

    shared.worker(study, breaks, terms=Terms(width=4, retries=1, poll=0.05)).run()
    assert [trial.user_attrs["reason"].split(" (")[0] for trial in lost(study)] == ["MemoryError: out of memory"] * 2
    assert {trial.user_attrs[SLOT] for trial in lost(study)} == {1}
    scored = {trial.user_attrs["digest"] for trial in studies.complete(study)}
    assert len(scored) == shared.WANTED and poisoned not in scored


def test_a_machine_on_which_every_trial_fails_stops_and_leaves_them_to_others(
    expected: dict[int, tuple[object, ...]]
) -> None:
    study = shared.opened(None)

    def breaks(strategy: Strategy) -> Score:
        raise RuntimeError("no such device")

    with pytest.raises(RuntimeError, match="no such device"):
        shared.worker(study, breaks).run()
    assert len(lost(study)) == 3
    shared.worker(study).run()
    assert shared.outcome(study) == expected


def test_what_breaks_its_contract_is_refused_and_not_tried_again() -> None:
    study = shared.opened(None)

    def refuses(strategy: Strategy) -> Score:
        if strategy.steps is not None and strategy.steps % 2:
            raise ContractError("odd steps are not for me")
        return shared.score(strategy)

    ended = shared.worker(study, refuses).run()
    refused = study.get_trials(states=(TrialState.PRUNED,))
    assert "12 trials are done" in ended and refused
    assert {trial.user_attrs["reason"] for trial in refused} == {"odd steps are not for me"}
    assert not lost(study)


def test_an_interrupted_trial_is_handed_back_and_not_held_against_its_slot(
    expected: dict[int, tuple[object, ...]]
) -> None:
    study = shared.opened(None)

    def interrupted(strategy: Strategy) -> Score:
        raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            shared.worker(study, interrupted, terms=Terms(width=4, retries=0)).run()
    shared.worker(study, terms=Terms(width=4, retries=0)).run()
    assert shared.outcome(study) == expected


def test_what_two_workers_planned_at_once_is_run_once(expected: dict[int, tuple[object, ...]]) -> None:
    study = shared.opened(None)
    worker = shared.worker(study)
    drafts = worker._known_drafts()
    for again in range(2):
        for slot, draft in enumerate(drafts):
            publish(study, Generation(0, 0, len(drafts)), slot, draft, f"{again}-{slot}", 0)
    worker.run()
    assert shared.outcome(study) == expected
    assert len([t for t in study.trials if "cancelled" in t.user_attrs]) == len(drafts)


def test_the_first_plan_of_a_generation_is_the_plan() -> None:
    study = shared.opened(None)
    draft = shared.worker(study)._known_drafts()[0]
    publish(study, Generation(0, 0, 1), 0, draft, "a", 0)
    publish(study, Generation(0, 0, 3), 2, draft, "b", 0)
    ledger = Ledger(study.get_trials(), 3)
    assert ledger.generation == Generation(0, 0, 1)
    assert [trial.user_attrs[GENERATION] for trial in ledger.surplus] == [[0, 0, 3]]


def test_silence_is_measured_only_while_somebody_watches() -> None:
    study = shared.opened(None)
    trial = study.ask()
    trial.set_user_attr(PROCESS, "far-away:7:1")
    now = [0.0]
    watch = Watch(grace=60, clock=lambda: now[0])

    def found(at: float) -> bool:
        now[0] = at
        return bool(watch.lost(study.get_trials(states=(TrialState.RUNNING,))))

    # An hour of decoding, or of a database that was away, is no proof of silence.
    assert not found(0) and not found(3600) and not found(3610)
    trial.set_user_attr("beat", 1)
    assert not any(found(3620 + second) for second in range(0, 60, 10))
    assert found(3690)


def test_processes_are_told_from_later_ones_with_the_same_number() -> None:
    where = host()
    assert where.startswith(socket.gethostname())
    assert not gone(identity())
    assert gone(f"{where}:{2**22 + 1}:5")
    assert not gone(f"elsewhere:{2**22 + 1}:5")
    if identity().rpartition(":")[2]:
        assert gone(f"{where}:{os.getpid()}:1")


class Flaky:
    """A storage whose answers are lost: after `lose` of a method, the call has gone through and raises."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self.storage, self.lose = storage, ""

    def __getattr__(self, name: str) -> object:
        found = getattr(self.storage, name)

        def call(*args: object, **options: object) -> object:
            answer = found(*args, **options)
            if name == self.lose:
                self.lose = ""
                raise ConnectionResetError("connection reset by peer")
            return answer

        return call


@pytest.mark.parametrize(
    "method", ["create_new_trial", "set_trial_state_values", "set_trial_user_attr", "get_all_trials"]
)
def test_a_call_whose_answer_was_lost_is_not_done_twice(
    method: str, expected: dict[int, tuple[object, ...]]
) -> None:
    flaky, said = Flaky(optuna.storages.InMemoryStorage()), []
    study = optuna.create_study(
        storage=Patient(flaky, "a server", say=said.append),  # type: ignore[arg-type]
        directions=["maximize", "minimize"],
    )
    calls = [0]

    def scored(strategy: Strategy) -> Score:
        calls[0] += 1
        flaky.lose = method
        return shared.score(strategy)

    shared.worker(study, scored, terms=Terms(width=4, grace=0.5, poll=0.05)).run()
    assert shared.outcome(study) == expected
    assert any("does not answer" in line for line in said) and any("answers again" in line for line in said)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("postgres://me:secret@host:1/x", "postgres://me:***@host:1/x"),
        ("postgresql://me@host/x", "postgresql://me@host/x"),
        ("a/study.journal", "a/study.journal"),
    ],
)
def test_a_password_is_never_shown(place: str, said: str) -> None:
    assert shown(place) == said


def test_an_address_that_cannot_be_meant_says_what_was_expected() -> None:
    with pytest.raises(ConfigError, match="storage oracl://me@host/x: "):
        open_storage("oracl://me@host/x", create=True)
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[dev]'")
    with pytest.raises(ConfigError, match="expected grpc://HOST:PORT"):
        open_storage("grpc://host:door", create=True)


def test_a_worker_is_told_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = str(tmp_path / "study.journal")
    with pytest.raises(ConfigError, match="holds no study yet; give --task to begin one"):
        join(journal)
    studies.open_study(journal, "alone", {"task": "line", "generation": None})
    with pytest.raises(ConfigError, match="begun to try one strategy after another"):
        join(journal)
    assert main(["search", "worker", "--storage", journal, "--beat", "90"]) == 2
    assert "beat: should be above 0 and below --grace" in capsys.readouterr().err


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("workers") / "model")


@pytest.mark.parametrize("objective", ["pareto", "constrained"])
def test_a_worker_begins_a_search_and_one_that_knows_only_the_address_makes_the_same(
    objective: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    begin = {"task": "line", "model": str(checkpoint), "strategy": "said", "examples": 4, "objective": objective}
    alone, both = tmp_path / "alone.journal", tmp_path / "both.journal"
    assert "all 7 trials are done" in join(alone, **begin, trials=7, generation=2)
    join(both, **begin, trials=7, generation=2, timeout=1e-6)
    assert "all 7 trials are done" in join(both)
    kept = [studies.open_study(journal, None) for journal in (alone, both)]
    assert shared.outcome(kept[0]) == shared.outcome(kept[1])


def test_a_worker_with_another_model_task_or_setting_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    journal = tmp_path / "study.journal"
    join(journal, "s", task="line", model=str(checkpoint), strategy="said", trials=2, examples=2, timeout=1e-6)
    other = write_checkpoint(tmp_path / "other", intermediate_size=48)
    with pytest.raises(ConfigError, match="was begun with model '.*', now '.*'; give another --study"):
        join(journal, model=str(other))
    with pytest.raises(ConfigError, match="was begun with task 'line', now 'facts'"):
        join(journal, "s", task="facts")
    with pytest.raises(ConfigError, match="was begun with seed 0, now 3; leave it out"):
        join(journal, "s", seed=3)


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[dev]'")
    monkeypatch.setattr("dllm_search.trials.storage.FIRST_ANSWER", 0.2)
    with pytest.raises(DataError, match="grpc://127.0.0.1:1 has not answered.*search proxy"):
        open_storage("grpc://127.0.0.1:1", create=True)

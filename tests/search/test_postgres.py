"""Many workers on a real PostgreSQL: killed in the middle of trials, the database restarted, a proxy before it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

import tests.support.shared_study as shared
from dllm_decode.errors import ConfigError, DataError
from dllm_search.trials import study as studies
from dllm_search.trials.generations import SLOT
from dllm_search.trials.storage import open_storage, serve
from tests.support.postgres import Server, UnavailableError, free_port

pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed: pip install '.[dev]'")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        started = Server()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield started
    started.close()


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"test_{abs(hash(request.node.name))}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url.rpartition("/")[0] + f"/{name}"


def test_two_workers_killed_and_the_database_restarted_and_still_the_same_best(
    server: Server, database: str
) -> None:
    expected = shared.without_faults()
    workers = [shared.forked(database, shared.slow(0.4)) for _ in range(4)]
    study = shared.opened(database)
    by_process = {process.pid: process for process in workers}

    def busy() -> set[int]:
        owners = [trial.user_attrs["process"].split(":")[1] for trial in shared.running(study)]
        return {int(owner) for owner in owners} & set(by_process)

    shared.until(lambda: len(busy()) >= 1)
    victim = busy().pop()
    shared.kill(by_process.pop(victim))

    shared.until(lambda: len(studies.complete(study)) >= 4)
    server.stop()
    time.sleep(0.7)
    server.start()

    shared.until(lambda: len(busy()) >= 1)
    second = busy().pop()
    shared.kill(by_process.pop(second))

    for process in by_process.values():
        process.join(timeout=120)
        assert process.exitcode == 0
    assert shared.outcome(study) == expected
    lost = study.get_trials(states=(TrialState.FAIL,))
    assert {int(t.user_attrs["process"].split(":")[1]) for t in lost if "process" in t.user_attrs} >= {victim, second}
    assert all("has ended" in t.user_attrs["reason"] for t in lost if "cancelled" not in t.user_attrs)
    retried = {t.user_attrs[SLOT] for t in study.trials if t.user_attrs.get("retry")}
    assert retried == {t.user_attrs[SLOT] for t in lost if "cancelled" not in t.user_attrs}

    calm = shared.opened(None)
    shared.worker(calm).run()
    assert shared.front(study) == shared.front(calm)


def test_workers_behind_a_grpc_proxy_find_the_same(database: str) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[dev]'")
    port = free_port()
    threading.Thread(target=serve, args=(database, "127.0.0.1", port, print), daemon=True).start()
    study = shared.opened(f"grpc://127.0.0.1:{port}")
    threads = [threading.Thread(target=shared.worker(study).run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert shared.outcome(shared.opened(database)) == shared.without_faults()


def test_a_database_that_cannot_be_reached_is_one_sentence_without_the_password(server: Server) -> None:
    with pytest.raises(DataError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x cannot be reached: .*running"):
        open_storage("postgresql://me:secret@127.0.0.1:1/x", create=True)
    absent = server.url.rpartition("/")[0] + "/absent"
    with pytest.raises(DataError, match='database "absent" does not exist'):
        open_storage(absent, create=True)


def test_a_database_that_stays_away_is_given_up_on_with_the_way_out(server: Server, database: str) -> None:
    said: list[str] = []
    kept = open_storage(database, create=True, patience=0.5, say=said.append)
    server.stop()
    try:
        with pytest.raises(DataError, match=r"has not answered for 0.5 s .*start the same command again"):
            kept.get_all_studies()
    finally:
        server.start()
    assert kept.get_all_studies() == []
    assert "does not answer" in said[0]


def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'dllm-decode\[postgres\]'"):
        open_storage("postgresql://me:secret@host/x", create=True)
    with pytest.raises(ConfigError, match=r"pip install 'dllm-decode\[grpc\]'"):
        open_storage("grpc://host:13000", create=True)

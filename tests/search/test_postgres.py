"""A study in a real PostgreSQL: the driver killed, the database restarted in the middle, and what is said of outages."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import tests.support.made_up_study as made_up
from dllm_decode.errors import ConfigError, DataError
from dllm_search.trials import study as studies
from dllm_search.trials.alone import held_alone
from dllm_search.trials.storage import open_storage
from tests.support.postgres import Server, UnavailableError

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


def test_the_driver_killed_and_the_database_restarted_and_still_the_same_study(
    server: Server, database: str
) -> None:
    expected = made_up.story(made_up.drive(None))
    open_storage(database, create=True)  # makes the tables, so that looking on does not race with the driver
    first = made_up.forked(database, 0.3)
    made_up.until(lambda: _scored(database) >= 3)
    made_up.kill(first)

    second = made_up.forked(database, 0.3)
    before = _scored(database)
    made_up.until(lambda: _scored(database) > before)
    server.stop()
    time.sleep(0.7)
    server.start()
    second.join(timeout=120)
    assert second.exitcode == 0

    study = studies.open_study(database, "made-up")
    assert made_up.story(study) == expected


def _scored(database: str) -> int:
    """Count the scored trials of a study that may be about to begin."""
    try:
        return len(studies.complete(studies.open_study(database, "made-up")))
    except ConfigError:
        return 0


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


def test_a_study_is_searched_by_one_at_a_time(server: Server, database: str) -> None:
    with held_alone(database, "one"), held_alone(database, "other"):
        with (
            pytest.raises(DataError, match=r"study 'one' in postgresql://.* is in use by another search; wait"),
            held_alone(database, "one"),
        ):
            pass
        server.stop()  # what holds a lock must not fall over when the server does
        server.start()
    with held_alone(database, "one"):
        pass

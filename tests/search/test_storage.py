"""Where a study is kept: torn journals are mended, and what goes wrong is one clear line without passwords."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import optuna
import pytest

import tests.support.made_up_study as made_up
from dllm_decode.errors import ConfigError, DataError, DecodeError
from dllm_search.trials.address import shown_address, without_secrets
from dllm_search.trials.alone import held_alone
from dllm_search.trials.storage import Steady, open_storage
from dllm_search.trials.study import complete, open_study
from tests.support.made_up_study import drive, story


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_a_torn_last_line_is_set_aside_and_named_and_the_study_goes_on(cut: int, tmp_path: Path) -> None:
    journal, said = tmp_path / "study.journal", []
    whole = story(drive(journal))
    text = journal.read_bytes()
    journal.write_bytes(text[:-cut])
    assert story(drive(journal, say=said.append)) == whole
    kept = tmp_path / "study.journal.torn"
    assert kept.read_bytes() == text[:-cut][text[:-cut].rfind(b"\n") + 1 :]
    assert [line for line in said if str(kept) in line and "torn" in line]
    journal.write_bytes(journal.read_bytes()[:-7])
    assert story(drive(journal)) == whole
    assert (tmp_path / "study.journal.torn2").exists()


def test_a_study_torn_at_any_byte_of_its_beginning_goes_on_to_the_same_end(tmp_path: Path) -> None:
    journal, cut = tmp_path / "study.journal", tmp_path / "cut.journal"
    whole = story(drive(journal, trials=4))
    text = journal.read_bytes()
    for length in range(0, len(text), len(text) // 11):
        cut.write_bytes(text[:length])
        assert story(drive(cut, trials=4)) == whole, length


def test_a_line_that_somebody_is_about_to_finish_is_not_torn(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    drive(journal, trials=3)
    text = journal.read_bytes()
    lock = optuna.storages.journal.JournalFileSymlinkLock(str(journal))
    lock.acquire()
    journal.write_bytes(text[:-40])

    def finish() -> None:
        journal.write_bytes(text)
        lock.release()

    threading.Timer(0.3, finish).start()
    open_study(journal, "made-up")
    assert journal.read_bytes() == text and not list(tmp_path.glob("*.torn*"))


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    for text in ("not a journal\nat all", "one line", '{"a": 1}'):
        notes.write_text(text)
        with pytest.raises(DataError, match="is not a study file"):
            open_study(notes, "s", {})
        assert notes.read_text() == text and not list(tmp_path.glob("*.torn*"))


def test_a_journal_that_cannot_be_written_any_more_is_one_line_that_says_so(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    study = drive(journal, trials=3)
    os.rename(tmp_path, moved := tmp_path.with_name(f"{tmp_path.name}-gone"))
    with pytest.raises(DataError, match=r"study.journal: No such file or directory; what it holds is safe"):
        study.set_user_attr("chosen", "x")
    os.rename(moved, tmp_path)


def test_a_study_in_sqlite_is_the_same_and_its_errors_are_one_line(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'study.db'}"
    study = drive(place)
    assert story(study) == story(drive(None))
    assert story(open_study(place, "made-up")) == story(study)
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at as one, and then some" * 20)
    with pytest.raises(DataError, match="file is not a database") as said:
        open_study(f"sqlite:///{tmp_path / 'text.db'}", "made-up")
    assert "\n" not in str(said.value)


class Flaky:
    """A storage whose answer to a call is lost once: the call has gone through, and raises."""

    def __init__(self, storage: optuna.storages.BaseStorage, method: str) -> None:
        self.storage, self.method, self.calls = storage, method, 0

    def __getattr__(self, name: str) -> object:
        found = getattr(self.storage, name)

        def call(*args: object, **options: object) -> object:
            answer = found(*args, **options)
            if name == self.method:
                self.calls += 1
                if self.calls % 3 == 1:
                    raise ConnectionResetError("connection reset by peer")
            return answer

        return call if callable(found) else found


@pytest.mark.parametrize("method", ["create_new_trial", "set_study_user_attr", "get_all_trials"])
def test_a_call_whose_answer_was_lost_counts_once(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    flaky = Flaky(optuna.storages.InMemoryStorage(), method)
    steady = Steady(flaky, "a server", 60.0, said.append)  # type: ignore[arg-type]
    monkeypatch.setattr("dllm_search.trials.study.open_storage", lambda *a, **o: steady)
    study = drive(None)
    monkeypatch.undo()
    whole = drive(None)
    assert [t.params for t in complete(study)] == [t.params for t in complete(whole)]
    assert any("a server does not answer" in line for line in said)
    assert any("a server answers again" in line for line in said)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("postgres://me:secret@host:1/x", "postgres://me:***@host:1/x"),
        ("postgresql://me@host/x", "postgresql://me@host/x"),
        ("postgresql://host/x?password=secret", "postgresql://host/x?password=***"),
        ("postgresql://me:a@host/x?sslpassword=secret&user=me", "postgresql://me:***@host/x?sslpassword=***&user=***"),
        ("grpc://me:secret@host:13000", "grpc://me:***@host:13000"),
        ("mysql+pymysql://me:sec%40ret@host/x", "mysql+pymysql://me:***@host/x"),
        ("postgresql://me:sec@ret@host/x", "postgresql://***"),
        ("postgresql://me:a@sec/ret@host/x", "postgresql://***"),
        ("postgresql://me:secret@host:port/x", "postgresql://***"),
        ("sqlite:////home/me@work/x.db", "sqlite:////home/me%40work/x.db"),
        ("a/study.journal", "a/study.journal"),
    ],
)
def test_a_password_is_never_shown(place: str, said: str) -> None:
    assert shown_address(place) == said


@pytest.mark.parametrize(
    "place",
    [
        "postgresql://me:sec@ret@127.0.0.1:1/x",
        "postgresql://me:secret@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=secret&user=me",
        "postgresql://me:secret@host:port/x",
        "grpc://me:secret@host:13000",
        "oracl://me:secret@host/x?token=secret",
        "postgresql://me:a@127.0.0.1:1/x?nonsense=secret",
    ],
)
def test_no_error_of_a_storage_holds_a_piece_of_its_password(place: str) -> None:
    with pytest.raises(DecodeError) as said:
        open_storage(place, create=True)
    assert "secret" not in str(said.value) and "ret@" not in str(said.value)
    assert str(said.value).startswith(f"storage {place.partition('://')[0]}://")


def test_what_a_driver_says_is_shown_without_the_password_however_it_is_written() -> None:
    place = "postgresql://me:p%40ss%2Fw@host/x?sslpassword=ke+y"
    said = without_secrets("cannot use 'p@ss/w' (p%40ss%2Fw), key 'ke y' or ke+y, of host", place)
    assert said == "cannot use '***' (***), key '***' or ***, of host"


def test_an_unescaped_at_sign_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(ConfigError, match=r"more than one @; write %40"):
        open_storage("postgresql://me:p@ss@host/x", create=True)


def test_a_sqlite_file_in_a_missing_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"there is no folder {tmp_path / 'none'}; make it first"):
        open_storage(f"sqlite:///{tmp_path / 'none' / 'study.db'}", create=True)


def test_an_address_that_cannot_be_meant_says_so() -> None:
    with pytest.raises(ConfigError, match="storage oracl://me@host/x: "):
        open_storage("oracl://me@host/x", create=True)


def test_the_keywords_of_tune_are_the_fields_of_the_settings() -> None:
    from typing import get_type_hints

    from dllm_search.judge.costs import COSTS
    from dllm_search.judge.goals import GOALS
    from dllm_search.settings import CHOICES, Options, Settings

    fields = {name: field.annotation for name, field in Settings.model_fields.items()}
    assert get_type_hints(Options) == fields
    assert all(field.description for field in Settings.model_fields.values())
    assert (CHOICES["objective"], CHOICES["cost"]) == (tuple(GOALS), tuple(COSTS))
    for name, table in (("objective", GOALS), ("cost", COSTS)):
        told = Settings.model_fields[name].description or ""
        assert all(f"{key}: {one.said}." in told for key, one in table.items())
    assert all(goal.values and goal.samplers for goal in GOALS.values())
    assert made_up.search(made_up.Luck()).settings.generation == 4


def test_a_journal_is_searched_by_one_at_a_time(tmp_path: Path) -> None:
    journal = tmp_path / "new" / "study.journal"
    with held_alone(journal):
        story(drive(journal, trials=2))  # whoever holds it may read and write
        with pytest.raises(DataError, match=r"study.journal is in use by another search; wait"), held_alone(journal):
            pass
    with held_alone(journal):
        pass
    with held_alone(None), held_alone(None), held_alone("sqlite://"), held_alone("sqlite://"):
        pass


def test_a_study_of_a_database_is_searched_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    url = f"sqlite:///{tmp_path}/studies.db"
    with held_alone(url, "one"), held_alone(url, "other"):
        story(drive(url, trials=2))
        with pytest.raises(DataError, match=r"study 'one' in sqlite:///.* is in use by another search"):  # noqa: SIM117
            with held_alone(f"sqlite:///{tmp_path}/./studies.db", "one"):
                pass
    with held_alone(url, "one"):
        pass


@pytest.mark.parametrize("timeout", [math.nan, math.inf, 0, -1, True])
def test_a_timeout_that_is_no_span_of_time_is_refused(timeout: float) -> None:
    from dllm_search.settings import Settings

    with pytest.raises(ConfigError, match="timeout: "):
        Settings(timeout=timeout)

"""Holds a study for one search: two at once would both count the trials that are missing, and try too many.

Knows locks that end with the process that took them: of files, and of database servers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.errors import DataError
from dllm_decode.evaluate.outcomes import cache_folder
from dllm_decode.files import user_path
from dllm_search.trials.address import shown_address
from dllm_search.trials.storage import CONNECTING, server_address

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ASK = {
    "postgresql": "SELECT pg_try_advisory_lock(:number)",
    "mysql": "SELECT GET_LOCK(:name, 0)",
    "mariadb": "SELECT GET_LOCK(:name, 0)",
}
"""What asks a server for a lock that it gives back when the connection ends."""


@contextmanager
def held_alone(place: str | Path | None, study: str | None = None) -> Iterator[None]:
    """Hold a study for one search.

    A journal is held whole. Of a database the study alone is: on a server by a lock of the server's, of SQLite by a lock
    in the cache folder, so for the searches of this user on this machine. Where there are no locks, and once a server has
    been started anew, nothing is held.

    Args:
        place: A journal file, a database's URL, or None for memory only.
        study: The study's name.

    Raises:
        ConfigError: The address cannot be meant.
        DataError: Another search holds it.
    """
    with ExitStack() as stack:
        if place is not None and "://" not in str(place):
            path = user_path(place)
            if not _hold_file(stack, path):
                raise _in_use(f"study file {path}", "--storage or --out")
        elif place is not None and not _hold_database(stack, str(place), f"dllm-search {study}"):
            raise _in_use(f"study {study!r} in {shown_address(place)}", "--study")
        yield


def _in_use(what: str, way_out: str) -> DataError:
    return DataError(f"{what} is in use by another search; wait for its end, or give another {way_out}")


def _hold_file(stack: ExitStack, path: Path) -> bool:
    """Lock a file until the stack is closed, or the process ends; False if another one has it."""
    if fcntl is None:
        return True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Optuna's own lock of a journal is a link beside the file; this one is on the file.
        file = stack.enter_context(path.open("ab"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # Whether the file can be used is said where it is opened; some file systems have no locks.
    return True


def _hold_database(stack: ExitStack, place: str, name: str) -> bool:
    """Lock a study of a database until the stack is closed, or the process ends; False if another one has it."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    url = server_address(place)
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database.startswith(":"):
            return True
        # A lock on SQLite's own file would end SQLite's locks when it is given up.
        return _hold_file(stack, cache_folder() / "locks" / _digest(f"{_file(url)} {name}"))
    if backend not in ASK:
        return True
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with suppress(SQLAlchemyError, ImportError):  # what is wrong with a server is said where the study is opened
        # No transaction: one that stays open for hours keeps the server from tidying up.
        options: dict[str, Any] = {"connect_args": CONNECTING} if backend == "postgresql" else {}
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", **options)
        connection = engine.connect()
        stack.callback(_close, connection)
        return bool(connection.execute(text(ASK[backend]), _asked(backend, number, name)).scalar())
    return True


def _close(connection: Connection) -> None:
    with suppress(Exception):  # a server that went away has given up its locks
        connection.close()


def _asked(backend: str, number: int, name: str) -> dict[str, int | str]:
    return {"number": number} if backend == "postgresql" else {"name": _digest(name)}


def _file(url: URL) -> Path:
    return Path((url.database or "").removeprefix("file:")).resolve()


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]

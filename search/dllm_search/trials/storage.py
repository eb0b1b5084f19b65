"""Where a study is kept: a journal file or a database, and what is said when it does not answer.

Knows drivers, addresses and outages; leaves what is kept there to `study`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import optuna
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.files import user_path
from dllm_search.trials.address import check_address, shown_address, without_secrets
from dllm_search.trials.journal import open_journal

if TYPE_CHECKING:
    from sqlalchemy import URL

PATIENCE = 300.0
"""Seconds for which a storage that has stopped answering is tried again."""
SLOWEST = 10.0
"""Seconds between two tries, at most."""
FIRST_ANSWER = 10
"""Seconds that a server may take to answer for the first time."""

CONNECTING = {"connect_timeout": FIRST_ANSWER, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 4}
"""For PostgreSQL: a host that vanished without closing its connections is noticed within a minute."""

POSTGRES = ("postgres", "postgresql")

Say = Callable[[str], None]


def open_storage(
    place: str | Path | None, *, create: bool, patience: float = PATIENCE, say: Say = lambda line: None
) -> optuna.storages.BaseStorage:
    """Open a storage; what goes wrong with it later is one clear line, and outages up to `patience` are waited out.

    Args:
        place: A journal file, a database URL such as `postgresql://user@host/name`, or None for memory only.
        create: Whether a journal file may be made.
        patience: Seconds for which a storage that has stopped answering is tried again.
        say: Told when a storage stops answering and when it answers again, and of what was mended.

    Raises:
        ConfigError: The address cannot be meant, or its driver is not installed.
        DataError: The file or the server cannot be reached.
    """
    if place is None:
        return optuna.storages.InMemoryStorage()
    opened = _database(str(place)) if "://" in str(place) else open_journal(user_path(place), create, say)
    if str(place).startswith("sqlite"):
        # A file has no outages; that it is locked by another process passes soon or never.
        patience = min(patience, SLOWEST)
    # Optuna takes a storage by what it does, not by its class.
    return cast(optuna.storages.BaseStorage, Steady(opened, place, patience, say))


class Steady:
    """A storage whose calls wait out an outage, and whose errors are one clear line.

    A call may have gone through although its answer was lost. The search reads, sets attributes and adds finished
    trials; all of them may be done again, since a trial that was added twice counts once (`record.in_order`).
    """

    def __init__(
        self, storage: optuna.storages.BaseStorage, place: str | Path, patience: float, say: Say
    ) -> None:
        """Wrap a storage; `place` is its address, `patience` is in seconds."""
        self._wrapped, self._place, self._patience, self._say = storage, place, patience, say
        self._name = shown_address(place)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the storage; methods are called steadily."""
        found = getattr(self._wrapped, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        outage = False

        def notice(state: RetryCallState) -> None:
            nonlocal outage
            error = state.outcome.exception() if state.outcome else None
            if not outage and error is not None:
                self._say(f"storage {self._name} does not answer ({self._said(error, 100)}); trying again")
            outage = True

        retrying = Retrying(
            retry=retry_if_exception(is_outage),
            stop=stop_after_delay(self._patience),
            wait=wait_random_exponential(0.25, max=SLOWEST),
            before_sleep=notice,
            reraise=True,
        )
        try:
            answer = retrying(call, *args, **options)
        except Exception as error:
            if is_outage(error):
                said = f" has not answered for {self._patience:g} s ({self._said(root(error))})"
            elif isinstance(error, OSError):
                said = f": {error.strerror or self._said(error)}"
            elif _is_of_database(error):
                said = f": {self._said(root(error))}"
            else:
                raise
            raise DataError(f"storage {self._name}{said}{SAFE}") from None
        if outage:
            self._say(f"storage {self._name} answers again")
        return answer

    def _said(self, error: BaseException, limit: int = 240) -> str:
        return without_secrets(one_line(error, 10_000), self._place)[:limit]


SAFE = "; what it holds is safe: start the same command again once that is mended"


def _database(url: str) -> optuna.storages.BaseStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    check_address(url)
    name = shown_address(url)
    address, driver = url, url.partition("://")[0]
    options: dict[str, object] = {"pool_pre_ping": True}
    if driver.partition("+")[0] in POSTGRES:
        address = _postgres(url)
        options["connect_args"] = CONNECTING
    try:
        kept = optuna.storages.RDBStorage(address, engine_kwargs=options)
        return optuna.storages.get_storage(kept)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"storage {name}: {without_secrets(one_line(error), url)}") from None
    except ImportError as error:
        raise ConfigError(f"storage {name}: the driver {error.name or error!s} is not installed") from None
    except Exception as error:
        said = without_secrets(one_line(root(error), 10_000), url)[:240]
        if is_outage(error):
            raise DataError(
                f"storage {name} cannot be reached: {said}; is the server running, "
                "and are name, user and password right?"
            ) from None
        raise DataError(f"storage {name}: {said}") from None


def server_address(url: str) -> URL:
    """Return the address of a database as its driver takes it.

    Raises:
        ConfigError: It cannot be meant.
        DataError: It names a SQLite file in a folder that is not there.
    """
    from sqlalchemy import make_url

    check_address(url)
    return make_url(_postgres(url) if url.partition("://")[0] in POSTGRES else url)


def _postgres(url: str) -> str:
    """Return the URL with the driver that is installed."""
    scheme, _, rest = url.partition("://")
    if "+" in scheme:
        return url
    for driver in ("psycopg", "psycopg2"):
        if importlib.util.find_spec(driver):
            return f"postgresql+{driver}://{rest}"
    raise ConfigError(
        f"storage {shown_address(url)}: PostgreSQL's driver is missing; pip install 'dllm-decode[postgres]'"
    )


def is_outage(error: BaseException) -> bool:
    """Return whether an error is one that passes when a server or a network comes back."""
    from sqlalchemy import exc

    for link in _chain(error):
        if isinstance(link, ConnectionError | TimeoutError | exc.OperationalError | exc.InterfaceError):
            return True
        if isinstance(link, exc.TimeoutError) or getattr(link, "connection_invalidated", False):
            return True
    return False


def root(error: BaseException) -> BaseException:
    """Return what a database driver said first, under what was wrapped around it."""
    while (inner := error.__cause__ or getattr(error, "orig", None)) is not None:
        error = inner
    return error


def one_line(error: BaseException, limit: int = 240) -> str:
    """Return what an error says in one short line."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def _is_of_database(error: BaseException) -> bool:
    from sqlalchemy.exc import SQLAlchemyError

    # That a study is there already has such an error behind it, and is none.
    return isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError)


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and everything that it was raised from or while handling."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found

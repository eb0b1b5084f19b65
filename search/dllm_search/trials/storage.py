"""Where a study is kept: a journal file, a database, or a gRPC proxy in front of one.

Knows drivers, addresses and what is said when one does not answer; leaves what is kept there to `study`.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import optuna
from optuna.storages.journal import JournalFileBackend

from dllm_decode.errors import ConfigError, DataError
from dllm_search.trials.patience import PATIENCE, Patient, is_outage, one_line

GRPC_PORT = 13000
"""The port of the gRPC proxy where an address names none."""

FIRST_ANSWER = 10
"""Seconds that a server may take to answer for the first time."""

POSTGRES = ("postgres", "postgresql")


def open_storage(
    place: str | Path | None,
    *,
    create: bool,
    patience: float = PATIENCE,
    say: Callable[[str], None] = lambda line: None,
) -> optuna.storages.BaseStorage:
    """Open a storage; one that others can reach outlasts outages of up to `patience` seconds.

    Args:
        place: A journal file, a database URL such as `postgresql://user@host/name`, `grpc://host:port`, or None for
            memory only.
        create: Whether a journal file may be made.
        patience: Seconds for which a storage that has stopped answering is tried again.
        say: Told when a storage stops answering and when it answers again.

    Raises:
        ConfigError: The address cannot be meant, or its driver is not installed.
        DataError: The file or the server cannot be reached.
    """
    if place is None:
        return optuna.storages.InMemoryStorage()
    text = str(place)
    if text.startswith("grpc://"):
        opened: optuna.storages.BaseStorage = _proxy(text)
    elif "://" in text:
        opened = _database(text)
    else:
        return _journal(Path(place), create)
    return cast(optuna.storages.BaseStorage, Patient(opened, shown(place), patience, say))


def shown(place: str | Path | None) -> str:
    """Return a storage's address as it may be printed, its password left out."""
    text = str(place)
    if "://" not in text or "@" not in text:
        return text
    scheme, _, rest = text.partition("://")
    access, _, server = rest.rpartition("@")
    user, colon, _ = access.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{server}"


def shared(place: str | Path | None) -> bool:
    """Return whether a storage is a server that other machines can be given the address of."""
    return "://" in str(place) and not str(place).startswith("sqlite")


def serve(place: str | Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve a storage over gRPC until interrupted, so that hundreds of workers share few database connections.

    Args:
        place: The database's URL, or a journal file.
        host: The interface to listen on.
        port: The port to listen on.
        say: Told when the server is ready, and of outages of the database.

    Raises:
        ConfigError: gRPC or the database's driver is not installed.
        DataError: The storage or the port cannot be opened.
    """
    _need_grpc()
    from optuna.storages._grpc.server import make_server

    kept = open_storage(place, create=True, say=say)
    try:
        server = make_server(kept, host, port)
        server.start()
    except (RuntimeError, OSError) as error:
        raise DataError(f"{host}:{port} cannot be listened on: {one_line(error)}") from None
    say(f"{shown(place)} is served at grpc://{host}:{port}; whoever reaches that port can read and write it")
    try:
        server.wait_for_termination()
    finally:
        server.stop(grace=1).wait()


def _journal(path: Path, create: bool) -> optuna.storages.BaseStorage:
    if not create and not path.exists():
        raise DataError(f"there is no study file {path}; `search run` makes one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    except OSError as error:
        raise DataError(f"study file {path} cannot be opened: {error.strerror}") from None
    except Exception as error:
        raise DataError(f"{path} is not a study file: {type(error).__name__}: {error}") from None


def _database(url: str) -> optuna.storages.BaseStorage:
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    address, driver = url, url.partition("://")[0]
    options: dict[str, object] = {"pool_pre_ping": True}
    if driver.partition("+")[0] in POSTGRES:
        address = _postgres(url)
        # A host that vanished without closing its connections is noticed within a minute.
        alive = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 4}
        options["connect_args"] = {"connect_timeout": FIRST_ANSWER, **alive}
    try:
        return _tables(address, options)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"storage {shown(url)}: {one_line(error)}") from None
    except ImportError as error:
        raise ConfigError(
            f"storage {shown(url)}: the driver {error.name or error!s} is not installed"
        ) from None
    except Exception as error:
        said = one_line(_root(error))
        if is_outage(error):
            raise DataError(
                f"storage {shown(url)} cannot be reached: {said}; is the server running, "
                "and are name, user and password right?"
            ) from None
        raise DataError(f"storage {shown(url)}: {said}") from None


def _tables(address: str, options: dict[str, object]) -> optuna.storages.BaseStorage:
    """Connect, making the tables where there are none; workers that begin together may do so at the same moment."""
    attempts = 6
    for attempt in range(attempts):
        try:
            kept = optuna.storages.RDBStorage(address, engine_kwargs=dict(options))
            return optuna.storages._CachedStorage(kept)
        except Exception as error:
            raced = any(word in str(error) for word in ("already exists", "UniqueViolation", "pg_type_typname"))
            if not raced or attempt == attempts - 1:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _postgres(url: str) -> str:
    """Return the URL with the driver that is installed."""
    scheme, _, rest = url.partition("://")
    if "+" in scheme:
        return url
    for driver in ("psycopg", "psycopg2"):
        if importlib.util.find_spec(driver):
            return f"postgresql+{driver}://{rest}"
    raise ConfigError(
        f"storage {shown(url)}: PostgreSQL's driver is missing; pip install 'dllm-decode[postgres]'"
    )


def _proxy(url: str) -> optuna.storages.BaseStorage:
    _need_grpc()
    host, _, port = url.removeprefix("grpc://").rstrip("/").partition(":")
    if not host or not (port or "0").isdigit():
        raise ConfigError(f"storage {url}: expected grpc://HOST:PORT, e.g. grpc://head-node:{GRPC_PORT}")
    proxy = optuna.storages.GrpcStorageProxy(host=host, port=int(port or GRPC_PORT))
    try:
        proxy.wait_server_ready(timeout=FIRST_ANSWER)
    except ConnectionError:
        raise DataError(
            f"storage {url} has not answered within {FIRST_ANSWER} s; "
            "`dllm-decode search proxy --storage DATABASE` starts a server there"
        ) from None
    return proxy


def _need_grpc() -> None:
    if not (importlib.util.find_spec("grpc") and importlib.util.find_spec("google.protobuf")):
        raise ConfigError("the gRPC proxy needs grpcio and protobuf; pip install 'dllm-decode[grpc]'")


def _root(error: BaseException) -> BaseException:
    """Return what a database driver said first, under what was wrapped around it."""
    while (inner := error.__cause__ or getattr(error, "orig", None)) is not None:
        error = inner
    return error

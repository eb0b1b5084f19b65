"""Imports what only benchmarks need, when a verdict first asks for it; and limits how long a library may think."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Any

from dllm_decode.errors import ConfigError


def need(module: str, purpose: str) -> Any:
    """Returns a module of the extra ``benchmarks``.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"{purpose} needs {package}, which is not installed: pip install 'dllm-decode[benchmarks]'"
        ) from error


def can_limit() -> bool:
    """Says whether an alarm can end what is run here: only in the main thread, and not on Windows."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")


class _TimeUpError(BaseException):
    """No Exception, so that a library's own `except Exception` does not swallow it and go on without a limit."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after so many seconds of the processor's; without a limit where `can_limit` is false.

    The processor's and not the clock's: a verdict must not turn on what else the machine does.
    """
    if not can_limit():
        yield
        return

    def ring(_: int, __: FrameType | None) -> None:
        raise _TimeUpError

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except _TimeUpError:
        raise TimeoutError(f"took longer than {seconds:g} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

"""Where output goes: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

from dllm_decode.errors import ConfigError


def messages() -> Console:
    """Return the console for progress and notes: stderr."""
    return Console(stderr=True, highlight=False)


def results() -> Console:
    """Return the console for results that are not JSON: stdout."""
    return Console(highlight=False)


def note(text: str) -> None:
    """Say something beside the result, on stderr; text from the user is shown as it is."""
    messages().print(escape(text), style="dim", soft_wrap=True)


def print_json(data: Any) -> None:
    """Print one JSON object on stdout, where `quieten` has left it to the object alone."""
    stream = _kept[0] if _kept else sys.stdout
    ascii_only = not (stream.encoding or "utf-8").lower().startswith("utf")
    stream.write(json.dumps(data, ensure_ascii=ascii_only, allow_nan=False) + "\n")
    stream.flush()


_kept: list[TextIO] = []
"""The stdout of a command that prints a JSON object, while everything else is sent to stderr."""


def quieten() -> None:
    """Send what is printed from now on to stderr, until the command ends; `print_json` alone still reaches stdout."""
    if not _kept:
        _kept.append(sys.stdout)
        sys.stdout = sys.stderr


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Make stdout and stderr fit to be written to, and give stdout back in the end.

    A character that their encoding lacks is written as an escape.

    Raises:
        ConfigError: There is no stdout.
    """
    if sys.stdout is None:
        raise ConfigError("stdout is closed; send it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    finally:
        if _kept:
            sys.stdout = _kept.pop()


def read_stdin() -> str:
    """Return what stdin holds, as UTF-8 whatever the locale.

    Raises:
        ConfigError: It is closed, or holds other bytes.
    """
    if sys.stdin is None:
        raise ConfigError("stdin is closed; pipe the prompts into it, or give them as arguments")
    held: str | bytes = getattr(sys.stdin, "buffer", sys.stdin).read()
    try:
        return held if isinstance(held, str) else held.decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"stdin, line {line}: not UTF-8 text") from None

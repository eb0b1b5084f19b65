"""Where output goes: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape


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
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def quiet_stdout(active: bool) -> Iterator[None]:
    """While active, send what libraries print on stdout to stderr, so that stdout holds the JSON object alone."""
    if not active:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield

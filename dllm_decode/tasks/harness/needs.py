"""Asks for lm-evaluation-harness, which is not part of the package."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.util import find_spec

from dllm_decode.errors import ConfigError, unknown_name


def require_lm_eval() -> None:
    """Refuse to go on without lm-evaluation-harness.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec("lm_eval") is None:
        raise ConfigError(
            "lm-evaluation-harness is not installed; it comes with an extra: pip install 'dllm-decode[lm-eval]'"
        )


def unknown_task(name: str, own: Sequence[str], known: Sequence[str]) -> str:
    """Say that lm-evaluation-harness has no such task; it has too many to name them.

    Args:
        name: What was given.
        own: Tasks of the user's folder, of which the nearest is named first.
        known: All tasks.
    """
    near = own if difflib.get_close_matches(name, own) else known
    said, _, _ = unknown_name("task", name, near).partition(" Known: ")
    return f"{said} `lm-eval ls tasks` names them all; --include-path FOLDER adds your own"

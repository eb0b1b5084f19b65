"""Asks for lm-evaluation-harness, which is not part of the package."""

from __future__ import annotations

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


def unknown_task(name: str, known: Sequence[str]) -> str:
    """Say that lm-evaluation-harness has no such task; it has too many to name them."""
    said, _, _ = unknown_name("task", name, known).partition(" Known: ")
    return f"{said} `lm-eval ls tasks` names them; --include-path FOLDER adds your own"

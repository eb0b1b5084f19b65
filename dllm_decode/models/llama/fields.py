"""Checks of `config.json` fields that the families share. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dllm_decode.errors import ModelError


def require_positive(config: Mapping[str, Any], fields: Iterable[str], origin: str) -> None:
    """Refuse a config in which one of the fields is missing or no positive whole number.

    Args:
        config: The content of `config.json`.
        fields: Their names.
        origin: What the config is called in messages.

    Raises:
        ModelError: Names the field and what was given.
    """
    for field in fields:
        value = config.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            shown = "is missing" if field not in config else f"should be a positive number, got {value!r}"
            raise ModelError(f"{origin}: {field} {shown}.")


def require_settings(config: Mapping[str, Any], supported: Mapping[str, Any], origin: str) -> None:
    """Refuse a config whose switches ask for what the stock architecture does not compute.

    Args:
        config: The content of `config.json`; a missing switch is at its supported setting.
        supported: Each switch's one setting; where that is false, null says the same.
        origin: What the config is called in messages.

    Raises:
        ModelError: Names the switch, what was given and what is supported.
    """
    for field, setting in supported.items():
        value = config.get(field, setting)
        if value != setting and not (value is None and not setting):
            raise ModelError(f"{origin}: {field} {value!r} is not supported; only {setting!r} is.")

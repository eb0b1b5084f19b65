"""Checks of `config.json` fields that the families share. Imports no torch."""

from __future__ import annotations

import math
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


def read_rope_theta(config: Mapping[str, Any], origin: str, default: float = 10_000.0) -> float:
    """Return the base of the rotary positions, which stands at the top or, since transformers 5, in `rope_parameters`.

    Args:
        config: The content of `config.json`.
        origin: What the config is called in messages.
        default: Where it stands in neither place.

    Raises:
        ModelError: The two places contradict each other, or ask for positions that are not computed here.
    """
    nested = config.get("rope_parameters") or {}
    for place, asked in (("rope_parameters", nested), ("rope_scaling", config.get("rope_scaling") or {})):
        if not isinstance(asked, Mapping):
            raise ModelError(f"{origin}: {place} should be an object, got {asked!r}.")
        kind = asked.get("rope_type", asked.get("type", "default"))
        if kind != "default":
            raise ModelError(f"{origin}: {place} of type {kind!r} is not supported; only 'default' is.")
        more = set(asked) - {"rope_type", "type", "rope_theta"}
        if asked.get("partial_rotary_factor") == 1:
            more -= {"partial_rotary_factor"}
        if more:
            raise ModelError(f"{origin}: {place}: {', '.join(sorted(map(str, more)))} is not supported.")
    found = [each["rope_theta"] for each in (config, nested) if each.get("rope_theta") is not None]
    for theta in found:
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
            raise ModelError(f"{origin}: rope_theta should be a number above 0, got {theta!r}.")
    if len(set(found)) > 1:
        raise ModelError(
            f"{origin}: rope_theta is {found[0]!r} at the top and {found[1]!r} in rope_parameters; keep the right one."
        )
    return float(found[0]) if found else default

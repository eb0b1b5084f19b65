"""What may stand in a `config.json`: a field is required, honoured, known to be harmless, or refused by name.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dllm_decode.errors import ModelError

IDS = ("mask_token_id", "eos_token_id")
"""Read for every family, as is `eos_token_id` of `generation_config.json`."""
ANYWHERE = (
    *("architectures", "auto_map", "bos_token_id", "dtype", "id2label", "initializer_range", "label2id", "model_type"),
    *("pad_token_id", "return_dict", "torch_dtype", "transformers_version", "use_cache"),
)
"""Harmless in every format; so are fields that begin with an underscore, and those that are null or false."""

EVERY_LAYER = {"layer_types": "full_attention"}
"""Honoured in every format at one setting for each layer, as transformers 5 writes it; refused at any other."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a format's `config.json` may hold; everything else may change what the model computes, and is refused."""

    sizes: tuple[str, ...]
    """Required: whole numbers above 0."""
    optional_sizes: tuple[str, ...] = ()
    """Honoured; null says the same as leaving it out."""
    numbers: tuple[str, ...] = ()
    """Honoured numbers above 0."""
    flags: tuple[str, ...] = ()
    """Honoured: true or false."""
    others: tuple[str, ...] = ()
    """Honoured, each in its own way."""
    only: Mapping[str, Any] = field(default_factory=dict)
    """The one setting that is served; where that is false, null says the same."""
    harmless: tuple[str, ...] = ()
    """Change nothing that is computed here."""

    @property
    def honoured(self) -> tuple[str, ...]:
        """What is read where it is given."""
        return (*self.optional_sizes, *self.numbers, *self.flags, *self.others)

    def check(self, config: Mapping[str, Any], origin: str) -> None:
        """Refuse a config that would not be carried out; `origin` is what messages call it.

        Raises:
            ModelError: Names the field, what was given and what is expected.
        """
        if missing := next((name for name in self.sizes if config.get(name) is None), None):
            raise ModelError(f"{origin}: {missing} is missing.")
        _require(config, (*self.sizes, *self.optional_sizes), _is_size, "a whole number above 0", origin)
        _require(config, self.numbers, _is_number, "a number above 0", origin)
        _require(config, self.flags, lambda value: isinstance(value, bool), "true or false", origin)
        for name, setting in self.only.items():
            value = config.get(name, setting)
            if value != setting and not (value is None and not setting):
                raise ModelError(f"{origin}: {name} {value!r} is not supported; only {setting!r} is.")
        for name, setting in EVERY_LAYER.items():
            value = config.get(name)
            if value is not None and not (isinstance(value, list) and all(each == setting for each in value)):
                raise ModelError(f"{origin}: {name} should be {setting!r} for every layer, got {value!r}.")
        known = {*self.sizes, *self.honoured, *self.only, *self.harmless, *IDS, *ANYWHERE, *EVERY_LAYER}
        for name, value in config.items():
            if name not in known and value is not None and value is not False and not name.startswith("_"):
                raise ModelError(
                    f"{origin}: {name} is not known in this format and may change what the model computes; take it out "
                    "if it does not."
                )


def require_divisible(config: Mapping[str, Any], origin: str, width: str, heads: str, key_heads: str) -> None:
    """Refuse sizes that make no heads.

    Raises:
        ModelError: Names the three fields.
    """
    if config[width] % config[heads] or config[heads] % config[key_heads]:
        shown = [f"{name} {config[name]}" for name in (width, heads, key_heads)]
        raise ModelError(f"{origin}: {shown[0]}, {shown[1]} and {shown[2]} do not divide.")


def read_rope_theta(config: Mapping[str, Any], origin: str, default: float = 10_000.0) -> float:
    """Return the base of the rotary positions, which stands at the top or, since transformers 5, in `rope_parameters`.

    Args:
        config: The content of `config.json`.
        origin: What the config is called in messages.
        default: Where it stands in neither place.

    Raises:
        ModelError: The two places contradict each other, or ask for positions that are not computed here.
    """
    for place in ("rope_parameters", "rope_scaling"):
        asked = config.get(place) or {}
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
    return one_theta(config, origin) or default


def one_theta(config: Mapping[str, Any], origin: str) -> float | None:
    """Return the base of the rotary positions wherever it stands; None where it stands nowhere.

    Raises:
        ModelError: It is no number, or two that contradict each other.
    """
    places = (config, config.get("rope_parameters") or {})
    found = [each["rope_theta"] for each in places if each.get("rope_theta") is not None]
    for theta in found:
        _require({"rope_theta": theta}, ["rope_theta"], _is_number, "a number above 0", origin)
    if len(set(found)) > 1:
        raise ModelError(
            f"{origin}: rope_theta is {found[0]!r} at the top and {found[1]!r} in rope_parameters; keep the right one."
        )
    return float(found[0]) if found else None


def _require(
    config: Mapping[str, Any], names: Iterable[str], fits: Callable[[Any], bool], expected: str, origin: str
) -> None:
    for name in names:
        value = config.get(name)
        if value is not None and not fits(value):
            raise ModelError(f"{origin}: {name} should be {expected}, got {value!r}.")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf

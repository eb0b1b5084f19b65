"""What fills the slots of a space: every registered part of a kind, or the parts that are given.

Parts nest (a layering's own detail layering) one level deep. Knows no part by name; leaves drawing values and the step
budget to `space`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS
from dllm_decode.plugins import registry
from dllm_search.space.ranges import declared_ranges, plain_types
from dllm_search.space.slots import NONE, Option, Part, Slot


def registered(kind: str, gen_length: int, optional: bool, path: str | None = None) -> Slot:
    """Return the slot that every registered part of a kind may fill, or none if `optional`."""
    where = path or kind
    table = registry.load_registry()
    options = [Option(NONE)] if optional else []
    for name in table.names(kind):
        part = table.part(kind, name)
        # Inside another part only parts that hold no further ones, so that the space is finite.
        if path is None or not any(_held(info.annotation) for info in part.model_fields.values()):
            options.append(Option(name, (_part(part, where, gen_length, None, path is not None),)))
    return Slot(where, tuple(options))


def given(parts: Sequence[PartConfig], path: str, gen_length: int, nested: bool = False) -> Slot:
    """Return the slot that only the given parts fill; the fields they declare vary."""
    label = "+".join(part.name for part in parts) or NONE
    names = [part.name for part in parts]
    built = tuple(
        _part(type(part), path, gen_length, part, nested)
        if names.count(part.name) == 1
        # Two parts of one name would share their parameters' names.
        else Part(part.kind, part.name, part.model_dump(mode="json", exclude={"name"}))
        for part in parts
    )
    return Slot(path, (Option(label, built),))


def _part(cls: type[PartConfig], path: str, gen_length: int, config: PartConfig | None, nested: bool) -> Part:
    name = str(cls.model_fields["name"].default)
    prefix = f"{path}.{name}"
    ranges = declared_ranges(cls, prefix, gen_length)
    if cls.kind == "layering" and not nested and "steps" in ranges and ranges["steps"].nullable:
        # The strategy's own `steps` is the budget here; the field is for use inside another layering.
        del ranges["steps"]
    slots = {}
    for field_name, info in cls.model_fields.items():
        held = _held(info.annotation)
        if held is None:
            continue
        if config is None:
            optional = type(None) in list(plain_types(info.annotation))
            inside = registered(held, gen_length, optional, f"{prefix}.{field_name}")
            slots[field_name] = _accepted(cls, field_name, inside)
        else:
            inner = getattr(config, field_name)
            parts = [] if inner is None else [inner]
            slots[field_name] = given(parts, f"{prefix}.{field_name}", gen_length, nested=True)
    fixed = {} if config is None else config.model_dump(mode="json", exclude={"name", *ranges, *slots})
    return Part(cls.kind, name, fixed, ranges, slots)


def _accepted(cls: type[PartConfig], field_name: str, slot: Slot) -> Slot:
    """Return the slot without the options that the part refuses even with its defaults, so that no draw is lost."""
    kept = []
    for option in slot.options:
        with suppress(ValidationError):
            cls.model_validate({field_name: option.parts[0].name if option.parts else None})
            kept.append(option)
    return replace(slot, options=tuple(kept) or slot.options)


def _held(annotation: Any) -> str | None:
    """Return the kind of part that a field holds, or None."""
    for kind in plain_types(annotation):
        if isinstance(kind, type) and issubclass(kind, PartConfig) and kind in KINDS.values():
            return kind.kind
    return None

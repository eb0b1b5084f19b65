"""The tree of what may be composed: slots to fill, options to fill them with, parts with fields that vary.

Built from the registry or around given parts, cut down by paths. Parts nest (a layering's own detail layering) one
level deep. Knows no part by name; leaves drawing values and the step budget to `space`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS
from dllm_decode.plugins import registry
from dllm_search.space.ranges import Range, declared_ranges, plain_types

NONE = "none"
Pick = Callable[[Range], Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A part with the fields that are set, those that vary, and those that hold parts."""

    kind: str
    name: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    slots: Mapping[str, Slot] = field(default_factory=dict)

    def compose(self, pick: Pick) -> dict[str, Any]:
        """Return the part's fields with every range picked."""
        data = {"name": self.name, **self.fixed}
        for name, choice in self.ranges.items():
            is_set = not choice.nullable or pick(choice.switch)
            data[name] = pick(choice) if is_set else None
        for name, slot in self.slots.items():
            data[name] = next(iter(slot.compose(pick)), None)
        return data


@dataclass(frozen=True, slots=True)
class Option:
    """One way to fill a slot: a part; none or several where the slot allows it."""

    label: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a strategy that parts of one kind fill."""

    path: str
    """What the study calls the choice, e.g. `scheduler` or `layering.scaffold.detail`."""
    options: tuple[Option, ...]

    @property
    def choice(self) -> Range:
        """Which option is taken."""
        return Range(self.path, "choice", choices=tuple(option.label for option in self.options))

    def compose(self, pick: Pick) -> list[dict[str, Any]]:
        """Return the parts of the picked option."""
        label = pick(self.choice)
        option = next(option for option in self.options if option.label == label)
        return [part.compose(pick) for part in option.parts]

    def ranges(self) -> Iterator[Range]:
        """Yield every range in the slot, its own choice first."""
        yield self.choice
        for part in (part for option in self.options for part in option.parts):
            for choice in part.ranges.values():
                yield from (choice.switch, choice) if choice.nullable else (choice,)
            for slot in part.slots.values():
                yield from slot.ranges()

    def limited(self, path: str, limit: Any) -> Slot:
        """Return the slot with one path cut down to what `limit` leaves.

        Raises:
            ConfigError: The path or a name in the limit is unknown.
        """
        if path == self.path:
            return replace(self, options=self._only(limit))
        name, _, tail = path.removeprefix(f"{self.path}.").partition(".")
        known = {part.name for option in self.options for part in option.parts}
        if name not in known:
            raise ConfigError(f"space: {path}: {unknown_name('part', name, known)}")
        if not tail:
            raise ConfigError(f"space: {path}: give {self.path} a part's name, or a field as {path}.FIELD")
        return replace(
            self,
            options=tuple(
                replace(
                    option,
                    parts=tuple(
                        _limited(part, path, tail, limit) if part.name == name else part
                        for part in option.parts
                    ),
                )
                for option in self.options
            ),
        )

    def _only(self, names: Any) -> tuple[Option, ...]:
        wanted = [names] if isinstance(names, str) else list(names or [NONE])
        known = {option.label: option for option in self.options}
        for name in wanted:
            if name not in known:
                raise ConfigError(f"space: {unknown_name(self.path, str(name), known)}")
        return tuple(known[name] for name in wanted)


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


def _limited(part: Part, path: str, tail: str, limit: Any) -> Part:
    name, _, deeper = tail.partition(".")
    if name in part.slots:
        return replace(part, slots={**part.slots, name: part.slots[name].limited(path, limit)})
    fields = registry.load_registry().part(part.kind, part.name).model_fields
    if name not in fields or name == "name" or deeper:
        raise ConfigError(f"space: {path}: {unknown_name('field', tail, set(fields) - {'name'})}")
    declared = part.ranges.get(name, Range(path, "choice"))
    return replace(part, ranges={**part.ranges, name: declared.narrowed(limit)})

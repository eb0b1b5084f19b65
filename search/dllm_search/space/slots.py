"""Slots to fill, options to fill them with, parts with fields that vary: the tree of what may be composed.

Knows how a choice is picked and how a path cuts the tree down; leaves what is in it to `paths`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.plugins import registry
from dllm_search.space.ranges import WITHOUT, Range

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

    def fits(self, model_has: Collection[str]) -> bool:
        """Say whether a model has what the part needs of it."""
        return registry.load_registry().part(self.kind, self.name).model_needs <= set(model_has)

    def fitting(self, model_has: Collection[str]) -> Part:
        """Return the part whose own slots offer only what fits a model."""
        return replace(self, slots={name: slot.fitting(model_has) for name, slot in self.slots.items()})

    def example(self) -> dict[str, Any]:
        """Return fields that the part may have, those of its defaults that are within its ranges among them."""
        fields = registry.load_registry().part(self.kind, self.name).model_fields
        defaults = {choice.name: fields[name].get_default(call_default_factory=True) for name, choice in self.ranges.items()}
        return self.compose(lambda choice: choice.near(defaults.get(choice.name)))


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

    def choice(self, offered: Collection[str] | None = None) -> Range:
        """Return which option is taken, of those with the labels in `offered`; None is all of them.

        A choice of fewer is another parameter, since a study's parameter always has the same values.
        """
        labels = [option.label for option in self.options]
        kept = tuple(label for label in labels if offered is None or label in offered)
        left_out = ", ".join(label for label in labels if label not in kept)
        return Range(f"{self.path}{WITHOUT}{left_out}" if left_out else self.path, "choice", choices=kept)

    def compose(self, pick: Pick, offered: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return the parts of the picked option; see `choice`."""
        label = pick(self.choice(offered))
        option = next(option for option in self.options if option.label == label)
        return [part.compose(pick) for part in option.parts]

    def ranges(self) -> Iterator[Range]:
        """Yield every range in the slot, its own choice first."""
        yield self.choice()
        for part in (part for option in self.options for part in option.parts):
            for choice in part.ranges.values():
                yield from (choice.switch, choice) if choice.nullable else (choice,)
            for slot in part.slots.values():
                yield from slot.ranges()

    def fitting(self, model_has: Collection[str]) -> Slot:
        """Return the slot without the parts that need what a model does not have, unless nothing were left."""
        kept = tuple(
            replace(option, parts=tuple(part.fitting(model_has) for part in option.parts))
            for option in self.options
            if all(part.fits(model_has) for part in option.parts)
        )
        return replace(self, options=kept or self.options)

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
        wanted = [NONE] if names is None or names == [] else names if isinstance(names, list | tuple) else [names]
        known = {option.label: option for option in self.options}
        for name in wanted:
            if name not in known:
                kind = self.path.rpartition(".")[2]
                other = registry.load_registry().of_another_kind(kind, str(name))
                raise ConfigError(f"space: {unknown_name(self.path, str(name), known)}{other}")
        return tuple(known[name] for name in wanted)


def _limited(part: Part, path: str, tail: str, limit: Any) -> Part:
    name, _, deeper = tail.partition(".")
    if name in part.slots:
        return replace(part, slots={**part.slots, name: part.slots[name].limited(path, limit)})
    fields = registry.load_registry().part(part.kind, part.name).model_fields
    if name not in fields or name == "name" or deeper:
        raise ConfigError(f"space: {path}: {unknown_name('field', tail, set(fields) - {'name'})}")
    declared = part.ranges.get(name, Range(path, "choice"))
    return replace(part, ranges={**part.ranges, name: declared.narrowed(limit)})

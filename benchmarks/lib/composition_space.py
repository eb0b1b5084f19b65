"""The compositions that a search may try: one option of every axis of composition.yaml.

Knows parts by name, as data; leaves scoring to `composition`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.lib.curves import FILE, Curve, load_curves
from dllm_decode.errors import ConfigError
from dllm_decode.parts.kinds import KINDS
from dllm_decode.strategy.strategy import Strategy

SPACE = Path(__file__).parents[1] / "quality" / "composition.yaml"
PARTS = tuple(kind for kind, base in KINDS.items() if not base.only_time)
"""Kinds that change what is decided, and when."""
NOVEL = 2
"""Kinds of part in which a composition must differ from every published recipe to be called new."""


@dataclass(frozen=True, slots=True)
class Composition:
    """One option of every axis of the space."""

    options: tuple[tuple[str, str], ...]
    """(axis, option) in the order of the axes."""

    @property
    def name(self) -> str:
        """The options, in words."""
        return " + ".join(option for _, option in self.options)

    def changed(self, axis: str, option: str) -> Composition:
        """Return the composition with one axis set to another option."""
        return Composition(tuple((known, option if known == axis else old) for known, old in self.options))


class Space:
    """The axes and options of composition.yaml, and the curves they make."""

    def __init__(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the file's content; `rule` is the axis whose options carry the speeds."""
        self.axes = {axis: list(options) for axis, options in data.items()}
        self._data = data

    @classmethod
    def read(cls, path: Path = SPACE) -> Space:
        """Read a space.

        Raises:
            ConfigError: The file is no mapping of axes to options.
        """
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
            dict(data["rule"])
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} should hold a mapping of axes, `rule` among them: {error}") from None
        return cls({axis: {str(option): value for option, value in options.items()} for axis, options in data.items()})

    def first(self, **chosen: str) -> Composition:
        """Return the first option of every axis but the chosen ones."""
        return Composition(tuple((axis, chosen.get(axis, options[0])) for axis, options in self.axes.items()))

    def start(self) -> list[Composition]:
        """Return every rule in every kind of block."""
        return [self.first(rule=rule, block=block) for rule in self.axes["rule"] for block in self.axes["block"]]

    def neighbours(self, composition: Composition, fixed: Collection[str] = ()) -> list[Composition]:
        """Return what one changed axis, none of the fixed ones, makes of a composition, itself first."""
        changed = [
            composition.changed(axis, option)
            for axis, old in composition.options
            if axis not in fixed
            for option in self.axes[axis]
            if option != old
        ]
        return [composition, *changed]

    def curve(self, composition: Composition) -> Curve:
        """Return the composition at its rule's speeds.

        Raises:
            ConfigError: The parts do not go together, or one is not installed.
        """
        chosen = dict(composition.options)
        rule = self._data["rule"][chosen.pop("rule")]
        parts: dict[str, Any] = {"layering": "single"}
        for axis, option in chosen.items():
            value = self._data[axis][option]
            several = isinstance(value, Mapping) and set(value) == {"set"}
            parts |= value["set"] if several else {axis: value}
        source = Strategy.parse({**parts, **rule["set"]}, composition.name).to_dict()
        vary = {path: tuple(values) for path, values in rule["vary"].items()}
        return Curve(composition.name, source, vary, {}, group="found")


def is_new(space: Space, composition: Composition, declared: Path = FILE) -> bool:
    """Return whether a composition differs from every published recipe in at least `NOVEL` kinds of part."""
    own = part_names(Strategy.load(space.curve(composition).source))
    published = [curve for curve in load_curves(declared) if curve.group == "published"]
    others = [part_names(Strategy.load(curve.source)) for curve in published]
    return all(sum(own[kind] != other[kind] for kind in PARTS) >= NOVEL for other in others)


def part_names(strategy: Strategy) -> dict[str, Any]:
    """Return the names of a strategy's parts by kind; of several, in order. Whole and fixed blocks are one."""
    names: dict[str, Any] = {}
    for kind in PARTS:
        part = getattr(strategy, kind, ())
        names[kind] = tuple(one.name for one in part) if isinstance(part, tuple) else getattr(part, "name", None)
    if names["block"] == "whole":
        names["block"] = "fixed"
    return names

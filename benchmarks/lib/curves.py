"""Curves: a recipe at several speeds, as declared in curves.yaml, made into strategies for a task's answer length.

Knows recipes and fields as data; leaves running them to `pieces`. Imports no torch by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from dllm_decode.errors import ConfigError, DecodeError
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy

FILE = Path(__file__).parents[1] / "quality" / "curves.yaml"
SHARES = ("1", "1/2", "1/4", "1/8")
GROUPS = ("published", "control", "found")


@dataclass(frozen=True, slots=True)
class Point:
    """One speed of a curve for one answer length."""

    label: str
    strategy: Strategy | None
    problem: str = ""
    """Why there is no strategy: what cannot serve this length or this budget."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One method at several speeds, slow to fast."""

    name: str
    source: str | Mapping[str, Any]
    """A recipe's name, or a strategy written out."""
    vary: Mapping[str, tuple[Any, ...]]
    """Field to the values it takes, one a point; several fields change together."""
    fixed: Mapping[str, Any]
    blocks: tuple[int, ...] = ()
    """Block lengths that may stand for the source's own."""
    group: str = "published"
    control: bool = False
    examples: int | None = None
    """At most so many test examples; None is as many as all others."""

    @property
    def size(self) -> int:
        """Points of the curve."""
        return max((len(values) for values in self.vary.values()), default=1)

    def points(self, gen_length: int, block: int | None = None) -> list[Point]:
        """Return every speed for answers of `gen_length` tokens, with blocks of `block` tokens or its own."""
        return [self.point(number, gen_length, block) for number in range(self.size)]

    def point(self, number: int, gen_length: int, block: int | None = None) -> Point:
        """Return one speed; a setting that the parts cannot serve is a point with a problem."""
        changes = {path: values[number] for path, values in self.vary.items()}
        label = ", ".join(_label(path, value) for path, value in changes.items()) or "as published"
        if "steps" in changes:
            changes["steps"] = max(1, round(float(Fraction(str(changes["steps"])) * gen_length)))
        if block is not None:
            changes["block"] = {"name": "fixed", "length": block}
        try:
            return Point(label, self._strategy({**self.fixed, **changes}, gen_length, label))
        except DecodeError as error:
            return Point(label, None, str(error))

    def _strategy(self, changes: Mapping[str, Any], gen_length: int, label: str) -> Strategy:
        strategy = Strategy.load(self.source)
        steps = strategy.steps
        if steps is not None:
            steps = max(1, round(steps * gen_length / strategy.gen_length))
        strategy = strategy.override({"gen_length": gen_length, "steps": steps, **changes})
        if strategy.scheduler.adaptive:
            strategy = strategy.override({"steps": None})
        length = getattr(strategy.block, "length", None)
        if strategy.block.name == "fixed" and isinstance(length, int) and length >= gen_length:
            strategy = strategy.override({"block": "whole"})
        return strategy.model_copy(update={"name": f"{self.name}, {label}", "description": ""}).check()


def load_curves(path: Path = FILE, found: Mapping[str, Mapping[str, Any]] | None = None) -> list[Curve]:
    """Return the curves of every installed recipe, of the controls, and of compositions that a search found.

    Args:
        path: A file like curves.yaml. What it says of recipes that are not installed is left out.
        found: Name to entry, as under `controls`, with a written-out `strategy`; stands for a recipe of that name.

    Raises:
        ConfigError: The file is no such mapping, or an entry has unknown keys or lists of unequal length.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        declared, controls = dict(data["recipes"]), dict(data["controls"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} should hold mappings `recipes` and `controls`: {error}") from None
    found = {_recipe_of(entry) or name: entry for name, entry in (found or {}).items()}
    names = [name for name in load_registry().names("recipe") if name not in found]
    curves = [_curve(name, declared.get(name, {}), "published") for name in names]
    curves += [_curve(name, entry, "control") for name, entry in controls.items()]
    return curves + [_curve(name, entry, "found") for name, entry in found.items()]


def _recipe_of(entry: Mapping[str, Any]) -> str | None:
    """Return the recipe that a found composition has become: the same parts, settings of the knob aside."""
    slowest = {path: values[0] for path, values in entry.get("vary", {}).items()}
    slowest |= {"gen_length": 64, "steps": None}
    wanted = Strategy.load(entry["strategy"]).override(slowest).digest()
    for name in load_registry().names("recipe"):
        try:
            if Strategy.load(name).override(slowest).digest() == wanted:
                return name
        except DecodeError:
            continue  # the recipe has no such knob
    return None


def block_choices(curve: Curve, gen_length: int) -> list[int | None]:
    """Return the block lengths to choose from, None being the source's own; those that decode alike are one."""
    seen: dict[str, int | None] = {}
    for block in (None, *(length for length in curve.blocks if length < gen_length)):
        strategy = curve.point(_middle(curve), gen_length, block).strategy
        if strategy is not None:
            seen.setdefault(strategy.digest(), block)
    return list(seen.values())


def judged_point(curve: Curve, gen_length: int, block: int | None) -> Strategy | None:
    """Return the speed at which block lengths are compared: the second slowest."""
    return curve.point(_middle(curve), gen_length, block).strategy


def _middle(curve: Curve) -> int:
    return min(1, curve.size - 1)


def _curve(name: str, entry: Mapping[str, Any], group: str) -> Curve:
    known = {"recipe", "strategy", "vary", "set", "blocks", "group", "control", "examples"}
    if unknown := sorted(set(entry) - known):
        raise ConfigError(f"curve {name!r}: {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
    source = entry.get("strategy", entry.get("recipe", name))
    vary = {path: tuple(values) for path, values in entry.get("vary", _default(source)).items()}
    if len({len(values) for values in vary.values()}) > 1:
        raise ConfigError(f"curve {name!r}: vary should give every field equally many values, got {vary}")
    group = entry.get("group", group)
    if group not in GROUPS:
        raise ConfigError(f"curve {name!r}: group {group!r} is unknown; known are {', '.join(GROUPS)}")
    return Curve(
        name,
        source,
        vary,
        entry.get("set", {}),
        tuple(entry.get("blocks", ())),
        group,
        bool(entry.get("control")),
        entry.get("examples"),
    )


def _default(source: str | Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    return {} if Strategy.load(source).scheduler.adaptive else {"steps": SHARES}


def _label(path: str, value: Any) -> str:
    if path == "steps":
        share = Fraction(str(value))
        times = f"{share.numerator} " if share.numerator > 1 else ""
        return f"{times}T steps" if share.denominator == 1 else f"{times}T/{share.denominator} steps"
    shown = value.get("length", value.get("name")) if isinstance(value, Mapping) else value
    return f"{path.rpartition('.')[2]} {shown}"

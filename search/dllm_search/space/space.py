"""The search space over strategies: a slot for every kind of part, and the step budget.

Translates between the study's parameters and strategies. Knows no part by name and nothing of how a strategy is scored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from dllm_decode.errors import ConfigError, DataError, shown, unknown_name
from dllm_decode.files import read_text, user_path
from dllm_decode.parts.kinds import KINDS, SEVERAL
from dllm_decode.strategy import read_yaml as strict
from dllm_decode.strategy.strategy import Strategy, asked
from dllm_search.space.baselines import counts_steps, settled
from dllm_search.space.paths import given, registered
from dllm_search.space.ranges import WITHOUT, Range
from dllm_search.space.slots import NONE, Pick, Slot
from dllm_search.space.whole import Whole

YAML = (".yaml", ".yml")
"""How the names of files that hold a strategy or a space end."""


@dataclass(frozen=True)
class Space:
    """What a search may compose."""

    slots: Mapping[str, Slot]
    """Kind -> the slot it fills."""
    steps: Range
    gen_length: int
    """Columns to generate, in tokens; the task's, never searched."""
    temperature: float = 0.0
    whole: bool = True
    """Whether this is the space over everything, so that a strategy it cannot express may still win."""

    @classmethod
    def everything(cls, gen_length: int, *, timed: bool = False) -> Space:
        """Return the space over every registered part, third parties' included.

        A kind that changes what a forward costs and not how many there are, such as caches, is in it only if `timed`,
        where time is the cost.
        """
        fields = Strategy.model_fields
        slots = {
            kind: registered(kind, gen_length, optional=not fields[kind].is_required())
            for kind, base in KINDS.items()
            if timed or not base.only_time
        }
        return cls(slots, _steps(gen_length), gen_length)

    @classmethod
    def around(cls, strategy: Strategy, gen_length: int) -> Space:
        """Return the space of one composition: only its own parts' declared ranges and the steps vary."""
        slots = {}
        for kind in KINDS:
            parts = getattr(strategy, kind)
            if parts is None:
                continue
            slots[kind] = given(parts if kind in SEVERAL else (parts,), kind, gen_length)
        return cls(slots, _steps(gen_length), gen_length, strategy.temperature, whole=False)

    @classmethod
    def load(
        cls, source: str | Path | Mapping[str, Any] | Strategy | None, gen_length: int, *, timed: bool = False
    ) -> Space:
        """Return the space that a source names.

        Args:
            source: None for everything; a recipe's name, a strategy or its YAML file for that composition; a YAML
                file or mapping with a key `space` whose entries are those of `limited`.
            gen_length: Columns to generate, in tokens.
            timed: Whether time is the cost; see `everything`.

        Raises:
            ConfigError: The source is unknown or does not validate.
        """
        if source is None:
            return cls.everything(gen_length, timed=timed)
        data: Any = source
        if isinstance(source, str | Path) and str(source).endswith(YAML):
            data = read_yaml(source)
        if isinstance(data, Mapping) and set(data) == {"space"}:
            if not isinstance(data["space"], Mapping):
                raise ConfigError(
                    f"{source}: space should be a mapping, e.g. space: {{scheduler: [even, threshold]}}"
                )
            return cls.everything(gen_length, timed=timed).limited(data["space"])
        return cls.around(Strategy.load(source), gen_length)

    def limited(self, limits: Mapping[str, Any]) -> Space:
        """Return the space cut down by paths to what they may be.

        Args:
            limits: A kind or another choice of parts -> a part's name or a list of names; a parameter such as
                `scheduler.threshold.threshold` or `steps` -> one value, `{low, high, log, step}` or
                `{choices: [...]}`; `temperature` -> a number.

        Raises:
            ConfigError: A path or a name is unknown, or the limits leave nothing.
        """
        space = replace(self, whole=self.whole and not limits)
        # Parts first, so that a field of a part that was ruled out is reported.
        for path in sorted(limits, key=lambda path: str(path).count(".")):
            try:
                space = space._limited(str(path), limits[path])
            except TypeError:
                value = shown(limits[path])
                raise ConfigError(f"space: {path}: give a name, a number or a list of them, not {value}") from None
        return space

    def _limited(self, path: str, limit: Any) -> Space:
        if path == "temperature":
            return replace(self, temperature=limit)
        if path == "steps":
            steps = self.steps.narrowed(limit)
            values = steps.choices if steps.kind == "choice" else (steps.low, steps.high)
            if wrong := [one for one in values if one is not None and not _is_count(one)]:
                raise ConfigError(f"space: steps: should be whole numbers above 0, got {shown(wrong[0])}")
            return replace(self, steps=steps)
        kind = path.partition(".")[0]
        if kind in KINDS and kind not in self.slots:
            when = "; it is searched where time is the cost, such as --cost seconds" if KINDS[kind].only_time else ""
            raise ConfigError(f"space: {path}: this space holds no {kind}{when}")
        if kind not in self.slots:
            raise ConfigError(f"space: {unknown_name('path', path, [*self.slots, 'steps', 'temperature'])}")
        return replace(self, slots={**self.slots, kind: self.slots[kind].limited(path, limit)})

    def fitting(self, model_has: Collection[str]) -> Space:
        """Return the space without the parts that need what a model does not have; see `PartConfig.model_needs`.

        A choice of which nothing would be left stays as it is: what was asked for is tried, and the model refuses it.
        """
        return replace(self, slots={kind: slot.fitting(model_has) for kind, slot in self.slots.items()})

    def check(self) -> Space:
        """Return the space.

        Raises:
            ConfigError: Nothing in it goes together.
        """
        self._parts_together.begin()
        return self

    def failures(self) -> list[str]:
        """Return what goes wrong in parts that are left out because they fail when they are asked what they can."""
        return self._parts_together.failures()

    def suggest(self, trial: Trial) -> Strategy:
        """Compose a strategy for a trial.

        Raises:
            ConfigError: The drawn parts cannot be used together with any number of steps.
        """
        return self._compose(lambda choice: choice.suggest(trial))

    def build(self, parameters: Mapping[str, Any]) -> Strategy:
        """Compose the strategy that a trial's parameters stand for."""
        return self._compose(lambda choice: choice.value(parameters[choice.name]))

    def parameters(self, strategy: Strategy) -> dict[str, Any] | None:
        """Return the parameters that stand for a strategy, or None if the space does not hold it."""
        wanted = settled(strategy.model_copy(update={"gen_length": self.gen_length}))
        values = _values(wanted)
        found: dict[str, Any] = {}

        def look_up(choice: Range) -> Any:
            value = values[choice.path]
            if value is None and NONE in choice.choices:
                value = NONE
            found[choice.name] = choice.parameter(value)
            return value

        try:
            composed = self._compose(look_up)
        except (ConfigError, KeyError, ValueError):
            return None
        return found if composed.digest() == wanted.digest() else None

    def ranges(self) -> dict[str, Range]:
        """Return every parameter that may occur, by name; a choice cut down by earlier ones has its name and `WITHOUT`."""
        found = [choice for slot in self.slots.values() for choice in slot.ranges()]
        return {choice.name: choice for choice in (*found, self.steps) if not choice.single}

    def range_of(self, name: str) -> Range:
        """Return the parameter of a name, also of a choice that earlier ones have cut down.

        Raises:
            KeyError: There is none.
        """
        path, _, left_out = name.partition(WITHOUT)
        whole = self.ranges()[path]
        return replace(whole, name=name, choices=tuple(c for c in whole.choices if c not in left_out.split(", ")))

    def fingerprint(self) -> str:
        """Return 12 hex digits that tell two spaces apart."""
        data = json.dumps(asdict(self), sort_keys=True, default=repr)
        return hashlib.sha256(data.encode()).hexdigest()[:12]

    def _compose(self, draw: Pick) -> Strategy:
        def pick(choice: Range) -> Any:
            return choice.choices[0] if choice.single else draw(choice)

        together = self._parts_together
        strategy = together.begin()
        for kind, slot in self.slots.items():
            drawn = slot.compose(pick, together.offered(strategy, kind))
            strategy = together.placed(strategy, kind, drawn)
        return _affordable(strategy, pick(self.steps)) if counts_steps(strategy) else strategy.check()

    @cached_property
    def _parts_together(self) -> Whole:
        return Whole(self.slots, self.gen_length, self.temperature)


def read_yaml(file: str | Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    try:
        return strict.read_yaml(read_text(user_path(file), strict.CHARACTERS), str(file))
    except DataError as error:
        raise ConfigError(str(error)) from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _affordable(strategy: Strategy, steps: int | None) -> Strategy:
    """Raise the steps to the first number that the blocks and stages can be given, so that no draw is lost."""
    if steps is None:
        return strategy.check()
    blocks = len(asked(strategy.block, lambda: strategy.block.plan(None, strategy.gen_length)) or ())
    more = {
        n for n in (blocks, 2 * blocks, 4 * blocks, strategy.gen_length) if steps < n <= strategy.gen_length
    }
    for budget in (steps, *sorted(more)):
        try:
            return strategy.model_copy(update={"steps": budget}).check()
        except ConfigError as error:
            refused = error
    raise refused


def _values(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy's values under the names that the study's parameters have."""
    values: dict[str, Any] = {"steps": strategy.steps}
    data = strategy.to_dict()

    def note(path: str, parts: list[dict[str, Any]]) -> None:
        values[path] = "+".join(part["name"] for part in parts) or NONE
        for part in parts:
            for field, value in part.items():
                name = f"{path}.{part['name']}.{field}"
                if isinstance(value, Mapping) and "name" in value:
                    note(name, [dict(value)])
                else:
                    values[name], values[f"{name}.set"] = value, value is not None

    for kind in KINDS:
        note(kind, (data[kind] or []) if kind in SEVERAL else [data[kind]] if data[kind] else [])
    return values


def _steps(gen_length: int) -> Range:
    """From two steps to one token a step."""
    return Range("steps", "int", min(2, gen_length), gen_length, log=True)

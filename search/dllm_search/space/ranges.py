"""One searchable field: its name in the study, its range, and how a value is drawn or recognised.

Reads the `Tune` mark from a part's field; leaves which parts are chosen to `space`.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import PartConfig, Tune

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


WITHOUT = " without "
"""Stands in a choice's name before what earlier choices leave no room for, as in `confidence without entropy`."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values one parameter of the study may take."""

    name: str
    """What the study calls it, e.g. `scheduler.threshold.threshold`."""
    kind: Literal["int", "float", "choice"]
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    nullable: bool = False
    """Whether the field may also be left null, which is a parameter of its own, `NAME.set`."""

    @property
    def path(self) -> str:
        """Where the chosen value stands in a strategy: the name, less what is left out of the choice."""
        return self.name.partition(WITHOUT)[0]

    @property
    def switch(self) -> Range:
        """The parameter that says whether a nullable field is set."""
        return Range(f"{self.name}.set", "choice", choices=(False, True))

    @property
    def single(self) -> bool:
        """Whether there is nothing to choose; such a range is no parameter of the study."""
        return self.kind == "choice" and len(self.choices) == 1

    def suggest(self, trial: Trial) -> Any:
        """Draw a value for a trial."""
        if self.kind == "choice":
            return self.value(trial.suggest_categorical(self.name, [_key(c) for c in self.choices]))
        if self.kind == "int":
            step = int(self.step or 1)
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log, step=step)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def distribution(self) -> BaseDistribution:
        """Return the same range as Optuna writes it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution([_key(c) for c in self.choices])
        if self.kind == "int":
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def near(self, wanted: Any) -> Any:
        """Return the value that is wanted if it is in the range, else the range's first."""
        with suppress(ValueError):
            return self.value(self.parameter(wanted))
        return self.choices[0] if self.kind == "choice" else int(self.low) if self.kind == "int" else self.low

    def value(self, parameter: Any) -> Any:
        """Return the field's value that a stored parameter stands for."""
        if self.kind != "choice":
            return parameter
        return next(choice for choice in self.choices if _key(choice) == parameter)

    def parameter(self, value: Any) -> Any:
        """Return what the study stores for a field's value.

        Raises:
            ValueError: The value is outside the range.
        """
        if self.kind == "choice":
            for choice in self.choices:
                if _key(choice) == _key(value):
                    return _key(choice)
            raise ValueError(f"{self.name}: {value!r} is none of {list(self.choices)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high or (self.kind == "int" and int(value) != value):
            raise ValueError(f"{self.name}: {value!r} is not between {self.low} and {self.high}")
        if self.step and not math.isclose((value - self.low) % self.step % self.step, 0, abs_tol=1e-9):
            raise ValueError(f"{self.name}: {value!r} is not on the grid of {self.step} from {self.low}")
        return int(value) if self.kind == "int" else float(value)

    def narrowed(self, limits: Any) -> Range:
        """Return the range cut down to a value, `{low, high, log, step}` or `{choices: [...]}`.

        Raises:
            ConfigError: The limits name an unknown key, or leave nothing.
        """
        if not isinstance(limits, Mapping):
            return self.fixed(limits)
        known = {"low", "high", "log", "step", "choices"}
        if unknown := set(limits) - known:
            raise ConfigError(f"space: {self.name}: no such key {sorted(unknown)}; known: {sorted(known)}")
        if "choices" in limits:
            listed = limits["choices"]
            if not isinstance(listed, list | tuple) or not listed:
                raise ConfigError(f"space: {self.name}: choices should be a list of values, got {listed!r}")
            return replace(self, kind="choice", choices=tuple(listed), step=None, log=False)
        if self.kind == "choice":
            raise ConfigError(f"space: {self.name} is a choice; give {{choices: [...]}} or one value")
        cut = replace(self, **limits)
        if cut.low > cut.high:
            raise ConfigError(f"space: {self.name}: low {cut.low} is above high {cut.high}")
        return cut.checked(limits)

    def checked(self, limits: Any) -> Range:
        """Return the range if values can be drawn of it; `limits` are what made it.

        Raises:
            ConfigError: They cannot, e.g. on a logarithmic scale from 0.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                self.distribution()
        except (ValueError, TypeError, ArithmeticError, Warning) as error:
            raise ConfigError(f"space: {self.name}: no value can be drawn of {limits}: {error}") from None
        return self

    def fixed(self, value: Any) -> Range:
        """Return the range that holds one value only; the part itself judges whether the value is allowed."""
        return Range(self.name, "choice", choices=(value,))


def declared_ranges(part: type[PartConfig], path: str, gen_length: int) -> dict[str, Range]:
    """Return field -> range for every field of a part that is marked with `Tune`; `path` starts their names.

    Ranges of a block policy are cut to `gen_length`, and logarithmic integers there become powers of two, the block
    lengths that published settings use.
    """
    found = {}
    for field, info in part.model_fields.items():
        marks = [mark for mark in (*info.metadata, *_marks(info.annotation)) if isinstance(mark, Tune)]
        if marks:
            declared = _range(f"{path}.{field}", marks[0], list(plain_types(info.annotation)))
            found[field] = _within(declared, gen_length) if part.kind == "block" else declared
    return found


def _range(name: str, tune: Tune, types: list[Any]) -> Range:
    nullable = type(None) in types
    if tune.choices is not None or tune.low is None or tune.high is None:
        return Range(name, "choice", choices=tune.choices or ())
    kind: Literal["int", "float"] = "int" if int in types and float not in types else "float"
    # A grid and a logarithmic scale exclude each other in Optuna; the grid is the stronger wish.
    log = tune.log and tune.step is None
    return Range(name, kind, tune.low, tune.high, log, tune.step, nullable=nullable)


def _within(declared: Range, gen_length: int) -> Range:
    if declared.kind == "choice":
        kept = tuple(c for c in declared.choices if not isinstance(c, int) or c <= gen_length)
        return replace(declared, choices=kept or (gen_length,))
    if declared.kind == "float":
        return declared
    high = min(int(declared.high), gen_length)
    low = min(int(declared.low), high)
    if declared.log:
        powers = tuple(2**e for e in range(high.bit_length()) if low <= 2**e <= high)
        return replace(declared, kind="choice", choices=powers or (high,))
    return replace(declared, low=low, high=high)


def plain_types(annotation: Any) -> Iterator[Any]:
    """Yield the plain types of an annotation, and the values of a `Literal`."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal or not arguments:
        yield from arguments or (annotation,)
        return
    for argument in arguments:
        yield from plain_types(argument)


def _marks(annotation: Any) -> Iterator[Tune]:
    """Yield `Tune` marks inside an annotation, as in `Annotated[int, Tune(1, 8)] | None`."""
    if isinstance(annotation, Tune):
        yield annotation
    for argument in get_args(annotation):
        yield from _marks(argument)


def _key(value: Any) -> Any:
    """Return what the study can store for a choice: plain values as they are, others as JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, default=str)

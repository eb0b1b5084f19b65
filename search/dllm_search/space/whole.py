"""Keeps a strategy whole while it is drawn choice by choice: nothing is offered that validation would refuse later.

Asks validation itself and knows none of its rules, so that those of third parties hold as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from typing import Any

from pydantic import ValidationError

from dllm_decode.errors import ConfigError, FailedPartError, readable
from dllm_decode.parts.base import registered
from dllm_decode.parts.kinds import SEVERAL
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_search.space.baselines import counts_steps
from dllm_search.space.slots import Slot

LOOKED_AT = 10_000
"""Compositions after which a space that has brought no whole one counts as empty; they take about two seconds."""


@dataclass(frozen=True)
class Whole:
    """What may stand in each slot, and what goes together."""

    slots: Mapping[str, Slot]
    gen_length: int
    temperature: float

    def begin(self) -> Strategy:
        """Return a strategy of the space that validation accepts; a draw starts from it.

        Raises:
            ConfigError: There is none, and why the first one is refused.
        """
        return self._first

    @cached_property
    def _first(self) -> Strategy:
        values = [list(self._examples[kind].values()) for kind in self.slots]
        budget = {"name": "searched", "gen_length": self.gen_length, "temperature": self.temperature}
        refused: ConfigError | None = None
        for chosen in islice(product(*values), LOOKED_AT):
            parts = dict(zip(self.slots, chosen, strict=True))
            try:
                return self._accepted(Strategy.parse({**parts, **budget}))
            except ConfigError as error:
                refused = refused or error
        raise ConfigError(f"space: nothing in it goes together; the first reason is: {refused}")

    def failures(self) -> list[str]:
        """Return what goes wrong in parts that are never offered because they raise when they are asked what they can."""
        said: dict[str, None] = {}
        for kind, examples in self._examples.items():
            for value in examples.values():
                try:
                    self._first.model_copy(update={kind: value}).check()
                except FailedPartError as error:
                    said[str(error)] = None
                except ConfigError:
                    pass
        return list(said)

    def offered(self, strategy: Strategy, kind: str) -> list[str]:
        """Return the labels that a kind's choice may take, if the choices before it are the strategy's."""
        examples = self._examples[kind]
        if len(examples) == 1:
            return list(examples)
        return [label for label, value in examples.items() if self._settled(strategy, kind, value) is not None]

    def placed(self, strategy: Strategy, kind: str, parts: Sequence[Mapping[str, Any]]) -> Strategy:
        """Return the strategy with drawn parts of a kind, and later kinds changed where these need it.

        Raises:
            ConfigError: Their fields are refused, or refuse everything that may come later.
        """
        value = built(kind, parts)
        settled = self._settled(strategy, kind, value)
        return self._accepted(strategy.model_copy(update={kind: value})) if settled is None else settled

    def _settled(self, strategy: Strategy, kind: str, value: Any) -> Strategy | None:
        """Return the strategy with `value`, and at most one later kind changed for it; None if that does not help."""
        changed = strategy.model_copy(update={kind: value})
        kinds = list(self.slots)
        later = kinds[kinds.index(kind) + 1 :]
        changes = [{}, *({other: each} for other in later for each in self._examples[other].values())]
        for change in changes:
            with suppress(ConfigError):
                return self._accepted(changed.model_copy(update=change))
        return None

    def _accepted(self, strategy: Strategy) -> Strategy:
        """Return the strategy; raise `ConfigError` where validation does, or for a plan that nobody reads."""
        planned = None if strategy.forward is None else strategy.forward.name
        if planned in self._read and all(part.plan != planned for part in strategy.revise):
            raise ConfigError(f"forward: {planned!r} is computed for a reviser that reads it, and none does")
        strategy.check()
        if counts_steps(strategy):
            # As many steps as tokens is the budget that serves the most; where it does not, none will.
            strategy.model_copy(update={"steps": strategy.gen_length}).check()
        return strategy

    @cached_property
    def _examples(self) -> dict[str, dict[str, Any]]:
        """Kind -> label of an option -> what the strategy's field may then hold."""
        return {
            kind: {option.label: built(kind, [part.example() for part in option.parts]) for option in slot.options}
            for kind, slot in self.slots.items()
        }

    @cached_property
    def _read(self) -> set[str | None]:
        """Forward plans that exist for a reviser; none where the plan is no choice."""
        if "forward" not in self.slots or len(self.slots["forward"].options) == 1:
            return set()
        table = load_registry()
        return {getattr(table.part("revise", name), "plan", None) for name in table.names("revise")} - {None}


def built(kind: str, parts: Sequence[Mapping[str, Any]]) -> Any:
    """Return what a strategy's field of a kind holds: a part, None, or a tuple of parts.

    Raises:
        ConfigError: A field's value is refused.
    """
    try:
        made = tuple(registered(kind, part["name"]).model_validate(part) for part in parts)
    except ValidationError as error:
        raise ConfigError(readable(error, f"strategy: {kind}")) from None
    return made if kind in SEVERAL else next(iter(made), None)

"""The outcomes of one evaluation as they fill up: what an earlier run has kept, and what this one adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dllm_decode.evaluate.outcomes import Outcome, OutcomeStore, example_key

if TYPE_CHECKING:
    from dllm_decode.tasks.base import Example

Progress = Callable[[int, int, int], None]
"""Called with (examples done, examples in all, of those done the correct ones)."""


class Kept:
    """The outcomes of an evaluation's examples: those known from an earlier run, and those that are added."""

    def __init__(
        self, examples: Sequence[Example], store: OutcomeStore | None, progress: Progress | None
    ) -> None:
        """Look up what is known, and tell."""
        self._store, self._progress = store, progress
        self._keys = [example_key(one.id, (one.prompt, one.reference, dict(one.meta))) for one in examples]
        self._found = [store.get(key) if store else None for key in self._keys]
        self._tell()

    @property
    def done(self) -> int:
        """How many outcomes are known."""
        return sum(outcome is not None for outcome in self._found)

    def missing(self) -> list[int]:
        """Return the indices of the examples without an outcome."""
        return [number for number, outcome in enumerate(self._found) if outcome is None]

    def add(self, outcomes: Mapping[int, Outcome]) -> None:
        """Keep outcomes by their examples' indices, and tell.

        Raises:
            DataError: They cannot be written.
        """
        if self._store:
            self._store.add({self._keys[number]: outcome for number, outcome in outcomes.items()})
        for number, outcome in outcomes.items():
            self._found[number] = outcome
        self._tell()

    def all(self) -> tuple[Outcome, ...]:
        """Return the outcome of every example, once none is missing."""
        return tuple(outcome for outcome in self._found if outcome is not None)

    def _tell(self) -> None:
        if self._progress:
            done = [outcome for outcome in self._found if outcome is not None]
            self._progress(len(done), len(self._found), sum(outcome.correct for outcome in done))

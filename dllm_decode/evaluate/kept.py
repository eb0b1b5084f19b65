"""The outcomes of one evaluation as they fill up: what an earlier run has kept, and what this one adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dllm_decode.evaluate.outcomes import Outcome, OutcomeStore, example_key

if TYPE_CHECKING:
    from dllm_decode.tasks.base import Example

Progress = Callable[[int, int, float], None]
"""Called with (examples done, examples in all, the sum of the scores of those done)."""


class Kept:
    """The outcomes of an evaluation's examples: those known from an earlier run, and those that are added."""

    def __init__(
        self, examples: Sequence[Example], store: OutcomeStore | None, progress: Progress | None
    ) -> None:
        """Look up what is known, and tell."""
        self._store, self._progress = store, progress
        self._keys = [example_key(one.id, (one.prompt, one.reference, dict(one.meta))) for one in examples]
        self._found = [store.get(key) if store else None for key in self._keys]
        self.skipped: set[int] = set()
        """Indices of the examples that are left out."""
        self._tell()

    @property
    def done(self) -> int:
        """How many outcomes are known."""
        return sum(outcome is not None for outcome in self._found)

    def missing(self) -> list[int]:
        """Return the indices of the examples without an outcome."""
        return [
            number
            for number, outcome in enumerate(self._found)
            if outcome is None and number not in self.skipped
        ]

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

    def skip(self, numbers: Iterable[int]) -> None:
        """Leave examples out: they have no outcome and are not missing."""
        self.skipped.update(numbers)

    def all(self) -> tuple[Outcome, ...]:
        """Return the outcome of every example that is not left out, once none is missing."""
        return tuple(outcome for outcome in self._found if outcome is not None)

    def _tell(self) -> None:
        if self._progress:
            done = [outcome for outcome in self._found if outcome is not None]
            self._progress(len(done), len(self._found), sum(outcome.score for outcome in done))

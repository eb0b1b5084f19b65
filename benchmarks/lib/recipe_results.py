"""What the measurements of the curves come to: AUP with intervals, and layered schedules beside their controls.

Knows measured outcomes; leaves running to `pieces` and wording to `recipe_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from benchmarks.lib.curves import Curve, Point
from benchmarks.lib.pieces import Measured
from dllm_decode.evaluate.statistics import (
    FloatArray,
    PairedComparison,
    PointOutcomes,
    aup,
    aup_draws,
    compare_paired,
    percentile_interval,
)

SWEEP = "fast-dllm"
"""The curve that serves as the threshold sweep."""
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One curve on one task."""

    curve: Curve
    task: str
    block: int | None
    """The block length chosen on the tuning split; None is the source's own."""
    points: tuple[tuple[Point, Measured], ...]

    @property
    def outcomes(self) -> list[PointOutcomes]:
        """Outcomes of the points that were measured."""
        return [measured.outcomes for _, measured in self.points if measured.outcomes]

    @property
    def problems(self) -> list[str]:
        """Why points are missing."""
        return [f"{point.label}: {measured.problem}" for point, measured in self.points if measured.problem]


@dataclass(frozen=True, slots=True)
class Score:
    """AUP of one curve, on a task or as the mean of all tasks."""

    value: float
    draws: FloatArray = field(repr=False)
    """(RESAMPLES,) float64 bootstrap draws, paired between curves."""
    discounted: float
    """With the first rectangle discounted as well."""
    discounted_draws: FloatArray = field(repr=False)
    """(RESAMPLES,) float64, its bootstrap draws, paired with `draws`."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval."""
        return percentile_interval(self.draws)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "aup": self.value,
            "interval": list(self.interval),
            "aup_first_discounted": self.discounted,
            "first_discounted_interval": list(percentile_interval(self.discounted_draws)),
        }


@dataclass(frozen=True, slots=True)
class Control:
    """One point of a layered schedule beside what costs the same."""

    curve: str
    task: str
    label: str
    measured: Measured
    against: Mapping[str, tuple[str, Measured]]
    """Kind of control to the name of the one that was chosen and what it came to."""

    def comparison(self, kind: str) -> PairedComparison | None:
        """Return the schedule against a control, on the same examples; positive is better than the control."""
        other = self.against[kind][1] if kind in self.against else None
        if other is None or other.outcomes is None or self.measured.outcomes is None:
            return None
        return compare_paired(other.outcomes.correct, self.measured.outcomes.correct)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        found = {}
        for kind, (name, measured) in self.against.items():
            change = self.comparison(kind)
            found[kind] = {"control": name, **measured.to_dict()}
            if change is not None:
                found[kind] |= {
                    "difference": change.difference,
                    "difference_interval": list(change.interval),
                    "mcnemar_p": change.p_value,
                }
        place = {"curve": self.curve, "task": self.task, "point": self.label}
        return {**place, **self.measured.to_dict(), "against": found}


class Results:
    """Everything that was measured so far, with the scores computed from it."""

    def __init__(self, tasks: Sequence[str], cells: Sequence[Cell], controls: Sequence[Control], n: int) -> None:
        """Take the cells measured; those without any point count as not run."""
        self.tasks, self.cells, self.controls, self.n = tuple(tasks), tuple(cells), tuple(controls), n
        self.by_name: dict[str, dict[str, Cell]] = {}
        for cell in cells:
            self.by_name.setdefault(cell.curve.name, {})[cell.task] = cell
        self.best = {task: self._best(task) for task in tasks}
        self.scores: dict[str, dict[str, Score]] = {
            name: {task: self._score(cell) for task, cell in by_task.items() if cell.outcomes}
            for name, by_task in self.by_name.items()
        }
        self.means = {
            name: _mean([by_task[task] for task in self.tasks])
            for name, by_task in self.scores.items()
            if all(task in by_task for task in self.tasks)
        }

    @property
    def ranking(self) -> list[str]:
        """Names of the curves measured on every task, best mean AUP first, then the others."""
        rest = [name for name in self.by_name if name not in self.means]
        return [*sorted(self.means, key=lambda name: -self.means[name].value), *rest]

    def group(self, name: str) -> str:
        """Return a curve's group."""
        return next(iter(self.by_name[name].values())).curve.group

    def examples(self, name: str) -> int:
        """Return how many examples of each task a curve was measured on."""
        return max((len(one.correct) for cell in self.by_name[name].values() for one in cell.outcomes), default=0)

    def leader(self, group: str, *, discounted: bool = False) -> str | None:
        """Return the curve of a group with the best mean AUP, in either form, of those measured on all examples."""
        names = [name for name in self.means if self.group(name) == group and self.examples(name) == self.n]
        means = {name: self.means[name].discounted if discounted else self.means[name].value for name in names}
        return max(means, key=lambda name: means[name], default=None)

    def gap(self, name: str, other: str, *, discounted: bool = False) -> tuple[float, tuple[float, float]]:
        """Return how much a curve's mean AUP exceeds another's, with its paired 95 % interval."""
        one, two = self.means[name], self.means[other]
        if discounted:
            return one.discounted - two.discounted, percentile_interval(one.discounted_draws - two.discounted_draws)
        return one.value - two.value, percentile_interval(one.draws - two.draws)

    def to_dict(self) -> dict[str, Any]:
        """Return the record: every cell with its points and score, the means, the controls."""
        return {
            "tasks": list(self.tasks),
            "n": self.n,
            "best_accuracy": self.best,
            "means": {name: {"group": self.group(name), **score.to_dict()} for name, score in self.means.items()},
            "cells": [self._cell(cell) for cell in self.cells],
            "controls": [control.to_dict() for control in self.controls],
        }

    def _cell(self, cell: Cell) -> dict[str, Any]:
        score = self.scores[cell.curve.name].get(cell.task)
        points = [
            {
                "point": point.label,
                "strategy_digest": point.strategy.digest() if point.strategy else None,
                **measured.to_dict(),
            }
            for point, measured in cell.points
        ]
        return {
            "curve": cell.curve.name,
            "group": cell.curve.group,
            "task": cell.task,
            "block_length": cell.block,
            **(score.to_dict() if score else {}),
            "points": points,
        }

    def _best(self, task: str) -> float:
        """Return the best accuracy of any point measured on all examples of a task, in percent."""
        outcomes = [one for cell in self.cells if cell.task == task for one in cell.outcomes]
        return max((one.point()[1] for one in outcomes if len(one.correct) == self.n), default=0.0)

    def _score(self, cell: Cell) -> Score:
        best, seed = self.best[cell.task], self.tasks.index(cell.task)
        points = [one.point() for one in cell.outcomes]
        plain, discounted = (
            aup_draws(cell.outcomes, best, resamples=RESAMPLES, seed=seed, discount_first=first)
            for first in (False, True)
        )
        return Score(aup(points, best), plain, aup(points, best, discount_first=True), discounted)


def _mean(scores: Sequence[Score]) -> Score:
    return Score(
        sum(score.value for score in scores) / len(scores),
        numpy.mean([score.draws for score in scores], axis=0),
        sum(score.discounted for score in scores) / len(scores),
        numpy.mean([score.discounted_draws for score in scores], axis=0),
    )

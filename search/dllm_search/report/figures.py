"""Draws the trade-off as PNGs: everything tried with the front and the baselines by name; the test split.

Knows matplotlib, with no display; nothing of how the points came about.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.evaluate.statistics import mean_interval

if TYPE_CHECKING:
    from dllm_search.judge.candidate import Candidate
    from dllm_search.report.report import Report

TRIED, FRONT, NAMED, CHOSEN = "#b8bec6", "#2f6fb0", "#7a4fa3", "#c8442e"


def draw_front(report: Report, path: Path) -> None:
    """Write the picture: accuracy over forward passes on the tuning examples."""
    count = report.tried[0].score.n if report.tried else 0
    axes = _axes(f"{report.task}: {count} examples of the tuning split")

    def place(points: list[Candidate], **style: Any) -> None:
        if points:
            axes.scatter(*zip(*map(_at, points), strict=True), **style)

    named = sorted((candidate for candidate in report.tried if candidate.label), key=_at)
    digest = report.chosen.strategy.digest()
    chosen = [candidate for candidate in report.tried if candidate.strategy.digest() == digest]
    place([c for c in report.tried if not c.label], color=TRIED, s=22, label="tried")
    place(named, color=NAMED, marker="s", s=26, label="baselines, numbered")
    front = zip(*map(_at, report.front), strict=True)
    axes.plot(*front, color=FRONT, marker="o", markersize=4, linewidth=1.5, label="front")
    place(chosen, facecolors="none", edgecolors=CHOSEN, s=150, linewidths=2, label="chosen")
    for place_of, numbers in _clusters(named):
        axes.annotate(
            _ranges(numbers), place_of, xytext=(3, 6), textcoords="offset points", fontsize=7, color=NAMED
        )
    keys = "\n".join(f"{number}  {candidate.label}" for number, candidate in enumerate(named, 1))
    axes.text(1.06, 1, keys, transform=axes.transAxes, va="top", fontsize=7, color=NAMED)
    axes.legend(loc="lower right", fontsize=8)
    axes.figure.savefig(path)


def draw_test(report: Report, path: Path) -> None:
    """Write the picture: accuracy over forward passes on the test split, with 95 % intervals."""
    axes = _axes(f"{report.task}: {report.rows[0].score.n} examples of the test split")
    colors = {"baseline": FRONT, "chosen": CHOSEN, "control": NAMED}
    for number, row in enumerate(report.rows, 1):
        accuracy = 100 * row.score.accuracy
        low, high = (100 * bound for bound in mean_interval(row.score.correct))
        at = row.score.plain_forwards
        reach = [[accuracy - low], [high - accuracy]]
        axes.errorbar([at], [accuracy], yerr=reach, fmt="o", color=colors[row.role], capsize=3, markersize=5)
        axes.annotate(str(number), (at, accuracy), xytext=(5, 4), textcoords="offset points", fontsize=8)
    keys = "\n".join(f"{number}  {row.name}" for number, row in enumerate(report.rows, 1))
    axes.text(1.02, 1, keys, transform=axes.transAxes, va="top", fontsize=7)
    axes.figure.savefig(path)


def _axes(title: str) -> Any:
    """Return empty axes of accuracy over forward passes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, so that a notebook's pyplot state stays as it is.
    figure = Figure(figsize=(9.5, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(
        title=title, xlabel="plain forward passes per answer (fewer is cheaper)", ylabel="accuracy, %", xscale="log"
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.grid(alpha=0.25)
    return axes


def _at(candidate: Candidate) -> tuple[float, float]:
    return candidate.score.plain_forwards, 100 * candidate.score.accuracy


def _clusters(named: list[Candidate]) -> list[tuple[tuple[float, float], list[int]]]:
    """Return (place, numbers) of baselines so near each other that their numbers would overlap."""
    clusters: dict[tuple[int, int], tuple[tuple[float, float], list[int]]] = {}
    for number, candidate in enumerate(named, 1):
        forwards, accuracy = _at(candidate)
        cell = (round(8 * math.log(max(forwards, 0.1))), round(accuracy / 4))
        clusters.setdefault(cell, ((forwards, accuracy), []))[1].append(number)
    return list(clusters.values())


def _ranges(numbers: list[int]) -> str:
    """Write rising numbers short: 1, 2, 3, 5 is 1–3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)

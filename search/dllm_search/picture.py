"""Draws the trade-off as a PNG: everything tried, the front, the baselines by name, the chosen strategy.

Knows matplotlib, with no display; nothing of how the points came about.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dllm_search.report import Report
    from dllm_search.select import Candidate

TRIED, FRONT, NAMED, CHOSEN = "#b8bec6", "#2f6fb0", "#7a4fa3", "#c8442e"


def draw_front(report: Report, path: Path) -> None:
    """Write the picture: accuracy over forward passes on the tuning examples."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, so that a notebook's pyplot state stays as it is.
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()

    def place(points: list[tuple[float, float]], **style: Any) -> None:
        if points:
            axes.scatter(*zip(*points, strict=True), **style)

    def at(candidate: Candidate) -> tuple[float, float]:
        return candidate.score.forward_passes, 100 * candidate.score.accuracy

    named = [candidate for candidate in report.tried if candidate.label]
    place([at(c) for c in report.tried if not c.label], color=TRIED, s=22, label="tried")
    place([at(c) for c in named], color=NAMED, marker="s", s=26, label="baselines")
    front = [at(candidate) for candidate in report.front]
    axes.plot(*zip(*front, strict=True), color=FRONT, marker="o", markersize=4, linewidth=1.5, label="front")
    digest = report.chosen.strategy.digest()
    place(
        [at(c) for c in report.tried if c.strategy.digest() == digest],
        facecolors="none", edgecolors=CHOSEN, marker="o", s=150, linewidths=2, label="chosen",
    )  # fmt: skip
    for number, candidate in enumerate(sorted(named, key=at)):
        # Labels go up and down in turn, so that neighbours do not cover each other.
        below = number % 2
        axes.annotate(
            candidate.label, at(candidate), xytext=(4, -11 if below else 6), textcoords="offset points",
            fontsize=6.5, color=NAMED,
        )  # fmt: skip
    count = report.tried[0].score.n if report.tried else 0
    axes.set(
        title=f"{report.task}: {count} examples of the tuning split",
        xlabel="forward passes per answer (fewer is cheaper)",
        ylabel="accuracy, %",
        xscale="log",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path)

"""A comparison for people: the cells of its tables, and one self-contained HTML page of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dllm_decode.reproduce.comparison import Comparison, Row

COLUMNS = (
    "strategy", "accuracy", "difference (95 %)", "forwards", "fewer", "seconds", "faster", "tokens/s", "to EOS/s",
    "visible/s", "published",
)  # fmt: skip

QUALITY = (0, 1, 2, 3, 4, 10)
"""The columns of a narrow table about accuracy."""
COST = (0, 5, 6, 7, 8, 9)
"""Those of one about time."""


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells, one for each of `COLUMNS`."""
    data = row.to_dict()
    low, high = (100 * bound for bound in data["accuracy_interval"])
    change = ""
    if row.against is not None:
        below, above = (100 * bound for bound in row.against.interval)
        change = f"{100 * row.against.difference:+.1f} ({below:+.1f} to {above:+.1f})"
    speeds = ("–" if speed is None else f"{speed:.1f}" for speed in data["tokens_per_second"].values())
    published = "–" if data["published_accuracy"] is None else f"{data['published_accuracy']:.1f} %"
    return (
        row.line.label + (f" · {row.line.setting.name}" if row.line.setting else ""),
        f"{100 * data['accuracy']:.1f} % ({low:.1f} to {high:.1f})",
        change,
        f"{data['forward_passes']:.1f}",
        f"{row.fewer:.2f}×",
        f"{data['seconds']:.1f}",
        "–" if row.faster is None else f"{row.faster:.2f}×",
        *speeds,
        published,
    )


def to_dict(paper: str, model: str, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return all tasks' comparisons as plain data."""
    tasks = [one.to_dict() for one in comparisons]
    return {"kind": "reproduce", "comparison": paper, "model": model, "columns": list(COLUMNS), "tasks": tasks}


def page(paper: str, model: str, comparisons: Sequence[Comparison]) -> str:
    """Return the page as HTML that needs nothing beside it."""
    environment = Environment(
        loader=PackageLoader("dllm_decode.reproduce"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    record = comparisons[0].rows[0].done.record
    return environment.get_template("comparison.html.j2").render(
        title=f"{paper} with {model}",
        columns=COLUMNS,
        where=f"{record.device} {record.dtype}: {record.device_name}, {record.batch_size} a batch, seed {record.seed}",
        date=record.date,
        tasks=[
            {
                "name": one.task,
                "n": one.rows[0].done.record.n,
                "examples": one.rows[0].done.record.examples,
                "settings": one.rows[0].done.record.task_settings,
                "lines": [cells(row) for row in one.rows],
                "sources": [
                    (row.line.setting.name, row.line.setting.accuracy_source or row.line.setting.source)
                    for row in one.rows
                    if row.line.setting is not None
                ],
                "notes": one.notes,
                "strategies": [(row.line.label, row.done.record.strategy.to_yaml()) for row in one.rows],
            }
            for one in comparisons
        ],
        json=json.dumps(to_dict(paper, model, comparisons), ensure_ascii=False, indent=1),
    )

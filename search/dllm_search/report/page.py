"""The report as one self-contained HTML page: verdict, tables, pictures, ablation, importances, cost, run record.

Knows which data the template asks for; how it looks is in `templates/report.html.j2`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dllm_search.report.importance import FEWEST_TRIALS
from dllm_search.report.report import COLUMNS, Report

Line = tuple[tuple[str, ...], str]
"""A row of a table: its cells, and the class it is shown in."""


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the page as HTML that needs nothing beside it.

    Args:
        report: What was found.
        pictures: PNG files by the caption they get.
    """
    environment = Environment(
        loader=PackageLoader("dllm_search.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report,
        title=f"Search on {report.task}",
        thin=any("too thin" in sentence or "are few" in sentence for sentence in report.evidence),
        results={
            "columns": COLUMNS,
            "lines": [(row.cells(), "chosen" if row.role == "chosen" else "") for row in report.rows],
        },
        pictures=[(caption, _inline(data)) for caption, data in pictures.items()],
        areas=[
            ((name, f"{area:.1f}"), "")
            for name, area in sorted(report.areas.items(), key=lambda item: -item[1])
        ],
        ablation=_ablation(report),
        fewest_trials=FEWEST_TRIALS,
        cost=[((key, str(value)), "") for key, value in _cost(report.record).items()],
        json=json.dumps(report.to_dict(), ensure_ascii=False, indent=1),
    )


def _inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _ablation(report: Report) -> list[Line]:
    lines: list[Line] = []
    for what, row, reason in report.ablation:
        if row is None:
            lines.append(((what, "–", "–", reason, ""), ""))
            continue
        low, high = (100 * bound for bound in row.against.interval)
        change = f"{100 * row.against.difference:+.1f} ({low:+.1f} to {high:+.1f})"
        cells = (what, f"{100 * row.score.accuracy:.1f} %", f"{row.score.forward_passes:.1f}", change)
        lines.append(((*cells, f"{row.against.p_value:.2g}"), ""))
    return lines


def _cost(record: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("trials", "forward_passes_spent", "seconds_spent", "device", "seed", "study")
    known = {"seed": record.get("settings", {}).get("seed"), **record}
    return {key.replace("_", " "): known[key] for key in wanted if known.get(key) is not None}

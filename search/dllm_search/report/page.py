"""The report as one self-contained HTML page: verdict, tables, pictures, ablation, importances, cost, run record.

Knows the report's data and HTML; leaves measuring to the search and drawing to `picture`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dllm_search.report.report import Report, Row

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:1060px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #d8dee6;padding-bottom:.2rem}
.verdict{background:#f2f6fb;border-left:4px solid #2f6fb0;padding:.6rem 1rem;margin:1rem 0}
.thin{background:#fdf5ea;border-left-color:#c8842e}
table{border-collapse:collapse;width:100%;font-size:13px}th,td{padding:.25rem .5rem;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal}tr:nth-child(even){background:#f7f9fb}
tr.chosen{font-weight:600;background:#fdeeea}th{border-bottom:2px solid #c6ced8}
img{max-width:100%}pre{background:#f7f9fb;padding:.8rem;overflow:auto;font-size:12.5px}
.bar{display:inline-block;height:.7em;background:#2f6fb0;vertical-align:middle}
"""


def page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the page as HTML that needs nothing beside it.

    Args:
        report: What was found.
        pictures: PNG files by the caption they get.
    """
    rows = report.rows
    title = f"Search on {report.task}"
    thin = any("too thin" in sentence or "are few" in sentence for sentence in report.evidence)
    verdict = "".join(f"<p>{escape(sentence)}</p>" for sentence in report.evidence)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="verdict{" thin" if thin else ""}">{verdict}</div>',
        "<h2>On the test split</h2>",
        f"<p>{rows[0].score.n} examples that the search never saw. Differences are in points against the first row, on "
        "the same examples, with 95 % intervals; p is McNemar's exact test.</p>",
        _results(rows),
        *(_figure(caption, data) for caption, data in pictures.items()),
    ]
    if report.areas:
        parts += ["<h2>Accuracy under parallelism</h2>", _areas(report.areas)]
    if report.ablation:
        parts += [
            "<h2>What each part contributes</h2>",
            "<p>The chosen strategy with one part set back to the baseline's, on the same test examples; differences "
            "are against the chosen strategy.</p>",
            _ablation(report.ablation),
        ]
    if report.importances:
        parts += [
            "<h2>Which choices decide</h2>",
            "<p>Shares of 1 by PED-ANOVA: what tells the best tenth of the trials from the rest.</p>",
            *(_importances(name, shares) for name, shares in report.importances.items()),
        ]
    parts += [
        "<h2>What the search cost</h2>",
        _pairs(_cost(report.record)),
        "<h2>The chosen strategy</h2>",
        f"<pre>{escape(report.strategy_yaml())}</pre>",
        "<h2>Run record</h2>",
        f"<details><summary>Everything, as JSON</summary><pre>{escape(_json(report))}</pre></details>",
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _results(rows: Sequence[Row]) -> str:
    from dllm_search.report.report import COLUMNS

    lines = [(row.cells(), "chosen" if row.role == "chosen" else "") for row in rows]
    return _table(COLUMNS, lines)


def _ablation(found: Sequence[tuple[str, Row | None, str]]) -> str:
    columns = ("set back", "accuracy", "forwards", "difference", "McNemar p")
    lines = []
    for what, row, reason in found:
        if row is None:
            lines.append(((what, "–", "–", reason, ""), ""))
            continue
        low, high = (100 * bound for bound in row.against.interval)
        change = f"{100 * row.against.difference:+.1f} ({low:+.1f} to {high:+.1f})"
        cells = (what, f"{100 * row.score.accuracy:.1f} %", f"{row.score.forward_passes:.1f}", change)
        lines.append(((*cells, f"{row.against.p_value:.2g}"), ""))
    return _table(columns, lines)


def _areas(areas: Mapping[str, float]) -> str:
    ordered = sorted(areas.items(), key=lambda item: -item[1])
    note = "<p>On the tuning examples: tokens per forward against accuracy, d3LLM's AUP; larger is better.</p>"
    return note + _table(("points", "AUP"), [((name, f"{area:.1f}"), "") for name, area in ordered])


def _importances(name: str, shares: Mapping[str, float]) -> str:
    lines = [
        f"<tr><td>{escape(parameter)}</td><td>{share:.2f}</td>"
        f'<td style="text-align:left"><span class="bar" style="width:{round(240 * share)}px"></span></td></tr>'
        for parameter, share in shares.items()
    ]
    return f"<h3>{escape(name)}</h3><table>{''.join(lines)}</table>"


def _figure(caption: str, data: bytes) -> str:
    source = base64.b64encode(data).decode("ascii")
    alt = escape(caption, quote=True)
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{source}"><figcaption>{alt}</figcaption></figure>'


def _cost(record: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("trials", "forward_passes_spent", "seconds_spent", "device", "seed", "study")
    known = {"seed": record.get("settings", {}).get("seed"), **record}
    return {key.replace("_", " "): known[key] for key in wanted if known.get(key) is not None}


def _pairs(values: Mapping[str, Any]) -> str:
    return _table(("", ""), [((key, f"{value}"), "") for key, value in values.items()])


def _table(columns: Sequence[str], lines: Iterable[tuple[Sequence[str], str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells, kind in lines
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _json(report: Report) -> str:
    return json.dumps(report.to_dict(), ensure_ascii=False, indent=1)

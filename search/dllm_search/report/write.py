"""Writes what a search came to into a folder: table, JSON, YAML, page, and pictures where matplotlib is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from dllm_decode.files import write_atomically
from dllm_search.report.page import page
from dllm_search.report.report import Report


def write_report(report: Report, folder: Path) -> str:
    """Write table.md, report.json, strategy.yaml, report.html, front.png and front-test.png.

    Returns:
        What is to be said of it: "" or that the pictures are missing, and the way to them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.md", report.markdown())
    write_atomically(
        folder / "report.json", json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n"
    )
    write_atomically(folder / "strategy.yaml", report.strategy_yaml())
    pictures, said = {}, "no pictures: matplotlib is not installed; pip install 'dllm-decode[search]'"
    if find_spec("matplotlib") is not None:
        from dllm_search.report.figures import draw_front, draw_test

        draw_front(report, folder / "front.png")
        draw_test(report, folder / "front-test.png")
        captions = {
            f"{report.rows[0].score.n} examples of the test split, with 95 % intervals": "front-test.png",
            "Everything tried, on the tuning examples": "front.png",
        }
        pictures, said = {caption: (folder / name).read_bytes() for caption, name in captions.items()}, ""
    write_atomically(folder / "report.html", page(report, pictures))
    return said

"""What a run has found so far: a JSON file that is complete in itself after every row, and lines on the screen.

Knows rows and targets; what they mean is the business of the parts that measure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.lib.clock import Budget, rounded
from dllm_decode.files import write_atomically


class Record:
    """A JSON object that grows, written anew with every row, so that a run that is cut off leaves what it has."""

    def __init__(self, path: Path, header: dict[str, Any], budget: Budget) -> None:
        """Start with what is known before anything is measured."""
        self.path, self.budget = path, budget
        self.content: dict[str, Any] = {**header, "complete": False, "targets": []}
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write()

    def put(self, section: str, value: Any) -> None:
        """Set a section of its own."""
        self.content[section] = value
        self.write()

    def add(self, section: str, row: dict[str, Any]) -> None:
        """Append a row to a section, and show it."""
        self.content.setdefault(section, []).append(row)
        self.write()
        shown = ", ".join(f"{name} {value}" for name, value in row.items() if not isinstance(value, dict))
        print(f"[{self.budget.used:5.0f} s] {section}: {shown}", flush=True)

    def skip(self, section: str, row: dict[str, Any], reason: str) -> None:
        """Append a row that was not measured; its numbers are absent, never guessed."""
        self.add(section, {**row, "skipped": reason})

    def target(
        self, what: str, value: float, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Say whether a measured value meets its target."""
        met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        bound = f"at most {at_most}" if at_most is not None else f"at least {at_least}"
        self.content["targets"].append({"what": what, "target": bound, "value": rounded(value), "met": met})
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.content["seconds"] = round(self.budget.used, 1)
        write_atomically(self.path, json.dumps(self.content, indent=2) + "\n")

    def show_targets(self) -> None:
        """Print every target that was measured."""
        for each in self.content["targets"]:
            verdict = "met" if each["met"] else "NOT met"
            print(f"{each['what']:<64}{each['target']:>22}{each['value']:>14.6g}  {verdict}")

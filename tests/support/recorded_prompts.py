"""Recorded prompts, and ours for the same rows with the same worked examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

from dllm_decode.tasks.published import Row, Shape, Shot, shape
from dllm_decode.tasks.published.options import ordered
from dllm_decode.tasks.published.shots import digest
from tests.support.recorded import read

_NAMES = {
    "ARC-c": "arc-challenge",
    "gpqa_gen": "gpqa-gen",
    "minerva_math_algebra": "minerva_math",
    "mmlu_pro_physics": "mmlu_pro",
    "mmlu_pro_math": "mmlu_pro",
}
_FIVE = re.compile(r"(Question: (?:.(?!\nQuestion:\n))*?)\n(The correct answer is \([A-D]\))\n\n", re.DOTALL)


def prompts(folder: Path) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yields for each record its name, what was recorded, and what we may give: one prompt, or one an option order."""
    records = [json.loads(line) for line in (folder / "messages.jsonl").read_text("utf-8").splitlines()]
    for record in records:
        opencompass = record["shape"] == "opencompass"
        task = record["task"]
        name = "mmlu-pro" if opencompass and task == "mmlu_pro" else _NAMES.get(task, task)
        found = shape(name, record["shape"])
        shots = _shots(record, records, found)
        label = f"{record['shape']} {task} {record.get('mode', '')}".strip()
        if found.examples and found.examples.digest and record["example"].get("row", 0) == 0:
            # Then the recorded examples are those whose digest the shape knows, not any.
            assert digest(shots) == found.examples.digest, label
        rows = _rows(record["example"], folder.parent / "data")
        yield label, record.get("messages", record.get("prompt")), [_ours(found, record, row, shots) for row in rows]


def _ours(found: Shape, record: Mapping[str, Any], row: Row, shots: Sequence[Shot]) -> Any:
    mode = record.get("mode", "chat, few shots as turns")
    asked = {
        "plain": found.prompt,
        "chat, few shots in one turn": found.one_turn,
        "chat, few shots as turns": found.messages,
    }[mode]
    assert asked is not None
    return asked(row, shots)


def _shots(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]], found: Shape) -> list[Shot]:
    """Returns the worked examples of a record, for all three forms out of the one that has them as turns."""
    if "validation" in record["example"]:
        assert found.examples is not None and found.examples.shot is not None
        return [found.examples.shot(row) for row in record["example"]["validation"]]
    same = (other for other in records if other["task"] == record["task"] and other["example"] == record["example"])
    turns = next(
        other for other in same if other["shape"] == record["shape"] and "turns" in other.get("mode", "turns")
    )["messages"]
    if record["task"] == "gpqa" and record["shape"] == "opencompass":
        return [Shot(user, assistant) for user, assistant in _FIVE.findall(turns[0]["content"])]
    pairs = [
        Shot(before["content"], after["content"])
        for before, after in pairwise(turns)
        if (before["role"], after["role"]) == ("user", "assistant")
    ]
    return pairs[: found.examples.count if found.examples else 0]


def _rows(example: Mapping[str, Any], data: Path) -> list[Row]:
    """Returns the row that was asked, or one for each order its options may have had."""
    if "file" in example:
        return [read(data / example["file"])[example["row"]]]
    inline = example["inline"]
    if "shuffled" in example:
        return [{"question": inline["Question"], **example["shuffled"]}]
    if "Correct" in inline:
        wrong = {f"Incorrect Answer {number}": text for number, text in enumerate(inline["Inc"], 1)}
        row = {"Question": inline["Question"], "Correct Answer": inline["Correct"], **wrong}
        return [ordered(row, order) for order in permutations(range(4))]
    return [inline]

"""Local tasks of lm-evaluation-harness, made of the drawn arithmetic task: GSM8K's form, questions that "tiny" can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dllm_decode.plugins.registry import load_registry

Row = dict[str, Any]


def arithmetic_rows(split: str, count: int) -> list[Row]:
    """Return rows with GSM8K's columns; answers end in "#### N"."""
    examples = load_registry().task("arithmetic").examples(split, count)
    return [{"question": example.prompt, "answer": example.reference} for example in examples]


def write_task(folder: Path, name: str, rows: list[Row], train: list[Row] | None = None, **changes: Any) -> Path:
    """Write a task with GSM8K's filters and metric over rows of one's own; return the folder for `--include-path`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"test": folder / f"{name}.jsonl"} | ({"train": folder / f"{name}-train.jsonl"} if train else {})
    for part, lines in (("test", rows), ("train", train)):
        if lines:
            files[part].write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {part: str(file) for part, file in files.items()}},
        "output_type": "generate_until",
        **({"training_split": "train", "fewshot_split": "train"} if train else {}),
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
            }
        ],
        "generation_kwargs": {"until": ["Question:"], "max_gen_toks": 48, "do_sample": False},
        "num_fewshot": 0,
        "filter_list": [
            {
                "name": "strict-match",
                "filter": [
                    {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"},
                    {"function": "take_first"},
                ],
            },
            {
                "name": "flexible-extract",
                "filter": [
                    {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
                    {"function": "take_first"},
                ],
            },
        ],
        "metadata": {"version": 1.0},
    } | changes
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder

"""How far cached and uncached runs of one schedule agree: `python -m benchmarks.quality.agreement [--limit N] [--json FILE]`.

For every task, schedule and cache policy: equal tokens and rows, the accuracy of both runs, and what both compute.
Results of other tasks, schedules and caches that were measured in the same setting are kept, so it runs in pieces.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dllm_decode import DiffusionLM, Strategy, load_registry
from dllm_decode.commands.options import load_model
from dllm_decode.errors import DecodeError
from dllm_decode.evaluate.agreement import Work, compare, measured
from dllm_decode.evaluate.evaluate import fast_dtype, fit
from dllm_decode.evaluate.record import device_name, versions
from dllm_decode.files import write_atomically
from dllm_decode.programs import permitted
from dllm_decode.tasks import TASKS
from dllm_decode.tasks.base import Example, Task

RESULTS = Path(__file__).parents[1] / "results" / "agreement.json"
BLOCK = 8
SCHEDULES: dict[str, dict[str, Any]] = {
    "llada": {"block": {"name": "fixed", "length": BLOCK}},
    "said-block": {"block.length": BLOCK, "steps": None},
    "fast-dllm": {"block.length": BLOCK},
    "multi-block": {"block.length": BLOCK},
}
CACHES: dict[str, Any] = {
    "prefix": "prefix",
    "dual": "dual",
    "dual refresh 4": {"name": "dual", "refresh": 4},
    "dual refresh 2": {"name": "dual", "refresh": 2},
    "delayed 1": {"name": "delayed", "delay": 1},
    "delayed 2": {"name": "delayed", "delay": 2},
}


def schedule(name: str, gen_length: int) -> Strategy:
    """Return a recipe in blocks that are shorter than the tasks' answers, at two tokens a step for block-wise SAID."""
    changes = {"gen_length": gen_length, **SCHEDULES[name]}
    if name == "said-block":
        changes["steps"] = max(gen_length // 2, 1)
    return fit(Strategy.load(name).override(changes), gen_length)[0]


def measure(
    lm: DiffusionLM, task: Task, names: Sequence[str], caches: Sequence[str], limit: int, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Yield the result of every schedule and cache on a task's test split."""
    examples = sorted(enumerate(task.examples("test", limit)), key=lambda e: (len(e[1].prompt), e[0]))
    rows = [row for row, _ in examples]
    prompts = [example.prompt for _, example in examples]
    for name in names:
        strategy = schedule(name, task.gen_length)
        options: dict[str, Any] = {"batch_size": batch_size, "row_ids": rows}
        uncached = measured(lm, prompts, strategy, **options)
        plain = score(task, [example for _, example in examples], uncached)
        for cache in caches:
            cached = measured(lm, prompts, strategy.override({"cache": CACHES[cache]}), **options)
            with_cache = score(task, [example for _, example in examples], cached)
            yield {
                "task": task.name,
                "schedule": name,
                "cache": cache,
                "strategy_digest": cached.generation.strategy.digest(),
                **compare(uncached, cached, lm.special).to_dict(),
                **with_cache,
                **{f"{key}_uncached": value for key, value in plain.items()},
            }


def score(task: Task, examples: Sequence[Example], work: Work) -> dict[str, float]:
    """Return a run's accuracy, its mean of forward passes and its seconds."""
    with permitted():
        correct = task.score_many(list(zip(examples, work.generation.texts, strict=True)))
    return {
        "accuracy": sum(correct) / len(examples),
        "forward_passes": float(work.generation.forward_passes.double().mean()),
        "seconds": round(work.generation.seconds, 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return an exit code."""
    registry = load_registry()
    known = registry.names("recipe")
    names = [name for name in SCHEDULES if name in known]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.agreement", description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=200, help="examples of each task's test split")
    parser.add_argument("--tasks", nargs="+", default=[task.name for task in TASKS], metavar="TASK")
    parser.add_argument("--schedules", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument("--caches", nargs="+", default=list(CACHES), choices=list(CACHES), metavar="CACHE")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    given = parser.parse_args(arguments)
    try:
        lm = load_model(given.model, None, fast_dtype(None) if given.model == "tiny" else None)
        setting = {
            "model": lm.name,
            "model_fingerprint": lm.fingerprint,
            "dtype": str(lm.dtype).removeprefix("torch."),
            "device": device_name(lm.device),
            "limit": given.limit,
            "batch_size": given.batch_size,
            "block_length": BLOCK,
            "versions": versions(),
        }
        cells = kept(given.json, setting)
        for task in given.tasks:
            for cell in measure(
                lm, registry.task(task), given.schedules, given.caches, given.limit, given.batch_size
            ):
                cells[cell["task"], cell["schedule"], cell["cache"]] = cell
                save(given.json, setting, cells)
                sys.stderr.write(line(cell) + "\n")
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


Cells = dict[tuple[str, str, str], dict[str, Any]]


def kept(file: Path, setting: dict[str, Any]) -> Cells:
    """Return the cells of an earlier run in the same setting."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if {key: data.get(key) for key in setting} != setting:
        return {}
    return {(cell["task"], cell["schedule"], cell["cache"]): cell for cell in data["cells"]}


def save(file: Path, setting: dict[str, Any], cells: Cells) -> None:
    """Write the setting, the date and every cell."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(
        file, json.dumps({**setting, "date": date, "cells": list(cells.values())}, indent=1) + "\n"
    )


def line(cell: dict[str, Any]) -> str:
    """Return a cell in one line."""
    return (
        f"{cell['task']:<11} {cell['schedule']:<12} {cell['cache']:<15} tokens {cell['equal_tokens']:6.1%} "
        f"(answer {cell['equal_answer_tokens']:6.1%}) rows {cell['equal_rows']:6.1%}  accuracy "
        f"{cell['accuracy']:6.1%} / {cell['accuracy_uncached']:6.1%}  calls {cell['model_calls']} / "
        f"{cell['model_calls_uncached']}  columns {cell['columns_per_forward']:5.1f} / "
        f"{cell['columns_per_forward_uncached']:5.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())

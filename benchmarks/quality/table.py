"""Evaluate every task with the reference strategies and write the table of results into the README.

Outcomes are kept, so an interrupted run goes on where it stopped and a second run only prints.

    python -m benchmarks.quality.table [--limit 500] [--tasks line,square] [--strategies llada,said,fast-dllm]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dllm_decode.commands.options import load_model
from dllm_decode.errors import DecodeError
from dllm_decode.evaluate import evaluate as evaluation
from dllm_decode.evaluate.record import RunRecord
from dllm_decode.files import write_atomically
from dllm_decode.tasks import TASKS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "table.json"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
STRATEGIES = ("llada", "said", "fast-dllm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.table", description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--limit", type=int, default=500, help="examples of the test split")
    parser.add_argument("--tasks", help="comma-separated; all of them if not given")
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="comma-separated recipe names")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    try:
        records = measure(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        cells = [record.to_dict() for by_strategy in records.values() for record in by_strategy.values()]
        write_atomically(options.out, json.dumps({"cells": cells}, indent=1, ensure_ascii=False) + "\n")
        insert(options.readme, render(records))
    except DecodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def measure(options: argparse.Namespace) -> dict[str, dict[str, RunRecord]]:
    """Return the record of every task and strategy, by task and strategy name."""
    tasks = options.tasks.split(",") if options.tasks else [task.name for task in TASKS]
    dtype = evaluation.fast_dtype(None) if options.model == "tiny" else None
    lm = load_model(options.model, None, dtype)
    records: dict[str, dict[str, RunRecord]] = {}
    for task in tasks:
        for strategy in options.strategies.split(","):
            done = evaluation.evaluate(
                lm,
                task,
                strategy,
                limit=options.limit,
                batch_size=options.batch_size,
                seed=options.seed,
                run_programs=True,
            )
            record = records.setdefault(task, {})[strategy] = done.record
            sys.stderr.write(
                f"{task:<11} {strategy:<10} {record.accuracy:6.1%} {record.forward_passes:6.2f} forwards "
                f"{record.tokens_per_forward:5.2f} tokens/forward {record.seconds:6.1f} s\n"
            )
    return records


def render(records: Mapping[str, Mapping[str, RunRecord]]) -> str:
    """Return the table as Markdown: a row a task, a column a strategy."""
    one = next(iter(next(iter(records.values())).values()))
    strategies = list(next(iter(records.values())))
    lines = [
        "| task | answer, tokens | " + " | ".join(f"`{name}`" for name in strategies) + " |",
        "|---|---|" + "---|" * len(strategies),
    ]
    for task, by_strategy in records.items():
        length = next(iter(by_strategy.values())).strategy.gen_length
        lines.append(
            f"| {task} | {length} | " + " | ".join(_cell(by_strategy[name]) for name in strategies) + " |"
        )
    versions = ", ".join(f"{name} {version}" for name, version in one.versions.items())
    shown = strategies[1 if len(strategies) > 1 else 0]
    lines += [
        "",
        "A cell: **accuracy** (95 % Wilson interval), forward passes an answer, tokens up to EOS per forward (t/f). "
        f"Model `{one.model}`, the first {one.n} examples of each task's `{one.split}` split, {one.dtype}, "
        f"{one.device_name}; {versions}; {one.date[:10]}.",
        "",
        f"One cell: `dllm-decode eval --task {next(iter(records))} --strategy {shown} --limit {one.n}`. "
        "All of it: `python -m benchmarks.quality.table`.",
    ]
    return "\n".join(lines)


def insert(readme: Path, table: str) -> None:
    """Replace what stands between the markers.

    Raises:
        DecodeError: The README cannot be read or has no markers.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise DecodeError(f"{readme} cannot be read: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DecodeError(f"{readme} has no lines {BEGIN} and {END} to put the table between")
    write_atomically(readme, f"{before}{BEGIN}\n{table}\n{END}{after}")


def _cell(record: RunRecord) -> str:
    low, high = (100 * bound for bound in record.accuracy_interval)
    return (
        f"**{record.accuracy:.1%}** ({low:.1f} to {high:.1f})<br>{record.forward_passes:.1f} forwards, "
        f"{record.tokens_per_forward:.2f} t/f"
    )


if __name__ == "__main__":
    sys.exit(main())

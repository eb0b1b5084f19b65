"""Measures a finished model: ``python -m training.report``. Numbers, the card's table and its picture.

Every number is one `dllm-decode eval`; its command stands beside it in the results. Outcomes are kept, so a run that
was stopped goes on where it was. Knows what is asked of the model; decoding and scoring are the package's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dllm_decode import DiffusionLM
from dllm_decode.evaluate.evaluate import evaluate, fast_dtype
from dllm_decode.evaluate.record import RunRecord, device_name, versions
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS, Task

HERE = Path(__file__).parent
CARD = HERE.parent / "dllm_decode" / "tiny"
BEGIN, END = "<!-- accuracy:begin -->", "<!-- accuracy:end -->"
DIVISORS = (1, 2, 4, 8)
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def blocks_of(length: int) -> list[int]:
    """Returns the block lengths tried: the whole answer, half, a quarter, and eight tokens."""
    return sorted({length, length // 2, length // 4, 8} & set(range(1, length + 1)), reverse=True)


def in_blocks(recipe: str, block: int, length: int, **changes: Any) -> tuple[Strategy, str]:
    """Returns a recipe in blocks of `block` tokens, and the options of `dllm-decode` that give the same."""
    policy: Any = "whole" if block == length else {"name": "fixed", "length": block}
    strategy = Strategy.load(recipe).override({"block": policy, "gen_length": length, **changes})
    options = ["--set block=whole" if block == length else f"--set block=fixed --set block.length={block}"]
    for path, value in changes.items():
        options.append(f"--steps {value}" if path == "steps" else f"--set {path}={value}")
    return strategy, f"--strategy {recipe} {' '.join(options)}"


def measure(lm: DiffusionLM, task: Task, tune: int, test: int) -> dict[str, Any]:
    """Returns a task's best block length and the points of its two curves."""
    length = task.gen_length
    tuned = {
        block: _run(lm, task, in_blocks("llada", block, length)[0], "tune", tune).accuracy
        for block in blocks_of(length)
    }
    best = max(tuned, key=lambda block: (tuned[block], block))

    def point(recipe: str, **changes: Any) -> dict[str, Any]:
        strategy, options = in_blocks(recipe, best, length, **changes)
        record = _run(lm, task, strategy, "test", test)
        low, high = record.accuracy_interval
        leave = " --run-programs" if getattr(task, "runs_programs", False) else ""
        return {
            **{path.rpartition(".")[2]: value for path, value in changes.items()},
            "forwards": round(record.forward_passes, 3),
            "accuracy": record.accuracy,
            "low": round(low, 4),
            "high": round(high, 4),
            "command": f"dllm-decode eval --task {task.name}{leave} {options} --limit {test}",
        }

    budgets = dict.fromkeys(max(length // divisor, length // best) for divisor in DIVISORS)
    return {
        "task": task.name,
        "gen_length": length,
        "block": best,
        "tune": tuned,
        "llada": [point("llada", steps=steps) for steps in budgets],
        "threshold": [point("fast-dllm", **{"scheduler.threshold": value}) for value in reversed(THRESHOLDS)],
    }


def _run(lm: DiffusionLM, task: Task, strategy: Strategy, split: str, limit: int) -> RunRecord:
    record = evaluate(lm, task, strategy, split=split, limit=limit, run_programs=True).record
    sys.stderr.write(f"{task.name:<11} {split:<5} {record.forward_passes:6.2f} forwards {record.accuracy:6.1%}\n")
    return record


def table(records: list[dict[str, Any]]) -> str:
    """Returns the card's table: LLaDA's rule at T, T/2, T/4 and T/8 steps, and the threshold at 0.9."""
    lines = ["| task | T | block | T steps | T/2 | T/4 | T/8 | threshold 0.9 |", "|---|---|---|---|---|---|---|---|"]
    for record in records:
        counted = {point["steps"]: point for point in record["llada"]}
        length = record["gen_length"]
        steps = [max(length // divisor, length // record["block"]) for divisor in DIVISORS]
        cells = [_cell(counted[count]) for count in steps]
        swept = next(point for point in record["threshold"] if point["threshold"] == 0.9)
        cells.append(f"{_cell(swept)} at {swept['forwards']:.1f}")
        lines.append(f"| {record['task']} | {length} | {record['block']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(point: dict[str, Any]) -> str:
    return f"{100 * point['accuracy']:.1f} ({100 * point['low']:.0f} to {100 * point['high']:.0f})"


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Draws every task's accuracy against forward passes, for LLaDA's rule and for the threshold."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, record in zip(figure.subplots(2, 3, sharey=True).flat, records, strict=False):
        for rule, name, color in (("llada", "LLaDA's rule", "#2f6fb0"), ("threshold", "threshold", "#c8442e")):
            points = sorted(record[rule], key=lambda point: float(point["forwards"]))
            values = [[100 * point[key] for point in points] for key in ("accuracy", "low", "high")]
            forwards = [point["forwards"] for point in points]
            axes.plot(forwards, values[0], marker="o", markersize=4, color=color, label=name)
            axes.fill_between(forwards, values[1], values[2], color=color, alpha=0.15, linewidth=0)
        axes.set_title(f"{record['task']} ({record['gen_length']} tokens, blocks of {record['block']})", fontsize=9)
        axes.set(xscale="log", ylim=(0, 102))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", which="minor", labelsize=6)
        axes.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=8, loc="lower right")
    figure.supxlabel("forward passes per answer", fontsize=9)
    figure.supylabel("accuracy, %", fontsize=9)
    figure.savefig(path)


def main() -> None:
    """Measures, writes the numbers, and puts table and picture into the card."""
    parser = argparse.ArgumentParser(description="Measure the embedded model at several speeds.")
    parser.add_argument("--model", default="tiny", help="tiny, or a checkpoint folder")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="JSON file to write")
    parser.add_argument("--card", type=Path, default=CARD, help="folder of the card and its picture")
    parser.add_argument("--tune", type=int, default=200, help="examples to choose the block length on")
    parser.add_argument("--test", type=int, default=500, help="examples to report on")
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS))
    arguments = parser.parse_args()
    lm = DiffusionLM.from_pretrained(arguments.model, dtype=fast_dtype(None))
    records = []
    for task in TASKS:
        if task.name in arguments.tasks.split(","):
            records.append(measure(lm, task(), arguments.tune, arguments.test))
    stamp = {"versions": versions(), "device": device_name(lm.device), "dtype": str(lm.dtype).removeprefix("torch.")}
    arguments.out.write_text(json.dumps({**stamp, "tasks": records}, indent=1) + "\n")
    draw(records, arguments.card / "curves.png")
    card = arguments.card / "README.md"
    text = card.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    card.write_text(f"{head}{BEGIN}\n{table(records)}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How many rows come out differently in a batch than alone: `python -m benchmarks.speed.padding [--json FILE]`.

In float64 none may (the tests hold that). In float32 and bfloat16 padding and batch size move logits by rounding,
and a near tie may then fall the other way; this says how often on the embedded model.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import dllm_decode
from dllm_decode import DiffusionLM
from dllm_decode.files import write_atomically
from dllm_decode.tasks import TASKS

RESULTS = Path(__file__).parents[1] / "results" / "padding.json"
STRATEGIES: dict[str, dict[str, Any]] = {"llada": {"steps": 16}, "said": {"steps": 8}, "fast-dllm": {}}
GEN_LENGTH, BATCH = 32, 16


def prompts_of(count: int) -> list[str]:
    """Return prompts of all tasks in turn, so that the rows of a batch have unequal lengths."""
    tasks = [task() for task in sorted(TASKS, key=lambda task: task.name)]
    share = -(-count // len(tasks))
    examples = [task.examples("test", share) for task in tasks]
    return [example.prompt for row in zip(*examples, strict=True) for example in row][:count]


def measure(dtype: str, prompts: list[str]) -> list[dict[str, Any]]:
    """Decode the prompts alone and in batches; count the rows that differ."""
    lm = DiffusionLM.from_pretrained("tiny", dtype=dtype)
    results = []
    for name, options in STRATEGIES.items():
        alone, together = (
            lm.generate(prompts, name, gen_length=GEN_LENGTH, batch_size=size, **options)
            for size in (1, BATCH)
        )
        differ = (alone.tokens != together.tokens).any(1)
        costs = alone.forward_passes != together.forward_passes
        results.append(
            {
                "strategy": name,
                "dtype": dtype,
                "rows": len(prompts),
                "rows_that_differ": int(differ.sum()),
                "forward_passes_that_differ": int(costs.sum()),
            }
        )
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.padding", description="Rows that differ in a batch.")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32", "bfloat16"])
    given = parser.parse_args(arguments)
    prompts = prompts_of(given.rows)
    results = [row for dtype in given.dtypes for row in measure(dtype, prompts)]
    summary = {
        "results": results,
        "batch": BATCH,
        "gen_length": GEN_LENGTH,
        "versions": {"dllm_decode": dllm_decode.__version__, "torch": torch.__version__},
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.json, json.dumps(summary, indent=2) + "\n")
    for row in results:
        print(
            f"{row['strategy']:<10}{row['dtype']:<10}{row['rows_that_differ']:>4} of {row['rows']} rows differ"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

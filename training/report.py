"""Measures a finished model: ``python -m training.report --model DIR --out FILE``.

For every task: LLaDA's rule at one step a token and in a half, a quarter and an eighth of the steps, on fresh
test examples, each at the block length that was best at one step a token on tune examples.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from dllm_decode.statistics import wilson_interval
from dllm_decode.tasks import TASKS, Task
from training.evaluate import outcomes
from training.export import load
from training.model import BidirectionalLlama

DIVISORS = (1, 2, 4, 8)


def measure(
    model: BidirectionalLlama, tokenizer: Tokenizer, task: Task, tune: int, test: int
) -> dict[str, Any]:
    """Returns a task's best block length and its accuracy at every number of steps."""
    length = task.gen_length
    by_block = {}
    for block in (length, length // 2, length // 4):
        results = outcomes(model, tokenizer, task, task.examples("tune", tune), block=block)
        by_block[block] = sum(right for *_, right in results) / tune
    best = max(by_block, key=lambda block: (by_block[block], block))
    record: dict[str, Any] = {
        "task": task.name,
        "gen_length": length,
        "block": best,
        "tune": by_block,
        "test": {},
    }
    for steps in dict.fromkeys(max(length // divisor, length // best) for divisor in DIVISORS):
        results = outcomes(model, tokenizer, task, task.examples("test", test), steps=steps, block=best)
        right = sum(each for *_, each in results)
        low, high = wilson_interval(right, test)
        record["test"][steps] = {"accuracy": right / test, "low": round(low, 4), "high": round(high, 4)}
    return record


def main() -> None:
    """Prints one line a task and writes all of it as JSON."""
    parser = argparse.ArgumentParser(description="Measure the embedded model with LLaDA's rule.")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--tune", type=int, default=200, help="examples to choose the block length on")
    parser.add_argument("--test", type=int, default=500, help="examples to report on")
    parser.add_argument("--tasks", default=",".join(task.name for task in TASKS))
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.model), Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    records = []
    for task in TASKS:
        if task.name in arguments.tasks.split(","):
            began = time.monotonic()
            with torch.inference_mode():
                record = measure(model, tokenizer, task(), arguments.tune, arguments.test)
            record["seconds"] = round(time.monotonic() - began, 1)
            records.append(record)
            print(json.dumps(record), flush=True)
    arguments.out.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()

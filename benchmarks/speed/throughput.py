"""How long 500 prompts of mixed lengths take: `python -m benchmarks.speed.throughput [--json FILE]`.

An adaptive schedule ends rows at different times. Times `evaluate`, which keeps its batches full, against plain batches
of the same size in the order of the prompts, as evaluation scripts are written, and, with `--by-length`, against plain
batches of prompts sorted by length; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.measuring import seconds, setting
from dllm_decode import DiffusionLM, Strategy
from dllm_decode.data.canvas import Canvas
from dllm_decode.decoding.decoded import decode
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.generation.answers import answer_texts
from dllm_decode.plugins.registry import load_registry
from dllm_decode.programs import permitted
from dllm_decode.tasks.base import Example, Task

RESULTS = Path(__file__).parents[1] / "results" / "throughput.json"
TASKS = ("countdown", "code")
SHOTS = 5  # a prompt has 0 to 4 solved examples before its question
STRATEGY, BLOCK_LENGTH = "fast-dllm", 16
TARGET = 1.5


class FewShots(Task):
    """Another task's examples behind 0, 1, ... `SHOTS` - 1 solved ones, by turns: prompts of mixed lengths."""

    name, description = "few-shots", "A task's examples behind solved ones."

    def __init__(self, task: Task, examples: int) -> None:
        """Take the task and how many examples to make."""
        self.task, self.gen_length = task, task.gen_length  # type: ignore[misc]
        solved = task.examples("tune", SHOTS)
        self.made = []
        for number, example in enumerate(task.examples("test", examples)):
            shown = [f"{each.prompt} {each.reference}\n" for each in solved[: number % SHOTS]]
            self.made.append(
                Example(example.id, "".join(shown) + example.prompt, example.reference, example.meta)
            )

    def score(self, example: Example, text: str) -> bool | float:
        """Judge as the task does."""
        return self.task.score(example, text)

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> list[bool]:
        """Judge as the task does."""
        return self.task.score_many(pairs)

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Return what was made, whatever the split."""
        return self.made[:limit]


def plain_batches(lm: DiffusionLM, prompts: Sequence[str], strategy: Strategy, size: int) -> Iterator[Tensor]:
    """Yield the (B, gen_length) int64 answers of one batch after another; every forward runs all of its rows."""
    assert lm.tokenizer is not None
    for start in range(0, len(prompts), size):
        rows = [lm.tokenizer.encode(prompt) for prompt in prompts[start : start + size]]
        width = max(map(len, rows))
        padding = [[lm.special.mask] * (width - len(row)) + list(row) for row in rows]
        region = torch.full((len(rows), strategy.gen_length), lm.special.mask)
        tokens = torch.cat([torch.tensor(padding), region], dim=1)
        columns = torch.arange(tokens.shape[1])
        first = torch.tensor([width - len(row) for row in rows])
        undecided = (columns >= width).expand(len(rows), -1).clone()
        valid = columns >= first[:, None]
        canvas = Canvas(
            tokens, undecided, valid, width, lm.special.mask, padded=not bool(valid.all()), uniform=True
        )
        yield decode(lm.denoiser, canvas, strategy, drop_at=-1.0).canvas.tokens[:, width:]


def measure(
    lm: DiffusionLM, name: str, examples: int, size: int, repeats: int, by_length: bool = False
) -> dict[str, Any]:
    """Evaluate a task's few-shot prompts in full batches and in plain ones, in turn; return times and their ratio."""
    task = FewShots(load_registry().task(name), examples)
    if by_length:
        task.made.sort(key=lambda example: len(example.prompt))
    strategy = Strategy.load(STRATEGY).override(
        {"block.length": min(BLOCK_LENGTH, task.gen_length), "gen_length": task.gen_length}
    )
    prompts = [example.prompt for example in task.made]
    taken: dict[str, list[float]] = {"full": [], "plain": []}
    found: dict[str, Any] = {}

    def full() -> None:
        found["full"] = evaluate(lm, task, strategy, limit=examples, batch_size=size, cache=False, run_programs=True)

    def plain() -> None:
        answers = list(plain_batches(lm, prompts, strategy, size))
        texts = [text for part in answers for text in answer_texts(lm.tokenizer, part, lm.special)]
        with permitted():
            found["right"] = task.score_many(list(zip(task.made, texts, strict=True)))
        found["plain"] = torch.cat(answers)

    for repeat in range(repeats):
        order = (("full", full), ("plain", plain))
        for label, work in order if repeat % 2 == 0 else reversed(order):
            taken[label].append(seconds(work))
    ratios = [slow / fast for slow, fast in zip(taken["plain"], taken["full"], strict=True)]
    done, right = found["full"], sum(found["right"])
    answers = lm.generate(prompts, strategy, batch_size=size).tokens
    lengths = [len(lm.tokenizer.encode(prompt)) for prompt in prompts]  # type: ignore[union-attr]
    return {
        "task": name,
        "plain_batches": "by length" if by_length else "in order",
        "prompts": len(prompts),
        "prompt_tokens": [min(lengths), round(statistics.median(lengths)), max(lengths)],
        "batch": size,
        "full_seconds": round(statistics.median(taken["full"]), 3),
        "plain_seconds": round(statistics.median(taken["plain"]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "accuracy": done.record.accuracy,
        "plain_accuracy": right / len(prompts),
        "forward_passes": round(done.record.forward_passes, 3),
        "model_calls": done.record.model_calls,
        "differing_rows": int((answers != found["plain"]).any(1).sum()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0 if every ratio reaches the target."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.throughput", description="Full batches beside plain ones.")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--task", nargs="+", default=list(TASKS))
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--by-length", action="store_true", help="give plain batches prompts of similar length")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; torch's own choice if not given")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    lm = DiffusionLM.from_pretrained(given.model, dtype="float32", device="cpu")
    results = []
    print(f"{'task':<12}{'batch':>6}{'full s':>9}{'plain s':>9}{'ratio':>8}{'accuracy':>10}{'differing':>11}")
    for name in given.task:
        for size in given.batch:
            row = measure(lm, name, given.prompts, size, given.repeats, given.by_length)
            results.append(row)
            print(
                f"{name:<12}{size:>6}{row['full_seconds']:>9.2f}{row['plain_seconds']:>9.2f}{row['ratio']:>8.2f}"
                f"{row['accuracy']:>10.3f}{row['differing_rows']:>11}",
                flush=True,
            )
    about = {"target": TARGET, "model": given.model, "strategy": STRATEGY, "block_length": BLOCK_LENGTH}
    about |= {"dtype": "float32", "repeats": given.repeats}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps({**about, "results": results, **setting()}, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["ratio"] >= TARGET for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())

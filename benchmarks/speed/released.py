"""The engine beside the loops that papers release: `python -m benchmarks.speed.released [--json FILE] [--only NAME]`.

Times `generate` and a plain loop of the same schedule in turn, on the same model and prompts, and compares their tokens
and, with a vocabulary as large as LLaDA's, their peak memory. Knows nothing of quality; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.lib.measuring import PROMPT_LENGTH, Counted, Pair, forward_of, prompts_of, setting
from benchmarks.loops import cached as loops_cached
from benchmarks.loops import released as loops
from benchmarks.speed import large_vocabulary
from dllm_decode import DiffusionLM
from dllm_decode.files import write_atomically

RESULTS = Path(__file__).parents[1] / "results" / "released.json"
LARGE = "large-vocabulary"
COLUMNS = (("calls", 11), ("engine s", 10), ("loop s", 9), ("ratio", 8), ("target", 8), ("differing", 11))


@dataclass(frozen=True, slots=True)
class Case:
    """A schedule in the engine's terms and in those of the loop that decodes the same."""

    name: str
    loop: Callable[..., Tensor]
    gen_length: int
    steps: int | None
    options: dict[str, Any]
    """Fields of the recipe called `name`, by dotted path."""
    loop_options: dict[str, Any]
    target: float | None
    """The most seconds for one second of the loop; None where none is set."""
    cached: bool = False
    """Whether the loop calls a forward with a cache."""

    def pair(self, lm: DiffusionLM, prompt: Tensor) -> Pair:
        """Return both decodes of a (B, P) int64 prompt."""
        steps: dict[str, Any] = {} if self.steps is None else {"steps": self.steps}
        forward = Counted(loops_cached.cached_forward_of(lm) if self.cached else forward_of(lm))
        given = {"gen_length": self.gen_length, **steps}
        return Pair(
            partial(lm.generate, prompt, self.name, batch_size=len(prompt), **given, **self.options),
            partial(self.loop, forward, prompt, mask_id=lm.special.mask, **given, **self.loop_options),
            forward,
        )


def blocks_of(length: int) -> dict[str, Any]:
    """Return the block policy of a fixed length."""
    return {"name": "fixed", "length": length}


CASES = (
    Case("llada", loops.llada, 64, 64, {"block": blocks_of(32)}, {"block_length": 32}, 0.98),
    Case(
        "said",
        loops.said,
        64,
        4,
        {"layering.detail.threshold": 0.8, "layering.detail.hard_steps": 3},
        {"threshold": 0.8, "hard_steps": 3, "repeated": True},
        0.92,
    ),
    Case(
        "said-block",
        loops.said_block,
        128,
        128,
        {
            "block": blocks_of(128),
            "layering.stage_count": 3,
            "layering.rec_steps": 2,
            "layering.exact": True,  # the released budgets
        },
        {"block_length": 128, "stage_count": 3, "rec_steps": 2},
        0.60,
    ),
    Case(
        "fast-dllm",
        loops_cached.fast_dllm_dual,
        64,
        None,
        {"block": blocks_of(32), "scheduler.threshold": 0.9, "cache": "dual"},
        {"block_length": 32, "threshold": 0.9},
        None,
        cached=True,
    ),
)


def measure(lm: DiffusionLM, case: Case, rows: int, repeats: int) -> dict[str, Any]:
    """Time one schedule at one batch size, as the engine and as the loop run it."""
    found = case.pair(lm, prompts_of(lm, rows)).compare(repeats)
    return {
        "case": case.name,
        "batch": rows,
        "gen_length": case.gen_length,
        "steps": case.steps,
        "options": case.options,
        **found,
        "target": case.target,
        "passed": not found["differing_tokens"] and (case.target is None or found["ratio"] <= case.target),
    }


def report(only: str | None, repeats: int, batches: Sequence[int]) -> dict[str, Any]:
    """Measure everything, or one case, and say on what; prints a line for each result as it comes."""
    summary: dict[str, Any] = {
        "model": "tiny",
        "dtype": "float32",
        "prompt_length": PROMPT_LENGTH,
        **setting(),
    }
    print(f"{'case':<18}{'batch':>6}" + "".join(f"{head:>{width}}" for head, width in COLUMNS))
    cases = [case for case in CASES if only in (None, case.name)]
    if cases:
        lm = DiffusionLM.from_pretrained("tiny", dtype="float32")
        summary["results"] = [shown(measure(lm, case, rows, repeats)) for case in cases for rows in batches]
    if only in (None, LARGE):
        summary["large_vocabulary"] = large = shown(large_vocabulary.measure(repeats))
        memory = large["memory"]
        engine, loop = (memory[side]["decode_megabytes"] for side in large_vocabulary.SIDES)
        print(f"memory of that decode, MB: {engine:.0f} / {loop:.0f}, {memory['ratio']:.3f} of {memory['target']:.2f}")
    return summary


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Print a result in one line; return it."""
    cells = (
        f"{row['model_calls']} / {row['loop_model_calls']}",
        f"{row['engine_seconds']:.3f}",
        f"{row['loop_seconds']:.3f}",
        f"{row['ratio']:.3f}",
        "-" if row["target"] is None else f"{row['target']:.2f}",
        str(row["differing_tokens"]),
    )
    line = "".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))
    print(f"{row['case']:<18}{row['batch']:>6}{line}", flush=True)
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if the engine meets its targets and decodes what the loops decode."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.released", description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    parser.add_argument("--only", choices=[*(case.name for case in CASES), LARGE], help="measure one case")
    parser.add_argument("--repeats", type=int, default=5, help="more for short decodes")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="rows, on tiny")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; torch's own choice if not given")
    # For the processes that large_vocabulary.py starts: one decode of the model in a folder, and its memory.
    parser.add_argument("--memory-of", choices=large_vocabulary.SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.memory_of:
        print(json.dumps(large_vocabulary.memory_of(given.memory_of, given.folder)))
        return 0
    if given.repeats < 1:
        parser.error(f"--repeats: at least 1 repeat is needed, got {given.repeats}")
    summary = report(given.only, given.repeats, given.batch)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.json, json.dumps(summary, indent=2) + "\n")
    rows = [*summary.get("results", ()), summary.get("large_vocabulary", {"passed": True})]
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

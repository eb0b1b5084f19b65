"""What a decode costs as it grows: `python -m benchmarks.speed.scaling [--model tiny] [--device cpu] [--json FILE]`.

Varies batch, prompt length and generation length, one at a time, around a base point, with 32 forwards (fewer only for
answers of fewer tokens); see benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.clock import Samples, peak_memory, rounded, seconds, setting
from benchmarks.lib.measuring import prompts_of
from benchmarks.lib.shape_model import SHAPES, build
from dllm_decode import DiffusionLM
from dllm_decode.errors import DecodeError
from dllm_decode.files import write_atomically

RESULTS = Path(__file__).parents[1] / "results" / "scaling.json"
FORWARDS, REPEATS = 32, 3
BASE = {"batch": 4, "prompt_length": 32, "gen_length": 64}
AXES = {
    "batch": (1, 2, 4, 8, 16),
    "prompt_length": (16, 32, 64, 128, 192),
    "gen_length": (32, 64, 96, 128, 192),
}
Point = dict[str, int]


def load_model(name: str, device: torch.device) -> DiffusionLM:
    """Load a model on the device; a name of `SHAPES` is that shape with random weights."""
    if name in SHAPES:
        return build(SHAPES[name], device).lm
    return DiffusionLM.from_pretrained(name, device=device)


def points(axes: dict[str, Sequence[int]], base: Point) -> Iterator[tuple[str, Point]]:
    """Yield the name of what is varied and the point, one axis after another; the base point is in each of them."""
    for varied, values in axes.items():
        for value in sorted({*values, base[varied]}):
            yield varied, base | {varied: value}


def work_at(lm: DiffusionLM, point: Point) -> Callable[[], Any]:
    """Return the decode of a point: LLaDA's rule, one block, in as many forwards as at every other point."""
    rows, gen_length = point["batch"], point["gen_length"]
    prompt = prompts_of(lm, rows, point["prompt_length"])
    return partial(
        lm.generate, prompt, "llada", gen_length=gen_length, steps=_forwards(point), batch_size=rows
    )


def measure(lm: DiffusionLM, device: torch.device, distinct: Sequence[Point]) -> list[dict[str, Any]]:
    """Return what every point costs.

    Each is run once for its peak of memory, which warms up; then all are timed in rounds, so that a drift of the
    machine's speed meets all alike.
    """
    works = [work_at(lm, point) for point in distinct]
    peaks = [peak_memory(device, work) for work in works]
    samples = [Samples() for _ in works]
    for _ in range(REPEATS):
        for sample, work in zip(samples, works, strict=True):
            sample.values.append(seconds(device, work))
    return [
        {
            "forwards": _forwards(point),
            "seconds": rounded(sample.median),
            "spread": [rounded(min(sample.values)), rounded(max(sample.values))],
            "seconds_per_forward": rounded(sample.median / _forwards(point)),
            "tokens_per_second": rounded(point["batch"] * point["gen_length"] / sample.median),
            "peak_bytes": peak,
        }
        for point, sample, peak in zip(distinct, samples, peaks, strict=True)
    ]


def report(
    lm: DiffusionLM, device: torch.device, chosen: Sequence[tuple[str, Point]]
) -> list[dict[str, Any]]:
    """Measure every point once; those over the model's context are left out and say so."""
    limit = lm.denoiser.max_length
    fitting = [point for _, point in chosen if limit is None or _columns(point) <= limit]
    distinct = list({_key(point): point for point in fitting}.values())
    measured = dict(zip(map(_key, distinct), measure(lm, device, distinct), strict=True))
    over = {"skipped": f"over the model's context of {limit} columns"}
    return [{"varied": varied, **point, **measured.get(_key(point), over)} for varied, point in chosen]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    print(
        f"{'varied':<15}{'batch':>6}{'prompt':>8}{'gen':>6}{'seconds':>10}{'ms/forward':>12}{'peak MiB':>10}"
    )
    for row in rows:
        place = f"{row['varied']:<15}{row['batch']:>6}{row['prompt_length']:>8}{row['gen_length']:>6}"
        if "skipped" in row:
            print(f"{place}  {row['skipped']}")
            continue
        peak = "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}"
        print(f"{place}{row['seconds']:>10.4f}{1000 * row['seconds_per_forward']:>12.3f}{peak:>10}")


def _forwards(point: Point) -> int:
    return min(FORWARDS, point["gen_length"])


def _columns(point: Point) -> int:
    return point["prompt_length"] + point["gen_length"]


def _key(point: Point) -> tuple[int, ...]:
    return tuple(point.values())


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 0."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.scaling", description="Cost against batch and lengths.")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help=f"default: {RESULTS}")
    parser.add_argument(
        "--model", default="tiny", help=f"tiny, a folder, a hub id, or one of {', '.join(SHAPES)}"
    )
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=AXES["batch"])
    parser.add_argument("--prompt-length", type=int, nargs="+", default=AXES["prompt_length"])
    parser.add_argument("--gen-length", type=int, nargs="+", default=AXES["gen_length"])
    parser.add_argument("--base", type=int, nargs=3, default=tuple(BASE.values()), metavar=("B", "P", "G"))
    parser.add_argument(
        "--threads", type=int, default=None, help="torch threads; torch's own choice if not given"
    )
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    try:
        lm = load_model(given.model, device)
    except DecodeError as error:
        parser.error(str(error))
    base = dict(zip(BASE, given.base, strict=True))
    axes = {"batch": given.batch, "prompt_length": given.prompt_length, "gen_length": given.gen_length}
    rows = report(lm, device, list(points(axes, base)))
    summary = {
        "points": rows,
        "base": base,
        "forwards": FORWARDS,
        "repeats": REPEATS,
        "strategy": "llada",
        "model": given.model,
        "dtype": str(lm.dtype).removeprefix("torch."),
        **setting(device),
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.json, json.dumps(summary, indent=2) + "\n")
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

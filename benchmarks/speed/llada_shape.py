"""LLaDA-8B's shape with random weights on a GPU: `python -m benchmarks.speed.llada_shape [--json FILE] [--seconds BUDGET]`.

Runs every part once, unattended, inside a time budget, and writes what it has after every row. Quality is out of its
reach: the weights are random, so only schedules with fixed counts are decoded; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib import shape_decodes, shape_steps
from benchmarks.lib.clock import Budget, rounded, seconds, setting
from benchmarks.lib.roofline import Rates, model_bytes
from benchmarks.lib.shape_model import SHAPES, Shape, Subject, build, compiled
from benchmarks.lib.shape_record import Record
from dllm_decode.errors import DecodeError

RESULTS = Path(__file__).parents[1] / "results" / "llada_shape.json"
COMPILED = RESULTS.with_name("llada_shape_compiled.json")
PARTS = ("per_step", "said", "said_block", "memory", "end_to_end")
NOTES = {
    "weights": "random: tokens mean nothing, and thresholds would meet probabilities near 0",
    "per_step": "without a cache: seconds of a decode / its model calls; with dual cache: what two decodes with the "
    "same blocks differ by / the cached forwards between them",
    "end_to_end": "recipe llada in blocks with dual cache and fixed counts, not Fast-dLLM's adaptive rule",
    "said": "no detail position reaches CHLG's threshold on random weights, so all are hard: the most forwards",
    "memory": "one block of one decode; every block is alike",
    "bare_model": "body on the step's columns, head on the columns still undecided, by the stock model; with "
    "--compile by the compiled denoiser",
}


def choose_device(parser: argparse.ArgumentParser, wanted: str | None, shape: Shape) -> torch.device:
    """Return the device to run on, or leave with a message that says what to give."""
    if wanted != "cpu" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; on a CPU give --device cpu --shape small.")
    if wanted == "cpu" and model_bytes(shape.sizes) > 2**30:
        parser.error(f"--shape {shape.name} takes days on a CPU; give --shape small.")
    return torch.device(wanted or "cuda")


def prepare(shape: Shape, device: torch.device, compile_: bool) -> tuple[Subject, dict[str, Any]]:
    """Return the model, compiled if asked, and what building and the first decode took.

    Raises:
        ModelError: This version of the package cannot compile a model.
    """
    made: list[Subject] = []
    build_seconds = seconds(device, lambda: made.append(build(shape, device)))
    subject = compiled(made[0]) if compile_ else made[0]
    plan = shape.plan
    gen_length = plan.gen_lengths[0]
    options = shape_steps.cached_options(gen_length, plan.block_length, gen_length // plan.tokens_a_step)
    first = partial(shape_steps.decode, subject, subject.prompt(1, plan.prompt_length), "llada", **options)
    return subject, {
        "build_seconds": rounded(build_seconds),
        "weight_bytes": subject.weight_bytes,
        "compiled": compile_,
        # Compilation happens here; a later decode of another shape may compile again, in its own warm-up.
        "warmup_seconds": rounded(seconds(device, first)),
    }


def run_parts(subject: Subject, record: Record, budget: Budget, wanted: Collection[str]) -> list[str]:
    """Run the parts that are wanted, the long one last; return what went wrong.

    Each part may take the time until its share of what is left now is over. One that fails leaves the others to run.
    """
    found: list[Rates] = []
    ends = {share: budget.share(share) for share in (0.25, 0.4, 0.5, 0.6)}
    parts: list[tuple[str, Callable[[], Any]]] = [
        ("device_rates", lambda: found.append(shape_steps.device_rates(subject, record))),
        ("per_step", lambda: shape_steps.uncached_steps(subject, record, found[0], ends[0.25])),
        ("per_step", lambda: shape_steps.dual_cached_steps(subject, record, found[0], ends[0.4])),
        ("said", lambda: shape_decodes.said(subject, record, ends[0.5])),
        ("said_block", lambda: shape_decodes.said_block(subject, record, found[0], ends[0.6])),
        ("memory", lambda: shape_decodes.memory(subject, record)),
        ("end_to_end", lambda: shape_decodes.end_to_end(subject, record, budget)),
    ]
    failures = []
    for name, part in parts:
        if name not in wanted:
            continue
        try:
            part()
        except Exception as error:  # nobody is there to start the rest again
            failures.append(f"{name}: {type(error).__name__}: {error}")
            record.put("failures", failures)
            print(failures[-1], file=sys.stderr, flush=True)
        shape_decodes.release(subject)
    return failures


def options(arguments: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Return the parser and what was given."""
    parser = argparse.ArgumentParser(prog="benchmarks.speed.llada_shape", description="LLaDA-8B's shape on a GPU.")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="llada-8b")
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: cuda")
    parser.add_argument(
        "--compile", action="store_true", help="compile the model first, and measure one of each kind only"
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        help="beside device_rates; default: all, without memory if compiled",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS}, or {COMPILED.name}")
    parser.add_argument("--seconds", type=float, default=440.0, help="time budget; default: 440")
    return parser, parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if a part failed, else 0, whether or not targets were met."""
    parser, given = options(arguments)
    shape = SHAPES[given.shape]
    device = choose_device(parser, given.device, shape)
    # The memory part's many rows are shapes of their own, which take longer to compile than all the others.
    wanted = {
        "device_rates",
        *(given.parts or [part for part in PARTS if part != "memory" or not given.compile]),
    }
    if given.compile:
        shape = replace(shape, plan=shape.plan.one_of_each())
    budget = Budget(given.seconds)
    header = {
        "shape": {"name": shape.name, **asdict(shape.sizes), "max_length": shape.max_length},
        "plan": asdict(shape.plan),
        "parts": sorted(wanted),
        "dtype": str(shape.dtype).removeprefix("torch."),
        **setting(device),
        "budget_seconds": given.seconds,
        "notes": NOTES,
    }
    record = Record(given.json or (COMPILED if given.compile else RESULTS), header, budget)
    try:
        subject, took = prepare(shape, device, given.compile)
    except DecodeError as error:
        parser.error(str(error))
    record.put("model", took)
    failures = run_parts(subject, record, budget, wanted)
    # Shapes are compiled when they are first met, so this is known only now; None where nothing is compiled.
    took["compile_seconds"] = getattr(subject.lm.denoiser, "warm_up_seconds", None) if given.compile else None
    record.put("model", took)
    record.put("complete", not failures)
    record.show_targets()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

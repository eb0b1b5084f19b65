"""The device's own rates, and what one step of a decode takes beside the least it could take.

Knows LLaDA's rule without a cache and with dual cache; whole decodes are in `shape_decodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.lib import bare
from benchmarks.lib.clock import Budget, Samples, repeated, rounded, seconds
from benchmarks.lib.roofline import Rates, Work, step_bytes, step_floor, step_flops
from benchmarks.lib.shape_model import Subject
from benchmarks.lib.shape_record import Record
from dllm_decode.generation.answers import Generation

RATIO, OUTSIDE = 1.5, 0.03
REPEATS, PRODUCTS = 3, 10
NOISE = "what two decodes differ by drowned in noise"


def device_rates(subject: Subject, record: Record) -> Rates:
    """Measure copy bandwidth and matrix products of the model's sizes; the best of each is its roofline."""
    device, plan, sizes = subject.device, subject.shape.plan, subject.shape.sizes
    source = torch.randint(0, 256, (plan.copy_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * plan.copy_bytes / _grouped(device, partial(target.copy_, source))
    del source, target
    products = []
    matrices = (
        (sizes.hidden, sizes.hidden),
        (sizes.hidden, sizes.mlp),
        (sizes.mlp, sizes.hidden),
        (sizes.hidden, sizes.vocabulary),
    )
    for inputs, outputs in matrices:
        weight = torch.randn(outputs, inputs, device=device, dtype=subject.shape.dtype)
        for rows in plan.matmul_rows:
            data = torch.randn(rows, inputs, device=device, dtype=subject.shape.dtype)
            took = _grouped(device, partial(functional.linear, data, weight))
            rate = 2 * rows * inputs * outputs / took
            products.append(
                {"rows": rows, "inputs": inputs, "outputs": outputs, "flops_per_second": rounded(rate)}
            )
    rates = Rates(bandwidth, max(product["flops_per_second"] for product in products))
    record.put(
        "device_rates",
        {
            "copy_bytes": plan.copy_bytes,
            "bytes_per_second": rounded(bandwidth),
            "products": products,
            "flops_per_second": rates.matmul,
        },
    )
    print(f"copy {bandwidth / 1e9:.4g} GB/s, matrix product {rates.matmul / 1e12:.4g} TFLOP/s", flush=True)
    return rates


def _grouped(device: torch.device, work: Callable[[], Any]) -> float:
    """Return the median seconds of a small call, timed in groups so that launching it is not what is measured."""

    def group() -> None:
        for _ in range(PRODUCTS):
            work()

    group()
    return repeated(device, group, most=5, within=2.0).median / PRODUCTS


def decode(subject: Subject, prompt: Tensor, strategy: str, **options: Any) -> Generation:
    """Decode all rows in one batch."""
    return subject.lm.generate(prompt, strategy, batch_size=len(prompt), **options)


def cached_options(gen_length: int, block_length: int, steps: int) -> dict[str, Any]:
    """Return the options of LLaDA's rule in blocks with dual cache, its steps spread evenly over the blocks."""
    return {
        "gen_length": gen_length,
        "steps": steps,
        "block": {"name": "fixed", "length": block_length},
        "cache": {"name": "dual"},
    }


def uncached_steps(subject: Subject, record: Record, rates: Rates, budget: Budget) -> None:
    """Time a step without a cache at every generation length, one row.

    A step is a whole decode's seconds over its model calls: all there is outside the model is in it.
    """
    plan = subject.shape.plan
    for gen_length in plan.gen_lengths:
        columns, calls = plan.prompt_length + gen_length, plan.uncached_steps
        row = _row(subject, 1, gen_length, None) | {"steps": [calls]}
        if not budget.allows():
            record.skip("per_step", row, budget.refusal)
            continue
        prompt = subject.prompt(1, plan.prompt_length)
        canvas = subject.canvas(1, plan.prompt_length, gen_length)
        own = partial(decode, subject, prompt, "llada", gen_length=gen_length, steps=calls)
        least = partial(bare.uncached, subject.bare, canvas, gen_length, calls)
        row["warmup_seconds"] = rounded(seconds(subject.device, own) + seconds(subject.device, least))
        decodes, bares = _in_turn(subject, budget, own, least)
        _finish(
            subject, record, rates, row, Work(1, columns, columns, _mean_open(gen_length, calls)),
            step=_divided(decodes, calls), least=bares.median / calls,
            outside=1 - bares.median / decodes.median,
        )  # fmt: skip


def dual_cached_steps(subject: Subject, record: Record, rates: Rates, budget: Budget) -> None:
    """Time a step inside a block with dual cache: one row at every length, more rows at the first length.

    A block's first forward computes all columns, so a step is what two decodes with the same blocks differ by, over
    the cached forwards that one has more. The time outside the model is that of the longer decode, first forwards
    and all.
    """
    plan = subject.shape.plan
    shapes = [(rows, plan.gen_lengths[0]) for rows in plan.cached_batches]
    shapes += [(plan.cached_batches[0], gen_length) for gen_length in plan.gen_lengths[1:]]
    for rows, gen_length in shapes:
        blocks = gen_length // plan.block_length
        few, many = 2 * blocks, gen_length // plan.tokens_a_step
        row = _row(subject, rows, gen_length, "dual") | {"steps": [few, many]}
        if not budget.allows():
            record.skip("per_step", row, budget.refusal)
            continue
        prompt = subject.prompt(rows, plan.prompt_length)
        canvas = subject.canvas(rows, plan.prompt_length, gen_length)
        shape = (gen_length, plan.block_length)
        own = [
            partial(decode, subject, prompt, "llada", **cached_options(*shape, steps))
            for steps in (few, many)
        ]
        least = [partial(bare.dual_cached, subject.bare, canvas, *shape, steps) for steps in (few, many)]
        row["warmup_seconds"] = rounded(seconds(subject.device, own[1]) + seconds(subject.device, least[0]))
        short, long, bare_short, bare_long = _in_turn(subject, budget, *own, *least)
        step = Samples([(b - a) / (many - few) for a, b in zip(short.values, long.values, strict=True)])
        wanted = _mean_open(plan.block_length, many // blocks)
        _finish(
            subject, record, rates, row,
            Work(rows, plan.block_length, plan.prompt_length + gen_length, wanted),
            step=step, least=(bare_long.median - bare_short.median) / (many - few),
            outside=1 - bare_long.median / long.median,
        )  # fmt: skip


def _mean_open(positions: int, steps: int) -> int:
    """Return how many positions are open on average when a step begins: the columns whose head is needed."""
    return max(1, round(fmean(bare.open_counts(positions, steps))))


def _row(subject: Subject, rows: int, gen_length: int, cache: str | None) -> dict[str, Any]:
    plan = subject.shape.plan
    return {
        "cache": cache,
        "batch": rows,
        "prompt_length": plan.prompt_length,
        "gen_length": gen_length,
        "block_length": gen_length if cache is None else plan.block_length,
    }


def _in_turn(subject: Subject, budget: Budget, *works: Callable[[], Any]) -> list[Samples]:
    """Time calls in turn, so that a drift of the machine's speed meets all; as often as the budget allows."""
    found = [Samples() for _ in works]
    for number in range(REPEATS):
        if number and not budget.allows(sum(samples.median for samples in found)):
            break
        for samples, work in zip(found, works, strict=True):
            samples.values.append(seconds(subject.device, work))
    return found


def _divided(samples: Samples, by: int) -> Samples:
    return Samples([value / by for value in samples.values])


def _finish(
    subject: Subject,
    record: Record,
    rates: Rates,
    row: dict[str, Any],
    work: Work,
    *,
    step: Samples,
    least: float,
    outside: float,
) -> None:
    """Set a step beside its roofline and the bare model, and judge both."""
    if min(step.median, least) <= 0:
        record.skip("per_step", row, NOISE)
        return
    sizes = subject.shape.sizes
    floor = step_floor(sizes, work, rates)
    ratio = step.median / floor.seconds
    row["step"] = step.milliseconds()
    row["bare_model_milliseconds"] = rounded(1000 * least)
    row["roofline"] = {
        "flops": step_flops(sizes, work),
        "bytes": step_bytes(sizes, work),
        "compute_milliseconds": rounded(1000 * floor.compute),
        "memory_milliseconds": rounded(1000 * floor.memory),
        "bound": floor.bound,
    }
    row["step_milliseconds"] = rounded(1000 * step.median)
    row["over_roofline"] = rounded(ratio)
    row["outside_model_share"] = rounded(outside)
    record.add("per_step", row)
    where = f"{row['cache'] or 'no'} cache, batch {row['batch']}, {work.attended} columns"
    record.target(f"step over roofline, {where}", ratio, at_most=RATIO)
    record.target(f"time outside the model, {where}", outside, at_most=OUTSIDE)

"""Whole decodes of a shape: tokens a second, peak memory, and schedules beside one token a step.

Knows the strategies that are set beside each other; what one step takes is in `shape_steps`.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from functools import partial
from typing import Any

import torch

from benchmarks.lib.bare import even_split
from benchmarks.lib.clock import Budget, Samples, peak_memory, repeated, rounded, seconds
from benchmarks.lib.roofline import Rates, Work, kv_bytes, step_floor
from benchmarks.lib.shape_model import Subject
from benchmarks.lib.shape_record import Record
from benchmarks.lib.shape_steps import cached_options, decode

HEADROOM = 2**30
SPEEDUP = 20.0
MARGIN = 1.1
"""By how much a longer canvas may make a column dearer than the columns measured before."""
TRIAL_STEPS = 16
NO_MEMORY = "it did not fit into the device's memory"


def memory(subject: Subject, record: Record) -> None:
    """Take the peak of a decode with dual cache of many rows; one block shows it, for every block is alike."""
    rows, columns = subject.shape.plan.memory
    block_length = subject.shape.plan.block_length
    weights, cached = subject.weight_bytes, kv_bytes(subject.shape.sizes, rows, columns)
    found: dict[str, Any] = {
        "batch": rows,
        "columns": columns,
        "weight_bytes": weights,
        "kv_bytes": cached,
        "limit_bytes": weights + cached + HEADROOM,
        "peak_bytes": None,
    }
    prompt = subject.prompt(rows, columns - block_length)
    work = partial(decode, subject, prompt, "llada", **cached_options(block_length, block_length, 2))
    fitted = False
    with suppress(torch.OutOfMemoryError):
        found["peak_bytes"] = peak_memory(subject.device, work)
        fitted = True
    if not fitted:
        found["skipped"] = NO_MEMORY
    release(subject)
    record.put("memory", found)
    if found["peak_bytes"] is not None:
        over = (found["peak_bytes"] - weights - cached) / HEADROOM
        record.target(f"GiB beside model and cache, {rows} x {columns} columns", over, at_most=1.0)


def end_to_end(subject: Subject, record: Record, budget: Budget) -> None:
    """Measure tokens a second at every generation length and batch, the cheapest first, while the budget lasts."""
    plan = subject.shape.plan
    shapes = [(rows, gen_length) for rows in plan.batches for gen_length in plan.gen_lengths]
    done: list[tuple[int, int, float]] = []
    for rows, gen_length in sorted(shapes, key=lambda shape: shape[0] * _computed_columns(subject, shape[1])):
        steps = gen_length // plan.tokens_a_step
        row: dict[str, Any] = {
            "batch": rows,
            "prompt_length": plan.prompt_length,
            "gen_length": gen_length,
            "steps": steps,
        }
        if not budget.allows(_expected(subject, rows, gen_length, done)):
            record.skip("end_to_end", row, budget.refusal)
            continue
        ran = None
        with suppress(torch.OutOfMemoryError):
            ran = _run(subject, rows, gen_length, steps)
        release(subject)
        if ran is None:
            record.skip("end_to_end", row, NO_MEMORY)
            continue
        samples, calls, peak = ran
        done.append((rows, gen_length, samples.median))
        row |= {
            "model_calls": calls,
            "seconds": rounded(samples.median),
            "repeats": len(samples.values),
            "tokens_per_second": rounded(rows * gen_length / samples.median),
            "peak_bytes": peak,
        }
        record.add("end_to_end", row)


def _run(subject: Subject, rows: int, gen_length: int, steps: int) -> tuple[Samples, int, int | None]:
    """Return seconds, model calls and peak bytes of a decode; one block over as many columns warms it up."""
    plan = subject.shape.plan
    block = plan.block_length
    columns = plan.prompt_length + gen_length
    prompt, options = subject.prompt(rows, plan.prompt_length), cached_options(gen_length, block, steps)
    calls: list[int] = []

    def work() -> None:
        calls.append(decode(subject, prompt, "llada", **options).model_calls)

    warm = cached_options(block, block, block // plan.tokens_a_step)
    decode(subject, subject.prompt(rows, columns - block), "llada", **warm)
    samples = Samples()
    peak = peak_memory(
        subject.device, lambda: samples.values.extend(repeated(subject.device, work, within=6.0).values)
    )
    return samples, calls[-1], peak


def _computed_columns(subject: Subject, gen_length: int) -> int:
    """Return the columns of a row that go through the body in a decode with dual cache."""
    plan = subject.shape.plan
    blocks = gen_length // plan.block_length
    cached = gen_length // plan.tokens_a_step - blocks
    return blocks * (plan.prompt_length + gen_length) + cached * plan.block_length


def _expected(subject: Subject, rows: int, gen_length: int, done: list[tuple[int, int, float]]) -> float:
    """Return the seconds a decode should take at most; 0 where nothing smaller was measured.

    A column costs less in a larger batch, so smaller decodes that were measured, scaled by columns, are upper bounds
    but for the longer canvas's attention.
    """
    own = rows * _computed_columns(subject, gen_length)
    scaled = [
        took * own / (fewer * _computed_columns(subject, shorter))
        for fewer, shorter, took in done
        if fewer <= rows and shorter <= gen_length
    ]
    return MARGIN * min(scaled, default=0.0)


def said(subject: Subject, record: Record, budget: Budget) -> None:
    """Set SAID with CHLG at its published budgets beside one token a step of the same length."""
    plan = subject.shape.plan
    prompt = subject.prompt(1, plan.said_prompt_length)
    plain: dict[int, tuple[float, int | None]] = {}
    for name, gen_length, steps in plan.said:
        row: dict[str, Any] = {"budget": name, "gen_length": gen_length, "scaffold_steps": steps, "batch": 1}
        if not budget.allows():
            record.skip("said", row, budget.refusal)
            continue
        if gen_length not in plain:
            plain[gen_length] = one_a_step(subject, budget, 1, plan.said_prompt_length, gen_length, None)
        work = partial(decode, subject, prompt, "said", gen_length=gen_length, steps=steps)
        calls = work().model_calls  # also the warm-up
        samples = repeated(subject.device, work)
        took, scaled_from = plain[gen_length]
        wall, forwards = took / samples.median, gen_length / calls
        row |= {
            "model_calls": calls,
            "seconds": rounded(samples.median),
            "repeats": len(samples.values),
            "llada_model_calls": gen_length,
            "llada_seconds": rounded(took),
            "llada_scaled_from_steps": scaled_from,
            "wall_clock_ratio": rounded(wall),
            "forward_ratio": rounded(forwards),
        }
        record.add("said", row)
        # To two digits: a repeat differs by more.
        record.target(
            f"SAID's wall-clock ratio over forwards, {name}", round(wall / forwards, 2), at_least=1.0
        )


def said_block(subject: Subject, record: Record, rates: Rates, budget: Budget) -> None:
    """Set block-wise SAID with dual cache beside one token a step without a cache, in the same blocks."""
    plan = subject.shape.plan
    gen_length, block_length, steps = plan.said_block
    for rows in plan.said_block_batches:
        row: dict[str, Any] = {"batch": rows, "prompt_length": plan.prompt_length, "gen_length": gen_length}
        row |= {"block_length": block_length, "steps": steps}
        if not budget.allows():
            record.skip("said_block", row, budget.refusal)
            continue
        prompt = subject.prompt(rows, plan.prompt_length)
        work = partial(
            decode, subject, prompt, "said-block", **cached_options(gen_length, block_length, steps)
        )
        calls = work().model_calls  # also the warm-up
        samples = repeated(subject.device, work)
        took, scaled_from = one_a_step(subject, budget, rows, plan.prompt_length, gen_length, block_length)
        speedup = took / samples.median
        row |= {
            "model_calls": calls,
            "seconds": rounded(samples.median),
            "repeats": len(samples.values),
            "llada_model_calls": gen_length,
            "llada_seconds": rounded(took),
            "llada_scaled_from_steps": scaled_from,
            "speedup": rounded(speedup),
            "speedup_of_rooflines": rounded(_floor_ratio(subject, rates, rows)),
        }
        record.add("said_block", row)
        record.target(f"said-block with dual cache over LLaDA, batch {rows}", speedup, at_least=SPEEDUP)


def one_a_step(
    subject: Subject, budget: Budget, rows: int, prompt_length: int, gen_length: int, block_length: int | None
) -> tuple[float, int | None]:
    """Return the seconds of LLaDA's rule at one token a step without a cache, and the steps they were scaled from.

    Every forward of it is alike, but for the head's columns, so few steps stand for many where the budget is short;
    None where all were run. In blocks the trial decodes the last one alone, over the same canvas.
    """
    columns = prompt_length + gen_length
    block = {"name": "whole"} if block_length is None else {"name": "fixed", "length": block_length}
    region = gen_length if block_length is None else min(block_length, gen_length)
    trial_steps = min(TRIAL_STEPS, region)

    def run(region: int, steps: int) -> float:
        prompt = subject.prompt(rows, columns - region)
        work = partial(decode, subject, prompt, "llada", gen_length=region, steps=steps, block=block)
        return seconds(subject.device, work)

    run(region, 2)
    trial = run(region, trial_steps)
    whole = trial * gen_length / trial_steps
    # At most a tenth of the whole run for one baseline.
    if whole < budget.total / 10 and budget.allows(whole):
        return run(gen_length, gen_length), None
    return whole, trial_steps


def _floor_ratio(subject: Subject, rates: Rates, rows: int) -> float:
    """Return the speed-up of block-wise SAID that the rooflines of both allow."""
    plan, sizes = subject.shape.plan, subject.shape.sizes
    gen_length, block_length, steps = plan.said_block
    columns, blocks = plan.prompt_length + gen_length, gen_length // block_length
    full = step_floor(sizes, Work(rows, columns, columns, block_length), rates).seconds
    cached = step_floor(sizes, Work(rows, block_length, columns, block_length), rates).seconds
    return gen_length * full / (blocks * full + (sum(even_split(steps, blocks)) - blocks) * cached)


def release(subject: Subject) -> None:
    """Give a GPU's memory back that a large decode, or one that failed, leaves behind."""
    if subject.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()

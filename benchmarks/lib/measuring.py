"""What the timing benchmarks share: prompts, bare forwards, a decode done in two ways, peak memory, what it ran on.

Knows how to measure; what is measured, and against which target, belongs to each benchmark.
"""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

import dllm_decode
from dllm_decode import DiffusionLM, Generation

PROMPT_LENGTH = 30
STATUS = Path("/proc/self/status")


def prompts_of(lm: DiffusionLM, rows: int, length: int = PROMPT_LENGTH) -> Tensor:
    """Return (rows, length) int64 ordinary tokens, the same in every run."""
    generator = torch.Generator().manual_seed(0)
    ordinary = torch.tensor([token for token in range(lm.denoiser.vocab_size) if token not in lm.hidden_tokens])
    return ordinary[torch.randint(len(ordinary), (rows, length), generator=generator)]


def forward_of(lm: DiffusionLM) -> Callable[[Tensor], Tensor]:
    """Return the bare forward: (B, L) int64 tokens in, (B, L, V) logits out, the head on the whole canvas."""
    model: Any = lm.denoiser.model  # type: ignore[attr-defined]

    def forward(tokens: Tensor) -> Tensor:
        return model(input_ids=tokens, use_cache=False).logits  # type: ignore[no-any-return]

    return forward


class Counted:
    """A forward that counts its calls."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        """Take the forward."""
        self.forward, self.calls = forward, 0

    def __call__(self, *arguments: Any) -> Tensor:
        """Run the forward once."""
        self.calls += 1
        return self.forward(*arguments)


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Pair:
    """One decode, done by the engine and by a plain loop."""

    engine: Callable[[], Generation]
    loop: Callable[[], Tensor]
    """Returns the (B, L) int64 canvas."""
    forward: Counted
    """The forward that the loop calls."""

    @torch.inference_mode()
    def compare(self, repeats: int) -> dict[str, Any]:
        """Return calls, seconds and tokens that differ, and the ratio engine / loop: its median and its extremes.

        In every repeat both stand back to back, and who goes first alternates, so that a drift of the machine's speed
        meets both alike; the ratio is taken within a repeat. A run of both goes before, for the tokens. A decode of
        less than a second is repeated more often, up to ten times `repeats`.
        """
        out = self.engine()
        started = time.perf_counter()
        expected = self.loop()
        repeats *= min(max(round(1 / (time.perf_counter() - started)), 1), 10)
        calls = self.forward.calls
        taken: dict[str, list[float]] = {"engine": [], "loop": []}
        for repeat in range(repeats):
            order = (("engine", self.engine), ("loop", self.loop))
            for label, work in order if repeat % 2 == 0 else reversed(order):
                taken[label].append(seconds(work))
        ratios = [engine / loop for engine, loop in zip(taken["engine"], taken["loop"], strict=True)]
        return {
            "model_calls": out.model_calls,
            "loop_model_calls": calls,
            "differing_tokens": int((out.canvas != expected).sum()),
            "repeats": repeats,
            "engine_seconds": round(statistics.median(taken["engine"]), 4),
            "loop_seconds": round(statistics.median(taken["loop"]), 4),
            "ratio": round(statistics.median(ratios), 4),
            "ratio_spread": [round(min(ratios), 4), round(max(ratios), 4)],
        }


def peak_memory() -> int:
    """Return the most memory, in bytes, that this process has held so far.

    Linux hands a parent's `ru_maxrss` on to the children it starts, so the kernel's mark of this process alone, VmHWM,
    is read where there is one.
    """
    marked = _status("VmHWM")
    if marked is not None:
        return marked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int:
    """Return the memory, in bytes, that this process holds now; its peak where the system does not tell."""
    held = _status("VmRSS")
    return peak_memory() if held is None else held


def _status(field: str) -> int | None:
    """Return a field of Linux's account of this process, in bytes."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def setting() -> dict[str, Any]:
    """Return what a time depends on beside the code: device, threads, versions and date."""
    return {
        "device": f"cpu ({platform.machine()}, {cpu_name()})",
        "threads": torch.get_num_threads(),
        "versions": {
            "dllm_decode": dllm_decode.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def cpu_name() -> str:
    """Return the processor's name as Linux gives it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")

"""Time and memory of a device, a run's time budget, and what a result is measured on.

Knows nothing of models or strategies.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import torch

from benchmarks.lib import measuring


def seconds(device: torch.device, work: Callable[[], Any]) -> float:
    """Return how long a call takes: between two events on a GPU that was idle, by the host's clock elsewhere.

    Both include what the host does meanwhile, a GPU's idle time among it.
    """
    if device.type != "cuda":
        return measuring.seconds(work)
    event: Any = torch.cuda.Event
    begin, end = event(enable_timing=True), event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def peak_memory(device: torch.device, work: Callable[[], Any]) -> int | None:
    """Return the most bytes allocated at once during a call, model included; None where the device does not tell."""
    if device.type != "cuda":
        work()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return int(torch.cuda.max_memory_allocated(device))


@dataclass
class Samples:
    """Seconds of repeated calls."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def milliseconds(self, per: int = 1) -> dict[str, Any]:
        """Return median, smallest, largest and count for a record, each divided by `per`."""
        low, high = min(self.values), max(self.values)
        return {
            "milliseconds": rounded(1000 * self.median / per),
            "spread": [rounded(1000 * low / per), rounded(1000 * high / per)],
            "repeats": len(self.values),
        }


@dataclass
class Budget:
    """Seconds a run may take, counted from its start."""

    total: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def share(self, part: float) -> Budget:
        """Return the budget that ends when this part of the time that is left now is over."""
        return Budget(self.used + part * max(0.0, self.total - self.used), self.started)

    def allows(self, expected: float = 0.0) -> bool:
        """Say whether so many seconds more still fit."""
        return self.used + expected < self.total

    @property
    def refusal(self) -> str:
        """What a record says of a thing that was left out."""
        return f"it did not fit into the first {self.total:.0f} seconds"


def repeated(
    device: torch.device, work: Callable[[], Any], *, most: int = 3, within: float = 10.0
) -> Samples:
    """Time a call up to `most` times, as long as another one keeps the sum within so many seconds; once at least."""
    samples = Samples([seconds(device, work)])
    while len(samples.values) < most and sum(samples.values) + samples.median <= within:
        samples.values.append(seconds(device, work))
    return samples


def rounded(value: float) -> float:
    """Return a number to five significant digits, which is more than any clock here is good for."""
    return float(f"{value:.5g}")


def setting(device: torch.device) -> dict[str, Any]:
    """Return what a time depends on beside the code: the device, its memory, threads, versions and date."""
    common = measuring.setting()
    common["versions"] |= {"triton": version("triton"), "cuda": torch.version.cuda}
    if device.type != "cuda":
        return {**common, "device_memory_bytes": None}
    card = torch.cuda.get_device_properties(device)
    return {**common, "device": card.name, "device_memory_bytes": card.total_memory}


def version(package: str) -> str | None:
    """Return an installed package's version, None without it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

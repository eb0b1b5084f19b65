"""Processes that take each step together over shared memory, one thread each.

Every process runs the model on its own batch, gradients meet in shared memory, and each process updates its own
share of the parameters. Two processes of one thread meet twice a step; two threads of one process meet at every
operation, which on a machine that others use as well took twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import BrokenBarrierError
from typing import Any, Protocol

import torch
from torch import Tensor

GO, EVALUATE, STOP = 0, 1, 2
PATIENCE_SECONDS = 900.0


class Barrier(Protocol):
    """What both `multiprocessing` and a lone process's stand-in can do."""

    def wait(self, timeout: float | None = None) -> int: ...


class NoBarrier:
    """The barrier of a process that trains alone."""

    def wait(self, timeout: float | None = None) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Team:
    """One process's place among its peers and the memory they share.

    Attributes:
        rank: This process; rank 0 logs, saves and decides.
        size: Processes.
        barrier: Where they meet.
        tensors: The weights, their average and the optimiser's state, by name; empty on rank 0 before sharing.
        gradients: By parameter, ``(size, ...) float32``.
        reports: ``(size, 3) float64``: task number, loss in nats, CPU seconds so far.
        scores: ``(tasks, 2) float64``: accuracy at one step a token and in a quarter of the steps.
        control: ``(1,) int64``: what rank 0 has decided for after this step.
    """

    rank: int = 0
    size: int = 1
    barrier: Barrier = field(default_factory=NoBarrier)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    reports: Tensor = field(default_factory=lambda: torch.zeros(1, 3, dtype=torch.float64))
    scores: Tensor = field(default_factory=lambda: torch.zeros(16, 2, dtype=torch.float64))
    control: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64))

    def meet(self) -> None:
        """Waits for all peers.

        Raises:
            RuntimeError: A peer did not come.
        """
        try:
            self.barrier.wait(PATIENCE_SECONDS)
        except BrokenBarrierError as error:
            raise RuntimeError("a training process stopped; see its output") from error

    def own(self, value: Tensor) -> Tensor:
        """Returns this process's share of a tensor: a slice of its first dimension, empty where there are too few."""
        shares = torch.tensor_split(value, self.size)
        return shares[self.rank]


def shared_team(size: int, barrier: Any, tensors: dict[str, Tensor], parameters: dict[str, Tensor]) -> Team:
    """Builds rank 0's team, all memory shared; a peer is the same team with its own rank."""
    for value in tensors.values():
        _share(value)
    gradients = {name: _share(torch.zeros(size, *value.shape)) for name, value in parameters.items()}
    return Team(
        0,
        size,
        barrier,
        tensors,
        gradients,
        _share(torch.zeros(size, 3, dtype=torch.float64)),
        _share(torch.zeros(16, 2, dtype=torch.float64)),
        _share(torch.zeros(1, dtype=torch.int64)),
    )


def _share(value: Tensor) -> Tensor:
    shared: Tensor = value.share_memory_()  # type: ignore[no-untyped-call]
    return shared

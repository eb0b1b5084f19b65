"""Small tensors between host and device, so that neither waits for the other longer than it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def to_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return (N,) int64 on the device; the host does not wait."""
    values = torch.tensor(numbers, dtype=torch.int64, device="cpu")
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class Answer:
    """Numbers on their way from the device: ask early, go on giving the device work, look late."""

    def __init__(self, values: Tensor) -> None:
        """Send a tensor to the host behind the work that was given to the device so far."""
        self._arrived: Any = None
        self._values = values
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, device="cpu", pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            event: Any = torch.cuda.Event
            self._arrived = event()
            self._arrived.record(torch.cuda.current_stream(values.device))

    def get(self) -> Any:
        """Wait until the numbers are there and return them as nested lists."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values.tolist()

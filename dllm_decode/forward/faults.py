"""Faults that only the device can see: noted as they may occur, looked at when somebody waits for it anyway.

Knows how to tell the first of them; what is a fault is known to those who note it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dllm_decode.errors import ContractError
from dllm_decode.plugins.blame import who

Fault = tuple[str, Any, str]
"""The kind at fault, the part (unused for "denoiser"), and what it did."""


class Faults:
    """Those of one decode."""

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._told: list[tuple[Sequence[Fault], str]] = []

    def note(self, flags: Tensor, faults: Sequence[Fault], where: str) -> None:
        """Remember (F,) bool, which of F faults there were, and when: "block 0, stage 'easy', step 3"."""
        self._flags.append(flags)
        self._told.append((faults, where))

    def raise_first(self) -> None:
        """Raise for the first fault noted so far; waits for the device once.

        Raises:
            ContractError: Names the part, its origin, and when it was.
        """
        if not self._flags:
            return
        found = iter(torch.cat(self._flags).tolist())
        for faults, where in self._told:
            for (kind, part, did), broken in [(fault, next(found)) for fault in faults]:
                if broken:
                    raise ContractError(f"{who(kind, part)} {did} ({where}).")
        self._flags.clear()
        self._told.clear()

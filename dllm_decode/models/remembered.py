"""What was made of a tensor, remembered for the next call with the same one: every step of a decode passes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Remembered:
    """A function of a tensor and more, which keeps its last result; threads may share one.

    What was asked and what was made of it are replaced as one, so a call never reads another thread's half.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        """Take the function."""
        self._make = make
        self._last: tuple[Tensor | None, tuple[Any, ...], Any] | None = None

    def __call__(self, tensor: Tensor | None, *more: Any) -> Any:
        """Return the function's result, the last one where tensor (the very same) and the rest are as before."""
        last = self._last
        if last is None or last[0] is not tensor or last[1] != more:
            last = self._last = (tensor, more, self._make(tensor, *more))
        return last[2]

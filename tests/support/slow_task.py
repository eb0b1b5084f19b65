"""A task whose judge takes its time, so that a test can do something in the middle of a batch."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dllm_decode.tasks.base import Example
from dllm_decode.tasks.generated.square import SquareTask


class SlowSquare(SquareTask):
    """Squares that take a quarter of a second a batch to judge."""

    name = "slow-square"

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> list[bool]:
        """Wait, then judge as usual."""
        time.sleep(0.25)
        return super().score_many(pairs)

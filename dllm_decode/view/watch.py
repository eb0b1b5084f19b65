"""Shows a decode in the terminal while it runs: the canvas of one row, filling in.

Knows steps and terminals; the decode calls `see` after every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from dllm_decode.decoding.events import StepEvent

UNDECIDED = "·"
REFRESHES = 20
"""Of the screen, a second, at most."""


class Watch:
    """The first row of each batch that is decoded, as it stands; used as a context, whose `see` is an `on_step`."""

    def __init__(self, console: Console, length: int, columns: Callable[[], int], text_of: Callable[[int], str], mask: int) -> None:
        """Begin with nothing decided.

        Args:
            console: Where to draw.
            length: Positions of the answer.
            columns: Returns the columns of the canvas, which is known once decoding begins.
            text_of: Returns a token's text.
            mask: The id of the mask token.
        """
        self._length, self._columns, self._text_of, self._mask = length, columns, text_of, mask
        self._texts: list[str | None] = [None] * length
        self._fresh: set[int] = set()
        self._calls, self._stage = 0, ""
        self._live = Live(console=console, refresh_per_second=REFRESHES, get_renderable=self.picture)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the last state and leave it standing."""
        self._live.stop()

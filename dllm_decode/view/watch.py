"""Shows a decode in the terminal while it runs: the answer of the batch's first row, filling in.

Knows steps and terminals; the decode calls `see` after every commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from dllm_decode.decoding.events import StepEvent

UNDECIDED = "·"
REFRESHES = 20
"""Of the screen, a second, at most."""


class Watch:
    """One row's answer as it stands. `see` is an `on_step`."""

    def __init__(self, first: int, length: int, text_of: Callable[[int], str], mask: int) -> None:
        """Begin with nothing decided.

        Args:
            first: The canvas column that the answer begins at.
            length: Its positions.
            text_of: Returns a token's text; "" is not seen.
            mask: The id of the mask token, which opens a position again.
        """
        self._first, self._text_of, self._mask = first, text_of, mask
        self._tokens = [mask] * length
        self._texts: dict[int, str] = {}
        self._fresh: set[int] = set()
        self._calls = 0

    def see(self, event: StepEvent) -> None:
        """Take in what a step did to the first row of its batch; fewer calls than before are another batch's."""
        if event.model_calls < self._calls:
            self._tokens = [self._mask] * len(self._tokens)
        if event.model_calls != self._calls:
            self._fresh = set()
        self._calls = event.model_calls
        offset = event.window.start - self._first
        columns = event.chosen[0].nonzero().flatten()
        for column, token in zip(columns.tolist(), event.tokens[0][columns].tolist(), strict=True):
            self._tokens[offset + column] = token
            self._fresh.add(offset + column)

    def picture(self) -> Group:
        """Return the answer as it stands, under a line of how far it is."""
        left = sum(token == self._mask for token in self._tokens)
        head = Text(f"{len(self._tokens) - left} of {len(self._tokens)} decided, forward {self._calls}", "dim")
        answer = Text()
        for position, token in enumerate(self._tokens):
            fresh = "bold green" if position in self._fresh else ""
            answer.append(self._shown(token), fresh or ("dim" if token == self._mask else ""))
        return Group(head, answer)

    def live(self, console: Console) -> Live:
        """Return a context that draws the picture, and leaves the last one standing."""
        return Live(console=console, get_renderable=self.picture, refresh_per_second=REFRESHES)

    def _shown(self, token: int) -> str:
        if token == self._mask:
            return UNDECIDED
        if token not in self._texts:
            self._texts[token] = self._text_of(token).replace("\n", "⏎")
        return self._texts[token]

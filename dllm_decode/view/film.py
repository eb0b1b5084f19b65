"""Draws decodes as they happened: tokens appearing, forward by forward, several strategies side by side.

Knows traces and terminals; leaves decoding to the model and judging to the task.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

if TYPE_CHECKING:
    from dllm_decode.generation.answers import Generation
    from dllm_decode.model import DiffusionLM

SECONDS_A_FORWARD = 0.08
"""How long a frame stands. A forward of a large model takes about this long; `tiny` would be over in a blink."""
SNAPSHOTS = (0.25, 0.5, 1.0)
"""Where no terminal is watching, the shares of the forwards after which the answer is printed."""


@dataclass(frozen=True, slots=True)
class Film:
    """One row's decode as frames."""

    title: str
    verdict: str
    correct: bool
    start: tuple[str | None, ...]
    """(gen_length,) what was decided before the first step; None is undecided."""
    changes: tuple[tuple[int, dict[int, str]], ...]
    """(forwards so far, position -> token text) of every commit, in order."""

    @property
    def forwards(self) -> int:
        """How many forwards the decode took."""
        return self.changes[-1][0] if self.changes else 0

    def frame(self, forwards: int) -> Text:
        """Return the answer as it stood after so many forwards; what the last one wrote is marked."""
        answer, fresh = list(self.start), set()
        for when, written in self.changes:
            if when > forwards:
                break
            for position, text in written.items():
                answer[position] = text
                if when == forwards:
                    fresh.add(position)
        line = Text("    ")
        for position, token in enumerate(answer):
            if token is None:
                line.append("·", style="dim")
            else:
                line.append(token, style="bold green" if position in fresh else "")
        return line

    def head(self, forwards: int) -> Text:
        """Return the line above the answer: who decodes, how far, and in the end the verdict."""
        done = forwards >= self.forwards
        line = Text(f"  {self.title:<10} {min(forwards, self.forwards):>3} forward passes  ")
        if done:
            line.append(self.verdict, style="green" if self.correct else "red")
        return line


def film(title: str, lm: DiffusionLM, out: Generation, correct: bool) -> Film:
    """Make a film of the first row of a generation that was traced."""
    assert out.trace is not None, "generate(trace=True) is what makes a film possible"
    length = out.tokens.shape[1]
    first = out.canvas.shape[1] - length
    changes = []
    for event in out.trace.batches[0].events:
        columns = event.chosen[0].nonzero().flatten().tolist()
        offset = event.window.start - first
        written = {offset + column: _shown(lm, int(event.tokens[0, column])) for column in columns}
        changes.append((event.model_calls, written))
    verdict = "correct" if correct else "wrong"
    return Film(title, verdict, correct, (None,) * length, tuple(changes))


def play(console: Console, films: Sequence[Film], seconds_a_forward: float = SECONDS_A_FORWARD) -> None:
    """Show films side by side in time; where no terminal is watching, print a few snapshots of each."""
    longest = max(film.forwards for film in films)
    if not console.is_terminal:
        for film in films:
            for share in SNAPSHOTS:
                at = max(1, round(share * film.forwards))
                console.print(film.head(at), soft_wrap=True)
                console.print(film.frame(at), soft_wrap=True)
        return
    with Live(console=console, auto_refresh=False) as live:
        for forwards in range(longest + 1):
            lines = [line for film in films for line in (film.head(forwards), film.frame(forwards))]
            live.update(Padding(Group(*lines), (0, 0)), refresh=True)
            time.sleep(seconds_a_forward)


def _shown(lm: DiffusionLM, token: int) -> str:
    """Return a token's text so that every token is seen: line ends as a sign, ends of the answer as a square."""
    if token in lm.special.ends:
        return "▫"
    text = str(lm.tokenizer.decode([token])) if lm.tokenizer is not None else f" {token}"
    return text.replace("\n", "⏎") or "▫"

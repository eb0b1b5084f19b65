"""Says while a search runs what each trial brought, the best so far, what was saved, and how long it will still take.

Knows scores and clocks; leaves where the lines go to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dllm_search.judge.candidate import Candidate
from dllm_search.judge.choose import MARGIN, holds_on_few
from dllm_search.judge.score import Score
from dllm_search.trials.record import Tried

Say = Callable[[str], None]


class Progress:
    """Follows one run of a search."""

    def __init__(
        self,
        say: Say,
        trials: int,
        references: set[str],
        *,
        margin: float = MARGIN,
        saved: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to follow.

        Args:
            say: Told one line a trial.
            trials: Different strategies in all.
            references: Digests of the strategies whose accuracy is to be kept.
            margin: The loss of accuracy that counts as none, as a fraction of 1.
            saved: Returns forward passes that were not paid for so far.
            clock: Seconds.
        """
        self.say, self.trials, self.references = say, trials, references
        self.margin, self.saved, self.clock = margin, saved, clock
        self.scores: dict[str, Score] = {}
        self.stopped: set[str] = set()
        self.reference: Score | None = None
        self.best: Score | None = None
        self._started, self._fresh = clock(), 0

    def see(self, candidate: Candidate, *, stopped: bool = False) -> None:
        """Take in a strategy that was tried; one that was stopped early only counts."""
        digest, score = candidate.strategy.digest(), candidate.score
        if stopped:
            self.stopped.add(digest)
            return
        self.scores[digest] = score
        better = self.reference is None or score.accuracy > self.reference.accuracy
        if digest in self.references and better:
            self.reference = score
        if self.reference is not None:
            fit = [s for s in self.scores.values() if holds_on_few(s, self.reference, self.margin)]
            self.best = min(fit, key=lambda s: s.cost, default=None)

    def tell(self, tried: Tried) -> None:
        """Say what a trial brought."""
        if tried.candidate is None:
            self.say(f"trial {tried.number}: refused: {tried.reason}")
            return
        score = tried.candidate.score
        self.see(tried.candidate, stopped=bool(tried.reason))
        self._fresh += not tried.repeat
        done = len(self.stopped | set(self.scores))
        again = " (seen before)" if tried.repeat else ""
        why = f", {tried.reason}" if tried.reason else ""
        self.say(
            f"trial {tried.number} [{done}/{self.trials}] {tried.candidate.name}: "
            f"{100 * score.accuracy:.1f} % at {shown_cost(score)}{why}{again}{self._so_far(done)}"
        )

    def _so_far(self, done: int) -> str:
        found = ""
        if self.best is not None and self.reference is not None:
            times = self.reference.cost / max(self.best.cost, 1e-9)
            found = f"; best so far {shown_cost(self.best)} ({times:.1f}x less)"
        if saved := round(self.saved()):
            found += f"; {saved} forwards saved"
        left = self.trials - done
        if left > 0 and self._fresh:
            seconds = (self.clock() - self._started) / self._fresh * left
            found += f"; about {duration(seconds)} left"
        return found


def shown_cost(score: Score) -> str:
    """Return a cost in words."""
    if score.measured is None:
        worth = "" if score.work == 1 else f" worth {score.plain_forwards:.1f} plain ones"
        return f"{score.forward_passes:.1f} forwards{worth}"
    return f"{score.measured:.2f} of the baseline's time ({score.forward_passes:.1f} forwards)"


def duration(seconds: float) -> str:
    """Return a time to wait, rounded as such guesses deserve."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

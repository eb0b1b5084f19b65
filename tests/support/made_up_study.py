"""A search small enough for tests: a space, an objective that costs nothing, a driver that can be killed.

Drivers are forked, so that none of them has to import anything anew.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.score import Score
from dllm_search.search import Search
from dllm_search.settings import Settings
from dllm_search.space.space import Space
from dllm_search.trials.record import Tried, in_order
from dllm_search.trials.study import open_study

LENGTH, EXAMPLES, TRIALS = 16, 12, 12
_FORK = multiprocessing.get_context("fork")


class Luck:
    """More steps are more accurate, each example has a difficulty, and each strategy luck of its own."""

    def __init__(self, pause: float = 0.0) -> None:
        """Take `pause` seconds for every strategy, so that a driver can be killed in the middle."""
        self.pause = pause
        self.asked: list[str] = []

    def __call__(self, strategy: Strategy, split: str, examples: int) -> Score:
        """Score the first examples."""
        return self.rows(strategy, split, range(examples))

    def rows(self, strategy: Strategy, split: str, rows: Sequence[int]) -> Score:
        """Score the examples at these places."""
        self.asked.append(strategy.digest())
        time.sleep(self.pause)
        forwards = strategy.max_forwards()
        sign = int(hashlib.sha256(strategy.digest().encode()).hexdigest()[:8], 16)
        correct = tuple((place * 7919 + sign) % 97 < 40 + 3 * forwards for place in rows)
        return Score(correct, (forwards,) * len(correct), (LENGTH,) * len(correct))


def space() -> Space:
    """A space that holds a few hundred strategies, quickly drawn."""
    return Space.load("said", LENGTH)


def first() -> list[Strategy]:
    """Strategies that the space holds, tried early."""
    return [Strategy.load("said", gen_length=LENGTH, steps=steps) for steps in (16, 12, 8, 6)]


def search(luck: Luck, say: Callable[[str], None] = lambda line: None, **options: Any) -> Search:
    """The search."""
    asked = Settings(**{"trials": TRIALS, "examples": EXAMPLES, "generation": 4, **options})
    return Search("made-up", LENGTH, luck, asked, say, nearest=first())


def drive(
    place: str | Path | None,
    luck: Luck | None = None,
    say: Callable[[str], None] = lambda line: None,
    watch: Callable[[Tried], None] | None = None,
    **options: Any,
) -> optuna.Study:
    """Run the search to its end in this process."""
    run = search(luck or Luck(), say, **options)
    study = open_study(place, "made-up", {**run.settings.fixed(), "everything": False}, say)
    run.run(study, space(), watch)
    return study


def forked(place: str | Path, pause: float, **options: Any) -> BaseProcess:
    """A driver in a process of its own, which is running."""
    process = _FORK.Process(target=_drive, args=(place, pause, options), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """End a process by what no program can catch."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def story(study: optuna.Study) -> list[tuple[object, ...]]:
    """What became of every slot, in order; fails if anything is left over or was counted twice."""
    trials = study.get_trials(deepcopy=False)
    assert all(trial.state.is_finished() for trial in trials)
    assert [trial.user_attrs["slot"] for trial in in_order(trials)] == list(range(len(trials)))
    return [
        (t.state, t.params, t.values, t.user_attrs.get("label"), t.user_attrs.get("digest"), t.intermediate_values)
        for t in in_order(trials)
    ]


def until(condition: Callable[[], object], seconds: float = 60.0, pause: float = 0.02) -> None:
    """Wait for something that other processes bring about, and look for it every `pause` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never happened"
        time.sleep(pause)


def _drive(place: str | Path, pause: float, options: dict[str, Any]) -> None:
    try:
        drive(place, Luck(pause), **options)
    except BaseException as error:
        print(f"driver {os.getpid()}: {type(error).__name__}: {error}", flush=True)
        os._exit(1)
    os._exit(0)

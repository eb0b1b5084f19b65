"""A study that several processes share, small enough for tests: a space, an objective that costs nothing, workers.

The workers are forked, so that none of them has to import anything anew.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import pareto_judge
from dllm_search.judge.score import Score
from dllm_search.report.choose import Candidate, pareto_front
from dllm_search.space.space import Space
from dllm_search.trials import study as studies
from dllm_search.trials.generations import SLOT
from dllm_search.trials.worker import Terms, Worker

LENGTH, EXAMPLES, WANTED = 16, 12, 12
SETUP = {"task": "made-up", "generation": 4}
TERMS = Terms(width=4, beat=0.1, grace=20.0, poll=0.1)
_FORK = multiprocessing.get_context("fork")


def space() -> Space:
    """A space that holds a few hundred strategies, quickly drawn."""
    return Space.load("said", LENGTH)


def first() -> list[Strategy]:
    """The strategies of the first generation."""
    return [Strategy.load("said", gen_length=LENGTH, steps=steps) for steps in (16, 8)]


def score(strategy: Strategy) -> Score:
    """More steps are more accurate, each example has a difficulty, and each strategy luck of its own."""
    forwards = strategy.max_forwards()
    sign = int(hashlib.sha256(strategy.digest().encode()).hexdigest()[:8], 16)
    correct = tuple((place * 7919 + sign) % 97 < 40 + 3 * forwards for place in range(EXAMPLES))
    return Score(correct, (forwards,) * EXAMPLES, (LENGTH,) * EXAMPLES)


def slow(seconds: float) -> Callable[[Strategy], Score]:
    """The same, and slow enough to be killed in the middle."""

    def scored(strategy: Strategy) -> Score:
        time.sleep(seconds)
        return score(strategy)

    return scored


def opened(place: str | Path | None) -> optuna.Study:
    """The study, begun if it is not there."""
    return studies.open_study(place, "shared", SETUP)


def worker(
    study: optuna.Study, scored: Callable[[Strategy], Score] = score, terms: Terms = TERMS, **more: object
) -> Worker:
    """A worker of this process."""
    judge = pareto_judge(scored, lambda: 0.0)
    options = {"wanted": lambda: WANTED, "first": first(), **more}
    return Worker(study, space(), judge, terms, **options)  # type: ignore[arg-type]


def forked(place: str | Path, scored: Callable[[Strategy], Score], terms: Terms = TERMS) -> BaseProcess:
    """A worker in a process of its own, which is running."""
    process = _FORK.Process(target=_work, args=(place, scored, terms), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """What no program can catch; the process is not waited for, as if it were on another machine."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)


def running(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that somebody works on, or has died over."""
    return [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if "process" in t.user_attrs]


def outcome(study: optuna.Study) -> dict[int, tuple[object, ...]]:
    """Slot -> what became of it; fails if anything is counted twice, or is left over."""
    trials = study.get_trials(deepcopy=False)
    assert all(trial.state.is_finished() for trial in trials)
    counted = [trial for trial in trials if trial.state != TrialState.FAIL]
    slots = [trial.user_attrs[SLOT] for trial in counted]
    assert sorted(slots) == list(range(len(slots))), slots
    return {
        trial.user_attrs[SLOT]: (trial.params, trial.values, trial.user_attrs.get("digest")) for trial in counted
    }


def front(study: optuna.Study) -> list[str]:
    """Digests of the strategies that nothing tried beats in both accuracy and cost."""
    tried = [
        Candidate(Strategy.from_yaml(trial.user_attrs["strategy"], "trial"), score_of(trial), "")
        for trial in studies.complete(study)
    ]
    return sorted({candidate.strategy.digest() for candidate in pareto_front(tried)})


def score_of(trial: FrozenTrial) -> Score:
    """The score that a trial keeps."""
    from dllm_search.trials.generations import unpack

    judged = unpack(trial)
    assert judged is not None
    return judged.score


def without_faults() -> dict[int, tuple[object, ...]]:
    """What one worker makes of the study if nothing happens."""
    study = opened(None)
    worker(study).run()
    return outcome(study)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never happened"
        time.sleep(0.02)


def _work(place: str | Path, scored: Callable[[Strategy], Score], terms: Terms) -> None:
    try:
        worker(opened(place), scored, terms).run()
    except BaseException as error:
        print(f"worker {os.getpid()}: {type(error).__name__}: {error}", flush=True)
        os._exit(1)
    os._exit(0)

"""The one loop of a search: draw a generation, have its slots judged, write them into the study in order.

A trial is written once, finished, in one step of the storage. So what a study holds is always the beginning of the
same story, and whoever kills the driver loses at most the trials that were being judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.candidate import Candidate
from dllm_search.judge.judgement import Judge, Judgement
from dllm_search.trials.generations import Draft, Plan, draw
from dllm_search.trials.record import LABEL, REASON, SLOT, Tried, in_order, judged, pack, unpack
from dllm_search.trials.study import quiet

IDLE_LIMIT = 50
"""Trials in a row that brought nothing new (repeats and refused ones) after which the space counts as exhausted."""

Result = Judgement | ConfigError | ContractError
"""What a strategy is worth, or why it was refused."""


def run(
    study: optuna.Study,
    plan: Plan,
    judge: Judge,
    *,
    trials: int,
    at_once: int = 1,
    timeout: float | None = None,
    on_trial: Callable[[Tried], None] = lambda tried: None,
) -> str:
    """Try strategies until `trials` different ones have been scored; return why the search ended.

    Args:
        study: Continued where it stands.
        plan: What decides what is tried.
        judge: Scores a strategy; raises `ConfigError` or `ContractError` where the strategy is to blame. Anything else
            it raises ends the search, and the same strategy is tried again when the search goes on.
        trials: Different strategies in all, earlier runs included. Repeats and refused combinations are not counted.
        at_once: Strategies of a generation that are judged at the same time, by threads.
        timeout: Seconds after which no new trial is begun.
        on_trial: Told of every trial once it is in the study.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        with quiet():
            history = in_order(study.get_trials(deepcopy=False))
        known = judged(history)
        missing = trials - len(known)
        if missing <= 0:
            return f"all {trials} trials are done"
        if (idle := _idle(history)) >= IDLE_LIMIT:
            return f"the space is exhausted: {idle} draws in a row brought nothing new"
        with quiet():
            drafts = draw(plan, history, study.directions)
        # No more than are still wanted: a generation may be left unfinished, and is drawn the same again if need be.
        work = [draft for draft in drafts if draft.slot >= len(history)][:missing]
        results = _results(_fresh(work, known), judge, at_once)
        refused: dict[str, Result] = {}
        for draft in work:
            if deadline is not None and time.monotonic() > deadline:
                return f"the timeout of {timeout:g} s"
            trial, tried = _settle(draft, known, refused, results)
            with quiet():
                study.add_trial(trial)
            if "digest" in trial.user_attrs:
                known.setdefault(trial.user_attrs["digest"], trial)
            on_trial(tried)


def _idle(history: Sequence[FrozenTrial]) -> int:
    """Return how many trials at the end, in a row, brought no new strategy."""
    fresh = {id(trial) for trial in judged(history).values()}
    last = max((place for place, trial in enumerate(history) if id(trial) in fresh), default=-1)
    return len(history) - 1 - last


def _fresh(drafts: Sequence[Draft], known: dict[str, FrozenTrial]) -> list[tuple[Draft, Strategy]]:
    """Return the drafts that have to be judged, each strategy once."""
    found: dict[str, tuple[Draft, Strategy]] = {}
    for draft in drafts:
        if draft.strategy is not None and draft.strategy.digest() not in known:
            found.setdefault(draft.strategy.digest(), (draft, draft.strategy))
    return list(found.values())


def _results(work: Sequence[tuple[Draft, Strategy]], judge: Judge, at_once: int) -> Iterator[Result]:
    """Yield what came of each draft, in order; one by one, so that each can be written before the next begins."""
    if at_once <= 1 or len(work) <= 1:
        yield from map(partial(_judge, judge), work)
        return
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(partial(_judge, judge), work)


def _judge(judge: Judge, work: tuple[Draft, Strategy]) -> Result:
    draft, strategy = work
    try:
        return judge(draft.trial, strategy)
    except (ConfigError, ContractError) as error:
        return error


def _settle(
    draft: Draft, known: dict[str, FrozenTrial], refused: dict[str, Result], results: Iterator[Result]
) -> tuple[FrozenTrial, Tried]:
    """Return a slot's trial as the study is to keep it, and what to tell of it."""
    noted: dict[str, object] = {SLOT: draft.slot, **({LABEL: draft.label} if draft.label else {})}
    if draft.strategy is None:
        trial = draft.frozen(TrialState.PRUNED, {**noted, REASON: draft.refusal})
        return trial, Tried(draft.slot, None, reason=draft.refusal)
    digest = draft.strategy.digest()
    earlier = known.get(digest)
    if earlier is not None:
        result: Result = unpack(earlier)
    else:
        result = refused[digest] if digest in refused else next(results)
    if not isinstance(result, Judgement):
        refused[digest] = result
        return draft.frozen(TrialState.PRUNED, {**noted, REASON: str(result)}), Tried(
            draft.slot, None, reason=str(result)
        )
    state = TrialState.PRUNED if result.values is None else TrialState.COMPLETE
    reported = {} if earlier is None else {"intermediate_values": earlier.intermediate_values}
    trial = draft.frozen(state, {**noted, **pack(draft.strategy, result)}, values=result.values, **reported)
    candidate = Candidate(draft.strategy, result.score, draft.label)
    return trial, Tried(draft.slot, candidate, earlier is not None, result.reason)

"""The study: how it is begun, continued and read, and the loop that asks, decodes and tells.

Knows Optuna; leaves where a study is kept to `storage`, what a strategy is to `space`, scoring to the caller.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import ConfigError, DecodeError, unknown_name
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import AXES, Judge, Judgement, pareto_judge
from dllm_search.judge.score import Score
from dllm_search.report.choose import Candidate
from dllm_search.space.space import Space
from dllm_search.trials.generations import IDLE_LIMIT, SLOT
from dllm_search.trials.heartbeat import PROCESS, gone, identity
from dllm_search.trials.storage import open_storage, shown


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one trial."""

    number: int
    candidate: Candidate | None
    """None if the combination was refused."""
    repeat: bool = False
    """Whether the same strategy had been scored by an earlier trial."""
    reason: str = ""
    """Why it was refused, or stopped early."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's own log and experimental notes, and leave its verbosity as it was."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Optuna 5 prefers Trial.set_constraint, which Optuna 4 does not have.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_study(
    storage: str | Path | None,
    name: str | None,
    setup: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> optuna.Study:
    """Create a study or continue one.

    Args:
        storage: A file for the journal, a database URL, or None to keep it in memory.
        name: The study's name; None is the only one that is there.
        setup: What must not change while a study grows (task, model, examples, space); None opens what is there.
        say: Told when a storage that others share stops answering, and when it answers again.

    Raises:
        ConfigError: No such study, or it was begun with another setup.
        DataError: The storage cannot be opened.
    """
    with quiet():
        kept = open_storage(storage, create=setup is not None, say=say)
        if setup is None:
            names = optuna.get_all_study_names(kept)
            if name is None and len(names) == 1:
                name = names[0]
            if name is None:
                raise ConfigError(f"{shown(storage)} holds {len(names)} studies; give --study: {', '.join(names)}")
            if name not in names:
                raise ConfigError(f"{shown(storage)}: {unknown_name('study', name, names)}")
            return optuna.load_study(study_name=name, storage=kept)
        directions, metrics = AXES[setup.get("objective", "pareto")]
        study = optuna.create_study(
            study_name=name, storage=kept, directions=list(directions), load_if_exists=True
        )
        if "setup" not in study.user_attrs:
            study.set_metric_names(list(metrics))
            study.set_user_attr("setup", dict(setup))
    begun = study.user_attrs["setup"]
    changed = [key for key in setup if begun.get(key) != setup[key]]
    if changed:
        said = ", ".join(f"{key} {begun.get(key)!r}, now {setup[key]!r}" for key in changed)
        raise ConfigError(
            f"study {name!r} in {shown(storage)} was begun with {said}; give another --study or --storage."
        )
    return study


def enqueue(study: optuna.Study, space: Space, strategies: Sequence[Strategy]) -> list[Strategy]:
    """Make strategies the study's first trials; return those that the space cannot express."""
    outside = []
    with quiet():
        known = [trial.user_attrs.get("label") for trial in study.get_trials(deepcopy=False)]
        for strategy in strategies:
            parameters = space.parameters(strategy)
            if parameters is None:
                outside.append(strategy)
            elif strategy.name not in known:
                study.enqueue_trial(parameters, user_attrs={"label": strategy.name})
    return outside


def retry_abandoned(study: optuna.Study) -> int:
    """Fail the trials of processes of this machine that are gone, queue their parameters again, and count them."""
    count = 0
    with quiet():
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            owner = trial.user_attrs.get(PROCESS)
            if owner in (None, identity()) or gone(owner):
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                _requeue(study, trial)
                count += 1
    return count


def run(
    study: optuna.Study,
    space: Space,
    score: Callable[[Strategy], Score],
    *,
    trials: int,
    seed: int = 0,
    sampler: str = "tpe",
    timeout: float | None = None,
    floor: Callable[[], float] = lambda: 0.0,
    judge: Judge | None = None,
    on_trial: Callable[[Tried], None] | None = None,
) -> str:
    """Try strategies until `trials` different ones have been scored; return why the search ended.

    The sampler is seeded anew for every trial from `seed` and the number of finished trials, so an interrupted study
    goes on as if it had never stopped.

    Args:
        study: Continued where it stands.
        space: What may be composed.
        score: Scores a strategy; raises `DecodeError` where a part breaks its contract.
        trials: Different strategies in all, earlier runs included. Repeats and refused combinations are not counted.
        seed: Of the sampler.
        sampler: "tpe" or "nsga2".
        timeout: Seconds after which no new trial is begun.
        floor: The accuracy below which a strategy is of no use, asked after every trial; the sampler then looks
            elsewhere instead of filling the cheap and useless end of the front.
        judge: What a strategy is worth where that is not accuracy and cost; it may stop a trial early.
        on_trial: Told of every trial.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    judge = judge or pareto_judge(score, floor)
    scored = {t.user_attrs["digest"]: t for t in (*complete(study), *stopped(study))}
    idle = 0
    while len(scored) < trials:
        if deadline is not None and time.monotonic() > deadline:
            return f"the timeout of {timeout:g} s"
        if idle >= IDLE_LIMIT:
            return f"the space is exhausted: {IDLE_LIMIT} draws in a row brought nothing new"
        tried = _one(study, space, scored, partial(make_sampler, sampler), seed, judge)
        idle = idle + 1 if tried.repeat or tried.candidate is None else 0
        if on_trial is not None:
            on_trial(tried)
    return f"all {trials} trials are done"


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Return the scored trials in order."""
    return _in_order(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def stopped(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were stopped before all examples were looked at, in order."""
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    return [trial for trial in _in_order(pruned) if "stopped" in trial.user_attrs]


def glimpse(trial: FrozenTrial) -> Score:
    """Return a stand-in for what was seen of a stopped trial: the same means, on as many examples."""
    noted = trial.user_attrs
    n, right = noted["n"], round(noted["accuracy"] * noted["n"])
    whole, more = divmod(round(noted["forward_passes"] * n), n)
    forwards = tuple(whole + (place < more) for place in range(n))
    return Score(tuple(place < right for place in range(n)), forwards, (0,) * n, noted.get("measured"))


def attributes(strategy: Strategy, judged: Judgement) -> dict[str, Any]:
    """Return what a trial notes of its strategy and of what became of it."""
    means = ("accuracy", "forward_passes", "tokens_per_forward", "n", "measured")
    return {
        "digest": strategy.digest(),
        "strategy": strategy.to_yaml(),
        **{name: getattr(judged.score, name) for name in means},
        **({"stopped": judged.reason} if judged.values is None else {}),
    }


def _in_order(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials in the order of the study, in which one that was tried again keeps its place."""
    return sorted(trials, key=lambda trial: trial.user_attrs.get(SLOT, trial.number))


def _one(
    study: optuna.Study,
    space: Space,
    scored: dict[str, FrozenTrial],
    sampler: Callable[[int, list[float]], optuna.samplers.BaseSampler],
    seed: int,
    judge: Judge,
) -> Tried:
    shortfall = [0.0]
    with quiet():
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        study.sampler = sampler((seed * 1_000_003 + len(finished)) % 2**32, shortfall)
        trial = study.ask()
        trial.set_user_attr(PROCESS, identity())
        label = trial.user_attrs.get("label", "")
        try:
            strategy = space.suggest(trial)
        except DecodeError as error:
            return _refused(study, trial, str(error))
    digest = strategy.digest()
    repeat = digest in scored
    try:
        judged = judge(trial, strategy)
    except DecodeError as error:
        return _refused(study, trial, str(error))
    except BaseException:
        with quiet():
            study.tell(trial, state=TrialState.FAIL)
            _requeue(study, study.trials[trial.number])
        raise
    with quiet():
        for name, value in attributes(strategy, judged).items():
            trial.set_user_attr(name, value)
        shortfall[0] = judged.shortfall
        if judged.values is None:
            scored[digest] = study.tell(trial, state=TrialState.PRUNED)
        else:
            scored[digest] = study.tell(trial, judged.values)
    return Tried(trial.number, Candidate(strategy, judged.score, label), repeat, judged.reason)


def _refused(study: optuna.Study, trial: optuna.Trial, reason: str) -> Tried:
    with quiet():
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=TrialState.PRUNED)
    return Tried(trial.number, None, reason=reason)


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    label = trial.user_attrs.get("label")
    study.enqueue_trial(trial.params, user_attrs={"label": label} if label else None)


def make_sampler(name: str, seed: int, shortfall: Sequence[float] = (0.0,)) -> optuna.samplers.BaseSampler:
    """Return a sampler, "tpe" or "nsga2"; it holds a trial for infeasible if `shortfall` is above 0 when it is told."""

    def constraints(trial: FrozenTrial) -> tuple[float, ...]:
        return tuple(shortfall)

    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=16, constraints_func=constraints)
    return optuna.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        group=True,
        constant_liar=True,
        n_startup_trials=8,
        constraints_func=constraints,
    )

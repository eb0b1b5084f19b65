"""A search whose trials several workers share: what they are told of it, and each one's part in it.

Knows what a study records so that anybody can join; leaves the protocol to `worker`, judging to the search's objective.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import pareto_judge
from dllm_search.report.choose import Candidate
from dllm_search.report.progress import WITHIN_REACH
from dllm_search.settings import Settings
from dllm_search.space.baselines import reference_digests
from dllm_search.space.space import YAML, Space, read_yaml
from dllm_search.trials.generations import as_noted, pack_score, unpack_score
from dllm_search.trials.heartbeat import gone, identity
from dllm_search.trials.study import Tried, quiet
from dllm_search.trials.worker import Terms, Worker

if TYPE_CHECKING:
    from dllm_search.search import Search

ASKED, REFERENCE = "asked", "reference"
"""Attributes of a study: what was asked for, in full, and the score of the quality to keep."""

AGREED = (
    "trials", "strategy", "fix", "objective", "max_drop", "cost", "cost_batch_size", "sampler", "seed", "examples",
    "batch_size", "generation",
)  # fmt: skip
"""The settings that a worker takes from the study that it joins."""

REFERENCE_WAIT = 1800.0
"""Seconds for which a worker on another machine is waited for while it scores the reference."""


def record(
    study: optuna.Study, settings: Settings, *, task: str, model: str, dtype: str, first: Sequence[Strategy]
) -> None:
    """Note in a study what is asked of it, unless that is done.

    Args:
        study: With its setup.
        settings: Of the search. The number of trials may be another each time.
        task: The task's name.
        model: What loads the model again, on a machine where it lies in the same place.
        dtype: Of the weights.
        first: The strategies of the first generation.
    """
    asked: dict[str, Any] = study.user_attrs.get(ASKED) or {
        **{name: getattr(settings, name) for name in AGREED},
        "generation": settings.width(),
        "strategy": _portable(settings.strategy),
        "task": task,
        "model": model,
        "dtype": dtype,
        "first": [strategy.to_yaml() for strategy in first],
    }
    asked["trials"] = settings.trials
    if asked != study.user_attrs.get(ASKED):
        study.set_user_attr(ASKED, asked)


def agreed(asked: Mapping[str, Any], **own: Any) -> Settings:
    """Return the settings of a worker: the study's, and `own` ones that may differ between workers."""
    return Settings(**{**{name: asked[name] for name in AGREED}, **own})


def share(search: Search, study: optuna.Study, space: Space, terms: Terms) -> str:
    """Take part in a study until it is done; return why it ended.

    Args:
        search: Of the task, with this process's model.
        study: In which `record` has noted what is asked.
        space: What may be composed.
        terms: How workers work together.
    """
    asked = study.user_attrs[ASKED]
    pareto = search.settings.objective == "pareto"
    beside = not pareto or not space.whole
    if beside:
        adopt_reference(search, study)
    progress = search.progress()
    judge = search.judge(study, progress) or pareto_judge(search.score, lambda: 0.0)
    if beside:
        progress.reference = search.reference().score

    def of_others(tried: Tried) -> None:
        if tried.candidate is not None:
            progress.see(tried.candidate, stopped=bool(tried.reason))

    worker = Worker(
        study,
        space,
        judge,
        terms,
        wanted=lambda: int(study.user_attrs[ASKED]["trials"]),
        first=[Strategy.from_yaml(text, "first generation") for text in asked["first"]],
        shortfall=_below_reach(search, space) if pareto else as_noted,
        on_trial=progress.tell,
        on_other=of_others,
        say=search.say,
    )
    return worker.run(search.settings.timeout)


def adopt_reference(search: Search, study: optuna.Study) -> None:
    """Score the quality to keep, once for all workers: whoever comes first decodes it, the others wait for it."""
    deadline = time.monotonic() + REFERENCE_WAIT
    while True:
        noted = study.user_attrs.get(REFERENCE)
        if noted is not None and "strategy" in noted:
            strategy = Strategy.from_yaml(noted["strategy"], "reference")
            search.adopt_reference(Candidate(strategy, unpack_score(noted), noted["name"]))
            return
        owner = None if noted is None else noted["worker"]
        if owner in (None, identity()) or gone(owner) or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    with quiet():
        study.set_user_attr(REFERENCE, {"worker": identity()})
    found = search.reference()
    noted = {"name": found.name, "strategy": found.strategy.to_yaml(), **pack_score(found.score)}
    with quiet():
        study.set_user_attr(REFERENCE, {"worker": identity(), **noted})


def _below_reach(search: Search, space: Space) -> Callable[[Sequence[FrozenTrial]], Sequence[float]]:
    """Return how far below the reference, less what tuning might make up for, each trial's accuracy is."""
    digests = reference_digests(search.gen_length)
    # A limited space may not hold the quality to keep, so it is measured beside the study.
    beside = [] if space.whole else [search.reference().score.accuracy]

    def shortfall(history: Sequence[FrozenTrial]) -> Sequence[float]:
        scored = [trial for trial in history if trial.state == TrialState.COMPLETE]
        known = [t.user_attrs["accuracy"] for t in scored if t.user_attrs["digest"] in digests]
        floor = max([*known, *beside], default=WITHIN_REACH) - WITHIN_REACH
        return [floor - trial.user_attrs.get("accuracy", 1.0) for trial in history]

    return shortfall


def _portable(source: Any) -> Any:
    """Return what is to be searched so that it means the same on a machine without this one's files."""
    if source is None or isinstance(source, Mapping):
        return source
    if isinstance(source, Strategy):
        return source.to_dict()
    text = str(source)
    return read_yaml(text) if text.endswith(YAML) else text

"""The study: how it is begun, continued and read.

Knows Optuna; leaves where a study is kept to `storage`, and what is tried in it to `driver`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import GOALS
from dllm_search.trials.address import shown_address
from dllm_search.trials.record import STOPPED, in_order
from dllm_search.trials.storage import open_storage

SETUP, FIRST = "setup", "first"
"""Attributes of a study: what must not change while it grows, and the strategies that its first slots try."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's own log and experimental notes, and leave its verbosity as it was."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def open_study(
    storage: str | Path | None,
    name: str | None,
    setup: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Create a study or continue one.

    Args:
        storage: A file for the journal, a database URL, or None to keep it in memory.
        name: The study's name; None is the only one that is there.
        setup: What must not change while a study grows (task, model, examples, space); None opens what is there.
        say: Told what was wrong with the storage and could be helped.
        defaults: More of the setup, for a new study; one that is there keeps its own.

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
                raise ConfigError(
                    f"{shown_address(storage)} holds {len(names)} studies; give --study: {', '.join(names)}"
                )
            if name not in names:
                raise ConfigError(f"{shown_address(storage)}: {unknown_name('study', name, names)}")
            return optuna.load_study(study_name=name, storage=kept)
        values = GOALS[setup.get("objective", next(iter(GOALS)))].values
        study = optuna.create_study(
            study_name=name, storage=kept, directions=list(values.values()), load_if_exists=True
        )
        if SETUP not in study.user_attrs:
            study.set_metric_names(list(values))
            study.set_user_attr(SETUP, {**(defaults or {}), **setup})
    begun = study.user_attrs[SETUP]
    changed = [key for key in setup if begun.get(key) != setup[key]]
    if changed:
        said = ", ".join(f"{key} {begun.get(key)!r}, now {setup[key]!r}" for key in changed)
        raise ConfigError(
            f"study {name!r} in {shown_address(storage)} was begun with {said}; give another --study or --storage."
        )
    return study


def note_first(study: optuna.Study, strategies: Sequence[Strategy]) -> list[Strategy]:
    """Note in a new study what it tries first; return what was noted when it began."""
    with quiet():
        if FIRST not in study.user_attrs:
            study.set_user_attr(FIRST, [strategy.to_yaml() for strategy in strategies])
        return [Strategy.from_yaml(text, "first strategies") for text in study.user_attrs[FIRST]]


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Return the scored trials in order."""
    trials = in_order(study.get_trials(deepcopy=False))
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def stopped(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were stopped before all examples were looked at, in order."""
    return [trial for trial in in_order(study.get_trials(deepcopy=False)) if STOPPED in trial.user_attrs]

"""Calls to a storage that outlast its outages: a database that restarts, a proxy that moves, a network that drops.

Knows which errors pass by themselves and which calls may have gone through although no answer came back.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import DataError

PATIENCE = 300.0
"""Seconds for which a storage that has stopped answering is tried again."""

SLOWEST = 10.0
"""Seconds between two tries, at most."""

TOKEN = "token"
"""The attribute that tells a trial of one call from those of all others."""


class Patient:
    """A storage whose calls are tried again while it does not answer.

    A call may have gone through although its answer was lost, so repeating it must not do it twice: reading, setting
    an attribute and making a study that may exist are safe; a trial that was made is found again by its token, and one
    that was already told is compared with what was to be told.
    """

    def __init__(
        self,
        storage: optuna.storages.BaseStorage,
        name: str,
        patience: float = PATIENCE,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Wrap a storage.

        Args:
            storage: What is called.
            name: Of the storage, for messages.
            patience: Seconds after which an outage is given up on.
            say: Told when an outage begins and when it is over.
        """
        self._storage, self._name, self._patience, self._say = storage, name, patience, say

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the storage; methods are called with patience."""
        found = getattr(self._storage, name)
        return partial(self._call, found) if callable(found) else found

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Make a trial, once."""
        token = None if template_trial is None else template_trial.user_attrs.get(TOKEN)

        def made() -> int | None:
            if token is None:
                return None
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            return next((t._trial_id for t in trials if t.user_attrs.get(TOKEN) == token), None)

        create = partial(self._storage.create_new_trial, study_id, template_trial)
        number: int = self._patiently(create, made)
        return number

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state; True if it is as asked, by this call or by one whose answer was lost."""

        def done() -> bool | None:
            trial = self._storage.get_trial(trial_id)
            as_asked = state.is_finished() and trial.state == state
            return True if as_asked and (values is None or trial.values == list(values)) else None

        change = partial(self._storage.set_trial_state_values, trial_id, state, values)
        changed: bool = self._patiently(change, done)
        return changed

    def _call(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return self._patiently(partial(call, *args, **options), lambda: None)

    def _patiently(self, call: Callable[[], Any], known: Callable[[], Any]) -> Any:
        """Call until it is answered; `known` returns the answer of an earlier try, None if there is none."""
        began: float | None = None
        wait = 0.25
        while True:
            try:
                answer = None if began is None else known()
                answer = call() if answer is None else answer
            except Exception as error:
                if not is_outage(error):
                    raise
                now = time.monotonic()
                if began is None:
                    began = now
                    self._say(f"storage {self._name} does not answer ({one_line(error, 100)}); trying again")
                if now - began > self._patience:
                    raise DataError(
                        f"storage {self._name} has not answered for {self._patience:g} s ({one_line(error)}); "
                        "what it holds is safe: start the same command again once it is back"
                    ) from None
                # Hundreds of workers must not all come back in the same moment.
                time.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(2 * wait, SLOWEST)
            else:
                if began is not None:
                    self._say(f"storage {self._name} answers again after {time.monotonic() - began:.1f} s")
                return answer


def is_outage(error: BaseException) -> bool:
    """Return whether an error is one that passes when a server or a network comes back."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        link = link.__cause__ or link.__context__
    return any(map(_is_outage, seen))


def one_line(error: BaseException, limit: int = 240) -> str:
    """Return what an error says in one short line."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    # Whoever did not import a driver cannot have got its errors.
    if (sql := sys.modules.get("sqlalchemy.exc")) is not None:
        if isinstance(error, sql.OperationalError | sql.InterfaceError | sql.TimeoutError):
            return True
        if isinstance(error, sql.DBAPIError) and error.connection_invalidated:
            return True
    if (grpc := sys.modules.get("grpc")) is not None and isinstance(error, grpc.RpcError):
        code = error.code() if hasattr(error, "code") else None
        passing = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL", "CANCELLED", "RESOURCE_EXHAUSTED")
        return code is not None and code.name in passing
    return False

"""A worker: one of any number of processes that share the trials of a study, on one machine or many.

Knows the protocol: plan a generation, claim a slot, run it under a heartbeat, tell; retry what others left behind.
Leaves what a slot tries to `generations`, signs of life to `heartbeat`, and outages to `patience`.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import Judge, Judgement
from dllm_search.report.choose import Candidate
from dllm_search.settings import GENERATION
from dllm_search.space.space import Space
from dllm_search.trials.generations import (
    CANCELLED,
    REPORTED,
    SLOT,
    Draft,
    Generation,
    Ledger,
    Shortfall,
    as_noted,
    draw,
    draw_known,
    pack,
    publish,
    rehearsal,
    replay,
    republished,
    unpack,
)
from dllm_search.trials.heartbeat import PROCESS, Beat, Watch, gone, identity
from dllm_search.trials.patience import one_line
from dllm_search.trials.study import Tried, attributes, make_sampler, quiet

PLANNER = "planner"
"""The study's attribute that says who plans a generation, so that others need not."""

PLANNING = 5.0
"""Seconds without a new slot after which a planner is taken to be lost."""

FAILURES = 3
"""Trials in a row that fail for reasons of this machine after which a worker gives up."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the workers of a study agree on, and how each looks after the others."""

    width: int = GENERATION
    """Slots of a generation: trials that may run at the same time."""
    seed: int = 0
    sampler: str = "tpe"
    retries: int = 3
    """How often a slot whose worker was lost is tried again."""
    beat: float = 10.0
    """Seconds between two signs of life."""
    grace: float = 60.0
    """Seconds without a sign after which a worker counts as lost; at once if its process can be seen to have ended."""
    poll: float = 1.0
    """Seconds between two looks at the study while there is nothing to do, at most."""


def tried_before(trial: FrozenTrial) -> Tried | None:
    """Return what became of a finished trial that a study holds, None if it keeps no outcomes."""
    judged = unpack(trial)
    if judged is None:
        return None
    strategy = Strategy.from_yaml(trial.user_attrs["strategy"], f"trial {trial.number}")
    candidate = Candidate(strategy, judged.score, trial.user_attrs.get("label", ""))
    return Tried(trial.number, candidate, reason=judged.reason)


class Worker:
    """Takes slots of a study until it is done."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        judge: Judge,
        terms: Terms,
        *,
        wanted: Callable[[], int],
        first: Sequence[Strategy] = (),
        shortfall: Shortfall = as_noted,
        on_trial: Callable[[Tried], None] = lambda tried: None,
        on_other: Callable[[Tried], None] = lambda tried: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Join a study.

        Args:
            study: Begun by whoever came first; its pruner, if the judge asks one, is the same for all workers.
            space: What may be composed; the same for all workers.
            judge: Scores a strategy; raises `ConfigError` or `ContractError` where the strategy is to blame. It is
                given a trial of a study that holds all earlier generations and nothing else, so that what it reads
                there does not depend on who is how far.
            terms: The same for all workers in `width`, `seed` and `sampler`.
            wanted: Returns how many different strategies the study is to score in all.
            first: Strategies that make up the first generation.
            shortfall: Says which earlier trials the sampler should keep away from; a function of its argument alone,
                since every worker must draw the same.
            on_trial: Told of every trial of this worker.
            on_other: Told of every trial of another worker, and of those of earlier runs.
            say: Told of workers that were lost, and of failures.
        """
        self.study, self.space, self.judge, self.terms = study, space, judge, terms
        self.wanted, self.first, self.shortfall = wanted, first, shortfall
        self.on_trial, self.on_other, self.say = on_trial, on_other, say
        self.name = identity()
        self._watch = Watch(terms.grace)
        self._random = random.Random()
        self._known: set[str] = set()
        self._failures = 0
        self._plan_seen: tuple[object, float] = (None, 0.0)

    def run(self, timeout: float | None = None) -> str:
        """Work until the study is done or, after `timeout` seconds, no further trial is begun; return why it ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while True:
            ledger = self._read()
            if self._tidy(ledger):
                continue
            self._tell_of_others(ledger)
            if deadline is not None and time.monotonic() > deadline:
                return f"the timeout of {timeout:g} s"
            if (trial := self._claim(ledger)) is not None:
                self._try(trial, ledger)
                pause = 0.02
                continue
            if ledger.finished():
                following = self._following(ledger)
                if isinstance(following, str):
                    return following
                planned = self._plan(following)
            else:
                planned = ledger.generation is not None and bool(ledger.missing()) and self._plan(ledger.generation)
            if not planned:
                # Others work; their results are needed before anything new can be drawn.
                time.sleep(pause * self._random.uniform(0.5, 1.0))
                pause = min(2 * pause, self.terms.poll)

    def _read(self) -> Ledger:
        with quiet():
            return Ledger(self.study.get_trials(deepcopy=False), self.terms.retries)

    # --- looking after others

    def _tidy(self, ledger: Ledger) -> bool:
        """Fail trials whose workers are lost, queue them again, drop what was planned twice; True if there were any."""
        lost = self._watch.lost(ledger.in_state(TrialState.RUNNING))
        for trial, reason in lost:
            if not self._end(trial, TrialState.FAIL, {"reason": reason}):
                continue
            attempt = ledger.attempts(trial.user_attrs[SLOT]) + 1
            if attempt > self.terms.retries:
                self.say(f"trial {trial.number} is given up after {attempt} attempts: {reason}")
            else:
                self.say(f"trial {trial.number} is tried again: {reason}")
                assert ledger.generation is not None
                self._publish(ledger.generation, trial.user_attrs[SLOT], republished(trial), attempt)
        for trial in ledger.surplus:
            self._end(trial, TrialState.FAIL, {CANCELLED: "planned twice at the same moment"})
        return bool(lost or ledger.surplus)

    def _tell_of_others(self, ledger: Ledger) -> None:
        for digest, trial in ledger.judged().items():
            if digest in self._known:
                continue
            self._known.add(digest)
            if (tried := tried_before(trial)) is not None:
                self.on_other(tried)

    # --- planning

    def _following(self, ledger: Ledger) -> Generation | str:
        if ledger.generation is None and (known := self._known_drafts()):
            return Generation(0, 0, len(known))
        return ledger.next_generation(self.wanted(), self.terms.width)

    def _known_drafts(self) -> list[Draft]:
        with quiet():
            return draw_known(self.space, self.first)

    def _plan(self, generation: Generation) -> bool:
        """Publish what a generation lacks, if this worker is the one to do it; return whether it was."""
        if not self._appointed(generation):
            return False
        drafts: Iterator[tuple[int, Draft]] | None = None
        for slot in generation.slots:
            ledger = self._read()
            now = ledger.generation
            if now is not None and now.number >= generation.number and now != generation:
                return True  # Another planner was faster; what it began is the plan.
            if ledger.settled(slot) or ledger.standing(slot) is not None:
                continue
            if (lost := ledger.first(slot)) is not None:
                draft = republished(lost)
            else:
                drafts = drafts or self._draw(generation, ledger)
                with quiet():
                    draft = next(draft for number, draft in drafts if number == slot)
            self._publish(generation, slot, draft, ledger.attempts(slot))
        return True

    def _draw(self, generation: Generation, ledger: Ledger) -> Iterator[tuple[int, Draft]]:
        if generation.number == 0:
            return enumerate(self._known_drafts())
        terms = self.terms
        return draw(
            self.space,
            generation,
            ledger.history(generation.start),
            self.study.directions,
            lambda seed: make_sampler(terms.sampler, seed),
            terms.seed,
            self.shortfall,
        )

    def _appointed(self, generation: Generation) -> bool:
        """Return whether this worker is to plan; a plan made twice does no harm, but costs time and litter."""
        noted = self.study.user_attrs.get(PLANNER)
        sign = (noted, len(self.study.get_trials(deepcopy=False)))
        if sign != self._plan_seen[0]:
            self._plan_seen = (sign, time.monotonic())
        waited = time.monotonic() - self._plan_seen[1]
        owner = noted[1] if noted is not None and noted[0] == generation.number else self.name
        if owner != self.name and not gone(owner) and waited < PLANNING:
            return False
        mine = [generation.number, self.name]
        with quiet():
            self.study.set_user_attr(PLANNER, mine)
        # Workers that come to this line in the same moment overwrite each other; the last one plans.
        time.sleep(0.05)
        return bool(self.study.user_attrs.get(PLANNER) == mine)

    def _publish(self, generation: Generation, slot: int, draft: Draft, again: int) -> None:
        with quiet():
            publish(self.study, generation, slot, draft, uuid.uuid4().hex, again)

    # --- one trial

    def _claim(self, ledger: Ledger) -> FrozenTrial | None:
        waiting = ledger.in_state(TrialState.WAITING)
        # In any order, so that hundreds of workers do not all reach for the same one.
        for trial in self._random.sample(waiting, len(waiting)):
            with suppress(UpdateFinishedTrialError):
                if self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    self.study._storage.set_trial_user_attr(trial._trial_id, PROCESS, self.name)
                    return trial
        return None

    def _try(self, trial: FrozenTrial, ledger: Ledger) -> None:
        try:
            with Beat(self.study, trial._trial_id, self.terms.beat):
                strategy = self.space.build(trial.params)
                digest = strategy.digest()
                earlier = ledger.judged().get(digest)
                judged = None if earlier is None else unpack(earlier)
                reported = dict(() if earlier is None else earlier.user_attrs.get(REPORTED, ()))
                if judged is None:
                    judged, reported = self._judged(trial, strategy, ledger)
        except (ConfigError, ContractError) as error:
            self._end(trial, TrialState.PRUNED, {"reason": str(error)})
            self.on_trial(Tried(trial.number, None, reason=str(error)))
            return
        except Exception as error:
            self._fail(trial, error)
            return
        except BaseException as error:
            self._end(trial, TrialState.FAIL, {"interrupted": type(error).__name__})
            raise
        self._failures = 0
        self._known.add(digest)
        state = TrialState.PRUNED if judged.values is None else TrialState.COMPLETE
        noted = {**attributes(strategy, judged), **pack(judged, reported)}
        if self._end(trial, state, noted, judged.values):
            candidate = Candidate(strategy, judged.score, trial.user_attrs.get("label", ""))
            self.on_trial(Tried(trial.number, candidate, earlier is not None, judged.reason))
        else:
            self.say(f"trial {trial.number} was given to another worker meanwhile; this result is not counted")

    def _judged(
        self, trial: FrozenTrial, strategy: Strategy, ledger: Ledger
    ) -> tuple[Judgement, dict[int, float]]:
        """Return what a strategy is worth, and what the judge reported of single examples."""
        assert ledger.generation is not None
        with quiet():
            study = replay(ledger.history(ledger.generation.start), self.study.directions, self.shortfall)
            study.pruner = self.study.pruner
            rehearsed = rehearsal(study, trial)
        judged = self.judge(rehearsed, strategy)
        return judged, study.get_trials(deepcopy=False)[-1].intermediate_values

    def _fail(self, trial: FrozenTrial, error: Exception) -> None:
        """Leave a trial that this machine could not run to others; raise if that has become a habit."""
        reason = f"{type(error).__name__}: {one_line(error)}"
        self._end(trial, TrialState.FAIL, {"reason": f"{reason} (worker {self.name})"})
        self._failures += 1
        self.say(f"trial {trial.number} failed: {reason}")
        if self._failures >= FAILURES:
            raise error

    def _end(
        self,
        trial: FrozenTrial,
        state: TrialState,
        noted: Mapping[str, object],
        values: Sequence[float] | None = None,
    ) -> bool:
        """End a trial; return False if another worker has ended it before."""
        with quiet():
            try:
                for key, value in noted.items():
                    self.study._storage.set_trial_user_attr(trial._trial_id, key, value)
                return self.study._storage.set_trial_state_values(trial._trial_id, state, values)
            except UpdateFinishedTrialError:
                return False

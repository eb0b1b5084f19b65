"""The trials of a study that many workers share: numbered slots, in generations.

A slot is a place in the study's order; its parameters follow from the seed, its number and the results of all earlier
generations, never from who runs what when. Knows how slots are read from a study and how they are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import DecodeError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.goals import Judgement
from dllm_search.judge.score import Score
from dllm_search.space.space import Space
from dllm_search.trials.patience import TOKEN

SLOT, GENERATION, CANCELLED = "slot", "generation", "cancelled"
"""Attributes of a trial: its slot, `[number, first slot, slots]` of its generation, that it does not count and why."""

OUTCOMES, REPORTED, SHORTFALL = "outcomes", "reported", "shortfall"
"""Attributes of a finished trial: its score, what it reported of single examples, and how far it is from allowed."""

IDLE_LIMIT = 50
"""Trials in a row that brought nothing new (repeats and refused ones) after which the space counts as exhausted."""

Shortfall = Callable[[Sequence[FrozenTrial]], Sequence[float]]
"""Settled trials -> how far each is from being allowed; the sampler looks elsewhere where that is above 0."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Slots that are drawn from the same history, and that may therefore run at the same time."""

    number: int
    start: int
    """Its first slot."""
    size: int

    @property
    def slots(self) -> range:
        """The numbers of its slots."""
        return range(self.start, self.start + self.size)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a slot is to try, before it is in the study."""

    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    system_attributes: Mapping[str, Any]
    """What a sampler notes with a trial, e.g. its own generation."""
    label: str


class Ledger:
    """A study's trials by slot, as they stood when they were read."""

    def __init__(self, trials: Sequence[FrozenTrial], retries: int) -> None:
        """Sort trials into slots.

        Args:
            trials: All trials of the study, in order of their numbers.
            retries: How often a slot whose worker was lost is tried again.
        """
        self.retries = retries
        self.generation: Generation | None = None
        """The last generation."""
        planned: dict[int, Generation] = {}
        self._slots: dict[int, list[FrozenTrial]] = {}
        self.surplus: list[FrozenTrial] = []
        """Waiting trials of slots that another trial already stands for: two workers planned the same at once."""
        for trial in trials:
            if SLOT not in trial.user_attrs or CANCELLED in trial.user_attrs:
                continue
            own = Generation(*trial.user_attrs[GENERATION])
            # The first trial of a generation says how large it is, whoever else planned it too.
            generation = planned.setdefault(own.number, own)
            kept = self._slots.setdefault(trial.user_attrs[SLOT], [])
            if generation != own or any(t.state != TrialState.FAIL for t in kept):
                if trial.state == TrialState.WAITING:
                    self.surplus.append(trial)
                continue
            kept.append(trial)
        if planned:
            self.generation = planned[max(planned)]

    def settled(self, slot: int) -> bool:
        """Return whether a slot needs no more work: scored, refused, or given up."""
        standing = self.standing(slot)
        if standing is not None:
            return standing.state.is_finished()
        return self.attempts(slot) > self.retries

    def standing(self, slot: int) -> FrozenTrial | None:
        """Return the one trial that stands for a slot: waiting, running, scored or refused."""
        return next((t for t in self._slots.get(slot, ()) if t.state != TrialState.FAIL), None)

    def attempts(self, slot: int) -> int:
        """Return how many trials of a slot were lost; those that a user interrupted are not held against it."""
        return sum("interrupted" not in t.user_attrs for t in self._slots.get(slot, ()) if t.state == TrialState.FAIL)

    def first(self, slot: int) -> FrozenTrial | None:
        """Return the first trial of a slot, lost or not."""
        return next(iter(self._slots.get(slot, ())), None)

    def missing(self) -> list[int]:
        """Return the slots of the last generation that nothing stands for and that are not given up."""
        slots = () if self.generation is None else self.generation.slots
        return [slot for slot in slots if self.standing(slot) is None and not self.settled(slot)]

    def in_state(self, state: TrialState) -> list[FrozenTrial]:
        """Return the standing trials of the last generation that are in a state, in order of their slots."""
        slots = () if self.generation is None else self.generation.slots
        standing = [self.standing(slot) for slot in slots]
        return [trial for trial in standing if trial is not None and trial.state == state]

    def finished(self) -> bool:
        """Return whether every slot of the last generation is settled."""
        return self.generation is None or all(map(self.settled, self.generation.slots))

    def history(self, before: int | None = None) -> list[FrozenTrial]:
        """Return the scored and refused trials of the slots before a number, all if None, in order of their slots."""
        numbers = [slot for slot in sorted(self._slots) if before is None or slot < before]
        standing = [self.standing(slot) for slot in numbers]
        return [trial for trial in standing if trial is not None and trial.state.is_finished()]

    def judged(self) -> dict[str, FrozenTrial]:
        """Return the first trial of every strategy that was scored or stopped early, by digest, in order of slots."""
        found: dict[str, FrozenTrial] = {}
        for trial in self.history():
            if "digest" in trial.user_attrs:
                found.setdefault(trial.user_attrs["digest"], trial)
        return found

    def idle(self) -> int:
        """Return how many slots at the end, in a row, brought no new strategy."""
        fresh = {trial.user_attrs[SLOT] for trial in self.judged().values()}
        count = 0
        for slot in sorted(self._slots, reverse=True):
            if slot in fresh:
                break
            count += 1
        return count

    def next_generation(self, wanted: int, width: int) -> Generation | str:
        """Return the generation after the last, or why there is none.

        Args:
            wanted: Different strategies in all.
            width: Slots of a generation, at most; as few as are still needed, so that no more are scored than wanted.
        """
        missing = wanted - len(self.judged())
        if missing <= 0:
            return f"all {wanted} trials are done"
        if self.idle() >= IDLE_LIMIT:
            return f"the space is exhausted: {self.idle()} draws in a row brought nothing new"
        last = self.generation
        number, start = (1, 0) if last is None else (last.number + 1, last.start + last.size)
        return Generation(number, start, min(width, missing))


def draw(
    space: Space,
    generation: Generation,
    history: Sequence[FrozenTrial],
    directions: Sequence[optuna.study.StudyDirection],
    sampler: Callable[[int], optuna.samplers.BaseSampler],
    seed: int,
    shortfall: Shortfall,
) -> Iterator[tuple[int, Draft]]:
    """Yield what each slot of a generation is to try: a function of the arguments alone.

    The slots are drawn one after another in a study of their own, in memory, so that each knows what the others of its
    generation try, and none what came of it.

    Args:
        space: What may be composed.
        generation: Which slots.
        history: Settled trials of all earlier generations in order of their slots.
        directions: Of the study's objectives.
        sampler: Seed -> a sampler.
        seed: Of the search.
        shortfall: Says which of the history is not to be looked for.
    """
    study = replay(history, directions, shortfall)
    for slot in generation.slots:
        study.sampler = sampler((seed * 1_000_003 + slot) % 2**32)
        yield slot, _drawn(study, space, "")


def replay(
    history: Sequence[FrozenTrial], directions: Sequence[optuna.study.StudyDirection], shortfall: Shortfall
) -> optuna.Study:
    """Return a study in memory that holds a history and nothing else, whatever has happened since."""
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(0))
    for trial, amount in zip(history, shortfall(history), strict=True):
        reported = {step: value for step, value in trial.user_attrs.get(REPORTED, ())}
        study.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                values=trial.values,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
                system_attrs={**trial.system_attrs, "constraints": [amount]},
                intermediate_values=reported,
            )
        )
    return study


def as_noted(history: Sequence[FrozenTrial]) -> list[float]:
    """Return how far each trial is from being allowed, as it was judged."""
    return [float(trial.user_attrs.get(SHORTFALL, 0.0)) for trial in history]


def rehearsal(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Return a trial of a study in memory with the parameters of a real one, to be judged there."""
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
        )
    )
    return optuna.Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)


def draw_known(space: Space, strategies: Sequence[Strategy]) -> list[Draft]:
    """Return strategies as drafts, those that the space cannot express left out."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(0))
    drafts = []
    for strategy in strategies:
        if (parameters := space.parameters(strategy)) is not None:
            study.enqueue_trial(parameters)
            drafts.append(_drawn(study, space, strategy.name))
    return drafts


def publish(study: optuna.Study, generation: Generation, slot: int, draft: Draft, token: str, again: int) -> None:
    """Put a slot into the study as a trial that waits for a worker.

    Args:
        study: Where to.
        generation: The slot's.
        slot: Its number.
        draft: What it tries.
        token: That of this call, so that repeating it is noticed.
        again: How many trials of this slot were lost.
    """
    noted: dict[str, Any] = {
        SLOT: slot,
        GENERATION: [generation.number, generation.start, generation.size],
        TOKEN: token,
    }
    if draft.label:
        noted["label"] = draft.label
    if again:
        noted["retry"] = again
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=dict(draft.parameters),
            distributions=dict(draft.distributions),
            user_attrs=noted,
            system_attrs=dict(draft.system_attributes),
        )
    )


def republished(trial: FrozenTrial) -> Draft:
    """Return what a lost trial tried."""
    return Draft(trial.params, trial.distributions, trial.system_attrs, trial.user_attrs.get("label", ""))


def pack_score(score: Score) -> dict[str, Any]:
    """Return a score as JSON that a study can keep, so that no other machine decodes the same again."""
    correct = "".join("1" if one else "0" for one in score.correct)
    outcomes = {"correct": correct, "forwards": list(score.forwards), "tokens": list(score.tokens)}
    return {OUTCOMES: outcomes, "measured": score.measured}


def unpack_score(noted: Mapping[str, Any]) -> Score:
    """Return the score that `pack_score` made JSON of."""
    kept = noted[OUTCOMES]
    correct = tuple(one == "1" for one in kept["correct"])
    return Score(correct, tuple(kept["forwards"]), tuple(kept["tokens"]), noted.get("measured"))


def pack(judged: Judgement, reported: Mapping[int, float]) -> dict[str, Any]:
    """Return what a study keeps of a judgement, and of what was reported while judging."""
    noted = {**pack_score(judged.score), SHORTFALL: judged.shortfall}
    if reported:
        noted[REPORTED] = [[step, value] for step, value in reported.items()]
    return noted


def unpack(trial: FrozenTrial) -> Judgement | None:
    """Return the judgement that a finished trial keeps, None if it keeps none."""
    noted = trial.user_attrs
    if OUTCOMES not in noted:
        return None
    values = None if trial.values is None else tuple(trial.values)
    return Judgement(unpack_score(noted), values, noted.get(SHORTFALL, 0.0), noted.get("stopped", ""))


def _drawn(study: optuna.Study, space: Space, label: str) -> Draft:
    trial = study.ask()
    try:
        space.suggest(trial)
    except DecodeError:
        # Whoever runs the slot meets the same refusal and notes it there.
        study.tell(trial, state=TrialState.PRUNED)
    drawn = study.get_trials(deepcopy=False)[trial.number]
    noted = {key: value for key, value in drawn.system_attrs.items() if key not in ("fixed_params", "constraints")}
    return Draft(drawn.params, drawn.distributions, noted, label)

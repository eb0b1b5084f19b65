"""What the trials of a study try: numbered slots, drawn in generations of a fixed width.

What a generation tries follows from the settings, the seed and the results of all earlier generations, never from who
runs what when, nor from how often the search was interrupted. Knows how slots are drawn; leaves their work to `driver`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from dllm_decode.errors import DecodeError
from dllm_decode.strategy.strategy import Strategy
from dllm_search.judge.judgement import Shortfall
from dllm_search.space.space import Space
from dllm_search.trials.record import shortfalls_as_noted
from dllm_search.trials.sampler import make_sampler

PASSING = ("fixed_params", "tpe:relative_params")
"""How the names of notes begin that nobody asks for once a trial is finished: what was given, what others may not draw."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what the slots of a study try."""

    space: Space
    first: Sequence[Strategy] = ()
    """Tried in the first slots, those left out that the space cannot express."""
    width: int = 1
    """Slots of a generation: trials that know nothing of each other's results."""
    seed: int = 0
    sampler: str = "tpe"
    shortfall: Shortfall = shortfalls_as_noted
    """A function of its argument alone, since a search that is resumed has to draw the same again."""
    pruner: optuna.pruners.BasePruner | None = None
    """What `trial.should_prune` asks; None never stops a trial."""
    known: Sequence[tuple[str, Mapping[str, Any]]] = field(init=False)
    """The labels and parameters of the first slots."""

    def __post_init__(self) -> None:
        """Look up the parameters of what is tried first."""
        found = [(strategy.name, self.space.parameters(strategy)) for strategy in self.first]
        known = [(label, parameters) for label, parameters in found if parameters is not None]
        object.__setattr__(self, "known", known)


@dataclass(frozen=True, slots=True)
class Draft:
    """What one slot tries."""

    slot: int
    trial: optuna.Trial
    """A live trial of a study in memory that holds all earlier generations and nothing else; it is judged there."""
    strategy: Strategy | None
    """None if the drawn parts cannot be used together."""
    label: str = ""
    refusal: str = ""

    def frozen(self, state: TrialState, noted: Mapping[str, Any], **result: Any) -> FrozenTrial:
        """Return the trial as the study is to keep it; `result` may hold `values` and `intermediate_values`."""
        drawn = self.trial.study.get_trials(deepcopy=False)[self.trial.number]
        return optuna.trial.create_trial(
            state=state,
            params=drawn.params,
            distributions=drawn.distributions,
            # What a sampler notes with a trial, e.g. its own generation.
            system_attrs={key: value for key, value in drawn.system_attrs.items() if not key.startswith(PASSING)},
            user_attrs=dict(noted),
            **{"intermediate_values": drawn.intermediate_values, **result},
        )


class Settled(FrozenTrial):
    """A trial of the past as a replay holds it: nobody changes it any more, so that copies share what is in it.

    A replay holds every earlier trial, and a storage copies what it is given; real copies take a third of a search's own
    time.
    """

    @classmethod
    def of(cls, trial: FrozenTrial, shortfall: float) -> Self:
        """Return the trial with a constraint, which belongs to one replay alone."""
        settled = cls(
            number=trial.number,
            trial_id=-1,
            state=trial.state,
            value=None,
            values=trial.values,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={},
            system_attrs=dict(trial.system_attrs),
            intermediate_values=trial.intermediate_values,
        )
        settled.set_constraint("allowed", shortfall)
        return settled

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a copy with a number of its own and all else shared."""
        return copy(self)


def draw(
    plan: Plan, history: Sequence[FrozenTrial], directions: Sequence[optuna.study.StudyDirection]
) -> list[Draft]:
    """Return what each slot of the generation that is not finished yet tries: a function of the arguments alone.

    The slots are drawn one after another, so that each knows what the others of its generation try, and none what
    came of it.

    Args:
        plan: Of the search.
        history: Settled trials in the order of their slots; those of the unfinished generation are not looked at.
        directions: Of the study's objectives.
    """
    start = len(history) // plan.width * plan.width
    study = _replay(history[:start], directions, plan)
    return [_drawn(study, plan, slot) for slot in range(start, start + plan.width)]


def _replay(
    history: Sequence[FrozenTrial], directions: Sequence[optuna.study.StudyDirection], plan: Plan
) -> optuna.Study:
    """Return a study in memory that holds a history and nothing else."""
    pruner = plan.pruner or optuna.pruners.NopPruner()
    study = optuna.create_study(directions=directions, pruner=pruner)
    for trial, amount in zip(history, plan.shortfall(history), strict=True):
        study.add_trial(Settled.of(trial, amount))
    return study


def _drawn(study: optuna.Study, plan: Plan, slot: int) -> Draft:
    label = ""
    if slot < len(plan.known):
        label, parameters = plan.known[slot]
        study.enqueue_trial(dict(parameters))
    study.sampler = make_sampler(plan.sampler, (plan.seed * 1_000_003 + slot) % 2**32)
    trial = study.ask()
    try:
        return Draft(slot, trial, plan.space.suggest(trial), label)
    except DecodeError as error:
        study.tell(trial, state=TrialState.PRUNED)
        return Draft(slot, trial, None, label, str(error))

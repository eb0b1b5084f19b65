"""Which of a study's parameters decide quality, and which decide cost. Knows Optuna's importances; draws nothing."""

from __future__ import annotations

import warnings
from functools import partial

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import TrialState

from dllm_search.trials.study import quiet

FEWEST_TRIALS = 8
"""Trials below which an importance says nothing."""
SHOWN = 12


def importances(study: optuna.Study) -> dict[str, dict[str, float]]:
    """Return objective -> parameter -> share of 1, the largest first; empty where there are too few trials.

    PED-ANOVA (Watanabe et al. 2023) as Optuna computes it: what tells the best tenth of the trials from the rest. The
    `SHOWN` largest are kept; a part's own fields, which few trials have, come out rough.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(trials) < FEWEST_TRIALS:
        return {}
    names = ("accuracy", "forward passes") if len(study.directions) > 1 else ("objective",)
    found: dict[str, dict[str, float]] = {}
    for number, name in enumerate(names):
        try:
            evaluator = PedAnovaImportanceEvaluator()
            with quiet(), warnings.catch_warnings():
                # That fields of a part were tried once or twice is said in words above.
                warnings.simplefilter("ignore", UserWarning)
                shares = get_param_importances(study, evaluator=evaluator, target=partial(_loss, study, number))
        except (ValueError, RuntimeError):
            continue  # e.g. a single value in every trial
        largest = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN]
        found[name] = {parameter: round(share, 4) for parameter, share in largest if share > 0}
    return {name: shares for name, shares in found.items() if shares}


def _loss(study: optuna.Study, number: int, trial: optuna.trial.FrozenTrial) -> float:
    """Return the trial's value with the sign that makes less better, which is what the evaluator goes by."""
    value = float(trial.values[number])
    return -value if study.directions[number] == StudyDirection.MAXIMIZE else value

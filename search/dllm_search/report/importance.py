"""Which of a study's parameters decide quality, and which decide cost. Knows Optuna's importances; draws nothing."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Mapping

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import TrialState

from dllm_search.trials.study import quiet

FEWEST_TRIALS = 16
"""Trials with a parameter below which its importance says nothing."""
SHUFFLES = 49
"""Times the results are dealt to the trials anew; what a parameter shows by chance is the most it shows then."""
SHOWN = 12


def importances(study: optuna.Study) -> dict[str, dict[str, float]]:
    """Return value -> parameter -> share of 1, the largest first; only what chance does not explain.

    PED-ANOVA (Watanabe et al. 2023) as Optuna computes it: what tells the best tenth of the trials from the rest. With
    few trials every parameter tells something by chance, a part's own field most of all. So a parameter is left out if
    fewer than `FEWEST_TRIALS` trials have it, or if it shows as much when the results are dealt to the trials anew.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    tried = Counter(name for trial in trials for name in trial.params)
    wanted = sorted(name for name, count in tried.items() if count >= FEWEST_TRIALS)
    found: dict[str, dict[str, float]] = {}
    with quiet():
        names = study.metric_names or ()
    for number, name in enumerate(names):
        sign = -1 if study.directions[number] == StudyDirection.MAXIMIZE else 1
        values = {trial.number: sign * trial.values[number] for trial in trials}
        if wanted and len(set(values.values())) > 1:
            found[name] = _beyond_chance(study, wanted, values)
    return {name: shares for name, shares in found.items() if shares}


def _beyond_chance(study: optuna.Study, wanted: list[str], values: Mapping[int, float]) -> dict[str, float]:
    """Return the shares of the parameters that show more with the trials' own results than with shuffled ones."""
    true = _divergences(study, wanted, values)
    dealt, deal = list(values.values()), random.Random(0)
    most = dict.fromkeys(wanted, 0.0)
    for _ in range(SHUFFLES):
        deal.shuffle(dealt)
        by_chance = _divergences(study, wanted, dict(zip(values, dealt, strict=True)))
        most = {name: max(most[name], by_chance[name]) for name in wanted}
    total = sum(true.values())
    kept = sorted((name for name in wanted if true[name] > most[name]), key=lambda name: -true[name])[:SHOWN]
    return {name: round(true[name] / total, 4) for name in kept}


def _divergences(study: optuna.Study, wanted: list[str], values: Mapping[int, float]) -> dict[str, float]:
    """Return how much each parameter tells the trials with the least values from the rest."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return PedAnovaImportanceEvaluator().evaluate(study, wanted, target=lambda trial: values[trial.number])

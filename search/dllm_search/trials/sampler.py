"""The samplers that draw what a trial tries. Knows Optuna's; leaves what is seeded with what to `generations`."""

from __future__ import annotations

import optuna

POPULATION = 16
"""Strategies of a generation of NSGA-II; has nothing to do with the search's own generations."""
RANDOM_FIRST = 8
"""Trials before TPE begins to model what it has seen; the baselines count."""


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler, "tpe" or "nsga2"; both keep away from trials whose constraint is above 0."""
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=RANDOM_FIRST
    )

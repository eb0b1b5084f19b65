"""The scheduler that commits what any of its rules would: against the rules asked one by one, and what it refuses."""

import pytest
import torch

from dllm_decode.data.views import Proposal
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.anyof import AnyOf, Rule
from dllm_strategies.bounds import EntropyBoundedScheduler
from dllm_strategies.confidence import Margin, NegativeEntropy, TopProbability
from dllm_strategies.klass import KlassScheduler
from dllm_strategies.schedulers import ThresholdScheduler
from tests.parts.test_schedulers import view_of

EB, SURE = EntropyBoundedScheduler(gamma=0.1), ThresholdScheduler(threshold=0.8)


def strategy(rules, confidence):
    """One stage with these rules."""
    scheduler = {"name": "any-of", "rules": rules}
    return Strategy.parse(
        {"block": "whole", "layering": "single", "scheduler": scheduler, "confidence": confidence}
    ).check()


@pytest.mark.parametrize("seed", range(8))
def test_a_position_is_committed_if_one_of_the_rules_would(seed):
    view, proposal = view_of(seed, 0, None)
    rules = (
        Rule(scheduler=EB, confidence=NegativeEntropy()),
        Rule(scheduler=SURE, confidence=TopProbability()),
    )
    chosen = AnyOf(rules=rules).build().select(view, proposal)
    by_entropy = EB.select(view, Proposal(proposal.tokens, -view.stats.entropy))
    for row in range(chosen.shape[0]):
        for column in range(chosen.shape[1]):
            sure = bool(view.open[row, column]) and float(view.stats.probability[row, column]) >= 0.8
            assert bool(chosen[row, column]) == (sure or bool(by_entropy[row, column]))


def test_a_rule_without_a_confidence_reads_the_strategys_own():
    view, proposal = view_of(3, 0, None)
    chosen = AnyOf(rules=(Rule(scheduler=SURE),)).build().select(view, proposal)
    assert torch.equal(chosen, SURE.select(view, proposal))


def test_it_needs_what_its_rules_need():
    rules = (Rule(scheduler=EB, confidence=Margin()), Rule(scheduler=KlassScheduler()))
    assert AnyOf(rules=rules).needs == {"entropy", "second", "distribution"}


def test_rules_with_a_memory_begin_anew_in_every_decode():
    config = AnyOf(rules=(Rule(scheduler=KlassScheduler()),))
    one, other = config.build(), config.build()
    assert one.rules[0][0] is not other.rules[0][0]


@pytest.mark.parametrize(
    ("rules", "confidence", "message"),
    [
        ([{"scheduler": "even"}], "entropy", "counts steps"),
        ([{"scheduler": "threshold", "confidence": "entropy"}], "entropy", "between 0 and 1"),
        ([{"scheduler": "threshold"}], "entropy", "any-of"),
        ([], "entropy", "at least 1"),
    ],
)
def test_rules_that_cannot_stand_together_are_refused(rules, confidence, message):
    with pytest.raises(ConfigError, match=message):
        strategy(rules, confidence)


def test_it_round_trips_and_its_rules_can_be_set_by_path():
    made = strategy([{"scheduler": "entropy-bounded", "confidence": "entropy"}], "entropy")
    assert Strategy.from_yaml(made.to_yaml()).digest() == made.digest()
    bold = made.override({"scheduler.rules.0.scheduler.gamma": 0.7})
    assert bold.to_dict()["scheduler"]["rules"][0]["scheduler"]["gamma"] == 0.7

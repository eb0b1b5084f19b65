"""What is said of a mistake: the one thing that is wrong, and what would be right."""

from __future__ import annotations

import pytest

from dllm_decode.commands.options import EXAMPLES
from dllm_decode.errors import ConfigError
from dllm_decode.strategy.strategy import Strategy, parse_override


def refusal(**changes: object) -> str:
    with pytest.raises(ConfigError) as refused:
        Strategy.load("llada", **changes)
    return str(refused.value)


def test_the_examples_in_the_help_of_set_are_taken() -> None:
    assert Strategy.load("llada", **dict(map(parse_override, EXAMPLES))).check().scheduler.model_dump()["k"] == 4


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("scheduler", "margin", "Note: 'margin' is a confidence, no scheduler"),
        ("confidence", "threshold", "Note: 'threshold' is a scheduler, no confidence"),
        ("stop", "guidance", "Note: 'guidance' is a logits processor, no stop rule"),
        ("layering", "whole", "Note: 'whole' is a block policy, no layering"),
    ],
)
def test_a_name_of_another_kind_is_said_to_be_one(kind: str, name: str, said: str) -> None:
    assert said in refusal(**{kind: name})


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"scheduler": "threshold", "confidence": "entropy"}, "take top-probability or margin"),
        ({"scheduler": "margin", "confidence": "entropy"}, "scheduler.rules.0.scheduler: unknown scheduler 'margin'"),
        ({"scheduler": "even"}, "take an adaptive one"),
    ],
)
def test_a_rule_of_any_of_is_refused_once(rule: dict[str, str], said: str) -> None:
    message = refusal(scheduler={"name": "any-of", "rules": [rule]})
    assert said in message and "tuple" not in message and message.count("rules") == 1


def test_rules_that_are_really_missing_are_said_to_be() -> None:
    assert "scheduler.rules: tuple should have at least 1 item" in refusal(scheduler={"name": "any-of", "rules": []})

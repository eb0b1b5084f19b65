"""Strategies as data: round trips, digests, overrides, and what is said when something does not validate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import Tune
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy, parse_override

RECIPES = load_registry().names("recipe")

PLAIN: dict[str, Any] = {
    "block": "whole",
    "layering": "single",
    "scheduler": {"name": "threshold", "threshold": 0.8},
    "confidence": "top-probability",
    "gen_length": 32,
}


def refusal(data: Any, **changes: Any) -> str:
    """What is said about a strategy, or about changes to it."""
    with pytest.raises(ConfigError) as caught:
        Strategy.parse(data).override({key.replace("__", "."): value for key, value in changes.items()})
    return str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_survives_yaml_and_json_unchanged(recipe: str) -> None:
    strategy = Strategy.load(recipe)
    assert Strategy.from_yaml(strategy.to_yaml()) == strategy
    assert Strategy.from_yaml(json.dumps(strategy.to_dict())) == strategy
    assert Strategy.model_validate_json(strategy.model_dump_json()) == strategy
    assert Strategy.parse(strategy.to_dict()).digest() == strategy.digest()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_what_it_is_and_can_be_served(recipe: str) -> None:
    strategy = Strategy.load(recipe)
    assert strategy.name == recipe
    assert strategy.description
    assert strategy.max_forwards() >= 1


def test_a_strategy_file_is_named_after_itself_unless_it_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PLAIN))
    assert Strategy.load(path).name == "mine"
    assert Strategy.load(str(path)) == Strategy.load(path)
    path.write_text(yaml.safe_dump({**PLAIN, "name": "other"}))
    assert Strategy.load(path).name == "other"


def test_a_digest_does_not_depend_on_names_key_order_or_how_defaults_are_written() -> None:
    digest = Strategy.parse(PLAIN).digest()
    assert len(digest) == 12
    assert Strategy.parse(dict(reversed(PLAIN.items()))).digest() == digest
    assert Strategy.parse({**PLAIN, "name": "x", "description": "y"}).digest() == digest
    spelt_out = {"name": "threshold", "threshold": "0.8"}
    assert (
        Strategy.parse({**PLAIN, "scheduler": spelt_out, "temperature": 0, "steps": None}).digest() == digest
    )


def test_a_digest_depends_on_every_part_and_on_the_budget() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"scheduler.threshold": 0.81},
        {"scheduler": "even"},
        {"block": "fixed"},
        {"steps": 8},
        {"gen_length": 33},
        {"temperature": 0.5},
        {"logits": "guidance"},
    ]
    strategy = Strategy.parse(PLAIN)
    assert len({strategy.override(change).digest() for change in changes}) == len(changes)


def test_a_digest_is_the_same_in_another_process() -> None:
    code = f"from dllm_decode.strategy.strategy import Strategy; print(Strategy.parse({PLAIN!r}).digest())"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == Strategy.parse(PLAIN).digest()


def test_an_override_changes_one_field_and_leaves_the_original_alone() -> None:
    strategy = Strategy.parse(PLAIN)
    changed = strategy.override({"scheduler.threshold": 0.5, "steps": 4})
    assert changed.to_dict()["scheduler"] == {"name": "threshold", "threshold": 0.5}
    assert changed.steps == 4
    assert strategy == Strategy.parse(PLAIN)


def test_an_override_may_name_a_part_and_set_its_fields_in_any_order() -> None:
    strategy = Strategy.load("llada")
    changes = {
        "scheduler.threshold": 0.5,
        "scheduler": "threshold",
        "logits": "guidance",
        "logits.0.weight": 2,
    }
    for order in (changes, dict(reversed(changes.items()))):
        plain = strategy.override(order).to_dict()
        assert plain["scheduler"] == {"name": "threshold", "threshold": 0.5}
        assert plain["logits"] == [{"name": "guidance", "weight": 2.0}]


def test_a_part_that_is_renamed_keeps_the_fields_both_have() -> None:
    strategy = Strategy.load("said").override({"layering.detail.name": "single", "layering.detail.steps": 4})
    assert strategy.to_dict()["layering"]["detail"] == {"name": "single", "steps": 4}
    assert strategy.to_dict()["layering"]["parity"] == "region"


def test_an_override_does_not_touch_what_the_caller_passed() -> None:
    mapping = {"name": "threshold"}
    Strategy.parse(PLAIN).override({"scheduler": mapping, "scheduler.threshold": 0.5})
    assert mapping == {"name": "threshold"}


def test_a_part_that_no_plugin_registered_can_be_used_and_its_neighbours_overridden() -> None:
    class Private(SchedulerConfig):
        name: Literal["private"] = "private"

        def select(self, view: Any, proposal: Any) -> Any:
            return view.open

    strategy = Strategy.parse({**PLAIN, "scheduler": Private()}).override({"gen_length": 8})
    assert isinstance(strategy.scheduler, Private)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scheduler.threshold=0.8", ("scheduler.threshold", 0.8)),
        ("steps=null", ("steps", None)),
        ("steps = 4", ("steps", 4)),
        ("layering.between=[1, 2]", ("layering.between", [1, 2])),
        ("description=a=b", ("description", "a=b")),
        ("scheduler={name: even}", ("scheduler", {"name": "even"})),
    ],
)
def test_the_value_of_an_override_is_read_as_yaml(text: str, expected: tuple[str, Any]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["steps", "=4", "steps=[1", "steps=2026-13-45"])
def test_an_override_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        parse_override(text)


def test_an_unknown_part_is_answered_with_a_suggestion_and_the_list() -> None:
    message = refusal({**PLAIN, "scheduler": "treshold"})
    assert message.startswith(
        "strategy: scheduler: unknown scheduler 'treshold'. Did you mean 'threshold'? Known: "
    )
    assert "layering.name: unknown layering 'sinlge'" in refusal(PLAIN, layering__name="sinlge")


def test_an_unknown_field_is_answered_with_a_suggestion() -> None:
    assert "unknown field 'gen_lenght'. Did you mean 'gen_length'?" in refusal({**PLAIN, "gen_lenght": 3})
    part = {"name": "threshold", "treshold": 0.3}
    assert "scheduler: unknown field 'treshold'. Did you mean 'threshold'?" in refusal(
        {**PLAIN, "scheduler": part}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scheduler__threshold": 1.5}, "custom: scheduler.threshold: input should be <= 1, got 1.5"),
        ({"scheduler__threshold": float("nan")}, "scheduler.threshold: input should be"),
        ({"scheduler__threshold": "high"}, "scheduler.threshold: input should be a valid number"),
        ({"steps": 0}, "steps: input should be >= 1, got 0"),
        ({"gen_length": 0}, "gen_length: input should be >= 1, got 0"),
        ({"temperature": -1}, "temperature: input should be >= 0, got -1"),
        ({"scheduler": 3}, "scheduler: should be a part's name or a mapping with a name, got 3"),
        (
            {"logits": ["guidance", {"name": "guidance", "weight": -1}]},
            "logits.1.weight: input should be >= 0",
        ),
        ({"step": 3}, "step: unknown field 'step'. Did you mean 'steps'?"),
        ({"steps__x": 3}, "steps.x: steps is None and has no fields."),
        ({"logits__0__weight": 3}, "logits.0.weight: unknown field '0'. Known: (none)"),
        ({"scheduler__treshold": 3}, "scheduler: unknown field 'treshold'. Did you mean 'threshold'?"),
    ],
)
def test_what_does_not_validate_is_said_with_its_path(changes: dict[str, Any], said: str) -> None:
    assert said in refusal(PLAIN, **changes)


def test_every_mistake_is_said_at_once() -> None:
    message = refusal({**PLAIN, "steps": 0, "scheduler": {"name": "threshold", "threshold": 2}})
    assert "steps:" in message
    assert "scheduler.threshold:" in message
    assert "\n" not in message


def test_a_missing_part_is_named() -> None:
    assert "block: field required" in refusal({key: value for key, value in PLAIN.items() if key != "block"})


def test_a_file_that_is_not_yaml_is_refused_with_its_name_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("block: whole\nlayering: [single\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not YAML: line 3, column 1: "):
        Strategy.load(path)


def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- whole\n")
    with pytest.raises(ConfigError, match=r"list\.yaml should hold a mapping"):
        Strategy.load(path)


def test_a_file_that_is_missing_a_folder_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read: No such file"):
        Strategy.load(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Strategy.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read: not UTF-8 text"):
        Strategy.load(tmp_path / "binary.yaml")


def test_fewer_steps_than_blocks_are_refused() -> None:
    strategy = Strategy.load("llada", block={"name": "fixed", "length": 8}, gen_length=32, steps=2)
    with pytest.raises(ConfigError, match="steps"):
        strategy.check()


def test_a_tuning_range_needs_choices_or_two_ends() -> None:
    with pytest.raises(ValueError, match="Tune needs"):
        Tune(low=0.1)
    with pytest.raises(ValueError, match="low <= high"):
        Tune(0.9, 0.1)
    assert Tune(choices=("a", "b")).choices == ("a", "b")

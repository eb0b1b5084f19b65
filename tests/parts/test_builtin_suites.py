"""Every registered part, task and model family passes the suite of its kind; new ones are picked up by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dllm_decode.models.load import load_model
from dllm_decode.models.placement import Placement
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS, SEVERAL
from dllm_decode.plugins.registry import build_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS
from dllm_decode.testing import SUITES, DenoiserSuite, ScriptedDenoiser, TaskSuite, checkpoints
from dllm_decode.testing.config_suite import label
from dllm_decode.testing.random_checkpoint import write_checkpoint
from tests.support.dream_checkpoint import dream_tensors, small_dream, write_dream_tokenizer
from tests.support.masked_checkpoint import write_masked_lm

# The suites' canvases are short: settings that make something happen in nine columns.
SMALL: dict[str, list[dict[str, Any]]] = {
    "block:fixed": [{"length": 2}],
    "block:adaptive": [{"length": 3, "threshold": 0.05, "delimiters": [4, 9, 11, 12, 13, 14, 15]}],
    "block:multi": [{"length": 2, "add": 0.5, "active": 2}, {"length": 3, "add": 0.1}],
    "layering:chlg": [{"threshold": 0.4, "hard_steps": 2, "between": [{"threshold": 0.2, "steps": 2}]}],
    "scheduler:threshold": [{"threshold": 0.2}],
    "scheduler:klass": [{"threshold": 0.2, "epsilon": 0.3, "history": 1}, {"threshold": 0.2, "top": 3}],
    "scheduler:local-leap": [{"threshold": 0.3, "relaxed": 0.15, "radius": 2}],
    "scheduler:less": [{"threshold": 0.2, "drift": 0.3, "history": 1}],
    "scheduler:segment": [{"low": 0.1, "threshold": 0.3}],
    "confidence:top-probability": [{"ignore_ends": True}],
    "logits:temper": [{"temperature": 0.3}],
    "logits:top-p": [{"p": 0.4}, {"p": 1.0}],
    "logits:top-k": [{"k": 2}],
    "stop:early-commit": [{"threshold": 0.2}],
    "revise:edit": [{"threshold": 0.3, "extra_steps": 3}],
    "cache:dual": [{"refresh": 1}, {"refresh": 2}],
    "cache:delayed": [{"delay": 2, "refresh": 3}, {"refresh": 1}],
}
# The released code counts columns over the whole canvas, padding included, and the recipe that replays it says so.
ROWS_MIX = {"parity=absolute": "columns count from the canvas's first"}

_REGISTRY = build_registry(entry_point_group=None)


def parts(kind: str) -> list[PartConfig]:
    """Every part of a kind with its defaults, in the settings above, and as the recipes set it."""
    found: dict[str, PartConfig] = {}
    for name in _REGISTRY.names(kind):
        config = _REGISTRY.part(kind, name)
        for fields in ({}, *SMALL.get(f"{kind}:{name}", [])):
            part = config.model_validate(fields)
            found[label(part)] = part
    for part in in_recipes():
        if part.kind == kind:
            found.setdefault(label(part), part)
    return [found[name] for name in sorted(found)]


@lru_cache(maxsize=1)
def in_recipes() -> tuple[PartConfig, ...]:
    """Every part that a recipe holds, those inside other parts too."""

    def inside(value: Any) -> Iterator[PartConfig]:
        if isinstance(value, PartConfig):
            yield value
        if isinstance(value, BaseModel):
            for name in type(value).model_fields:
                yield from inside(getattr(value, name))
        elif isinstance(value, tuple | list):
            for item in value:
                yield from inside(item)

    return tuple(part for name in _REGISTRY.names("recipe") for part in inside(Strategy.load(name)))


def stands_alone(part: PartConfig) -> bool:
    return not any(setting in label(part) for setting in ROWS_MIX)


def _suites() -> Iterator[tuple[str, type[Any], dict[str, Any]]]:
    for kind, suite in SUITES.items():
        every = parts(kind)
        yield f"TestBuiltIn{kind.title()}", suite, {"parts": [part for part in every if stands_alone(part)]}
        mixing = [part for part in every if not stands_alone(part)]
        if mixing:
            yield f"TestReleased{kind.title()}", suite, {"parts": mixing, "rows_stand_alone": False}


for _name, _suite, _fields in _suites():
    globals()[_name] = type(_name, (_suite,), {**_fields, "__module__": __name__})


class TestBuiltInTask(TaskSuite):
    tasks = TASKS


def write_dream(folder: Path) -> Path:
    config = small_dream()
    checkpoints.write_checkpoint(folder, config, dream_tensors(config))
    return write_dream_tokenizer(folder)


CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    "dream": write_dream,
    "llada": checkpoints.write_small_model,
    "llama": write_checkpoint,
    "masked-lm": write_masked_lm,
}
"""Model family -> what writes a small checkpoint in its format; a family without one fails its suite."""


class TestBuiltInDenoiser(DenoiserSuite):
    @pytest.fixture(params=["tiny", *_REGISTRY.names("denoiser")])
    def denoiser(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        name = request.param
        if name == "tiny":
            return load_model("tiny", placement=Placement()).denoiser
        assert name in CHECKPOINTS, (
            f"model family {name!r} has no entry in CHECKPOINTS; add what writes a small one"
        )
        return load_model(CHECKPOINTS[name](tmp_path), placement=Placement()).denoiser


class TestScriptedDenoiser(DenoiserSuite):
    @pytest.fixture
    def denoiser(self) -> ScriptedDenoiser:
        return ScriptedDenoiser()


def test_every_kind_of_part_has_a_suite() -> None:
    assert {*SUITES} == {*KINDS}
    assert {*SEVERAL} <= {*SUITES}

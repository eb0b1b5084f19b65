"""Published settings as data: which model, task and method, with what lengths and thresholds, and what came of it.

Knows the files in `published` and how a method's fields become a recipe with changes; `Strategy.load` makes them strategies.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import Field

from dllm_decode.errors import ConfigError
from dllm_decode.parts.base import Frozen

FOLDER = Path(__file__).parent / "published"

UNSAID = "prefix or dual"
"""Of a cache whose kind the source does not say."""


class Setting(Frozen):
    """One published setting; None where the source says nothing."""

    name: str = Field(description="Method and task, and what tells it from others of both.")
    method: str
    model: str
    task: str = Field(description="Ours where there is one, else as published.")
    shape: str = Field(description="How the task was asked.")
    gen_length: int
    steps: int
    block_length: int | None = None
    temperature: float = 0.0
    top_p: float | None = None
    alg: str | None = Field(None, description="Dream's name of the confidence or rule.")
    forbid_eos: bool = Field(False, description="LLaDA's `logits_eos_inf`.")
    ignore_ends: bool = Field(False, description="LLaDA's `confidence_eos_eot_inf`.")
    threshold: float | None = None
    easy_steps: int | None = None
    hard_steps: int | None = None
    stages: int | None = None
    rec_steps: int | None = None
    cache: str | None = None
    accuracy: float | None = Field(None, description="In percent; None where none is published.")
    accuracy_by: str | None = None
    accuracy_source: str | None = None
    accuracy_internal: float | None = Field(None, description="The authors' own evaluator's, in percent.")
    tokens_per_second: float | None = None
    source: str
    also: tuple[str, ...] = Field((), description="Others that publish the same setting.")
    note: str = ""

    def composition(self) -> tuple[str, dict[str, Any]]:
        """Return the recipe it is made of, and what of it is changed, as `Strategy.override` takes it.

        Raises:
            ConfigError: The source leaves something open that a strategy has to know.
        """
        if self.cache == UNSAID:
            raise ConfigError(
                f"strategy: the source of {self.name!r} does not say which cache was used; take {self._plain()!r} with "
                "--set cache=prefix or --set cache=dual"
            )
        recipe, changes = _METHODS[self.method](self)
        return recipe, {
            "name": self.name,
            "description": f"Published for {self.model} on {self.task}: {self.source}",
            "gen_length": self.gen_length,
            **changes,
            **({"logits": "forbid-eos"} if self.forbid_eos else {}),
            **({"confidence.ignore_ends": True} if self.ignore_ends else {}),
            **({"cache": self.cache} if self.cache else {}),
        }

    def _plain(self) -> str:
        """Return the name of the setting without its cache."""
        return self.name.removesuffix("/cache").removesuffix("-cache")


@lru_cache(maxsize=1)
def published_settings() -> Mapping[str, Setting]:
    """Return every published setting by its name, in the order of the names."""
    rows = [row for path in sorted(FOLDER.glob("*.yaml")) for row in yaml.safe_load(path.read_text(encoding="utf-8"))]
    found = [Setting.model_validate(row) for row in rows]
    return MappingProxyType({one.name: one for one in sorted(found, key=lambda one: one.name)})


def find_setting(source: object) -> Setting | None:
    """Return the published setting that a strategy's source names; None if it names none."""
    return published_settings().get(source) if isinstance(source, str) else None


def published_length(source: object) -> int | None:
    """Return the answer's length that a strategy's source prescribes by being a published setting; None if it is none."""
    setting = find_setting(source)
    return None if setting is None else setting.gen_length


def near_settings(name: str) -> list[str]:
    """Return names of settings that a name may have been meant to be."""
    return get_close_matches(name, published_settings(), 3, 0.75)


def settings_for(task: str, method: str, model: str = "") -> list[Setting]:
    """Return the settings of a task and a method, those of the model first, then the shortest named."""
    found = [one for one in published_settings().values() if (one.task, one.method) == (task, method)]
    return sorted(found, key=lambda one: (model.rsplit("/", 1)[-1] != one.model, one.name.count("/")))


def _llada(setting: Setting) -> tuple[str, dict[str, Any]]:
    blocks = {} if setting.block_length is None else {"block": {"name": "fixed", "length": setting.block_length}}
    return "llada", {"steps": setting.steps, **blocks}


def _said(setting: Setting) -> tuple[str, dict[str, Any]]:
    detail = {"threshold": setting.threshold, "easy_steps": setting.easy_steps, "hard_steps": setting.hard_steps}
    return "said", {
        "steps": setting.steps,
        **{f"layering.detail.{name}": value for name, value in detail.items() if value is not None},
    }


def _said_block(setting: Setting) -> tuple[str, dict[str, Any]]:
    return "said-block", {
        "steps": setting.steps,
        "block.length": setting.block_length,
        "layering.stage_count": setting.stages,
        "layering.rec_steps": setting.rec_steps,
    }


def _fast_dllm(setting: Setting) -> tuple[str, dict[str, Any]]:
    # With a threshold the published steps are not read: its loop runs until a block is full.
    changes: dict[str, Any] = {"block.length": setting.block_length}
    if setting.threshold is not None:
        return "fast-dllm", {**changes, "scheduler.threshold": setting.threshold}
    changes |= {"steps": setting.steps, "scheduler": "dream" if setting.alg else "even"}
    return "fast-dllm", changes | ({"confidence": setting.alg} if setting.alg else {})


def _dream(setting: Setting) -> tuple[str, dict[str, Any]]:
    # The released sampler divides by the temperature, then cuts, then reads the confidence from what is left.
    logits: list[dict[str, Any]] = []
    changes: dict[str, Any] = {"steps": setting.steps, "confidence": setting.alg}
    if setting.temperature:
        logits.append({"name": "temper", "temperature": setting.temperature})
        changes["temperature"] = 1.0
    if setting.top_p is not None:
        logits.append({"name": "top-p", "p": setting.top_p})
    return "dream", {**changes, "logits": logits}


_METHODS = {
    "llada": _llada,
    "llada-block": _llada,
    "said": _said,
    "said-block": _said_block,
    "fast-dllm": _fast_dllm,
    "dream": _dream,
}

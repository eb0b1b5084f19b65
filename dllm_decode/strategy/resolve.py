"""What a caller means by a strategy where a model is at hand: the one place that knows what "tuned" stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dllm_decode.strategy.presets import tuned_preset
from dllm_decode.strategy.strategy import TUNED, Strategy

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM

StrategySource = str | Path | Mapping[str, Any] | Strategy
"""A recipe's name, "tuned", a YAML file, a mapping or a strategy."""


def resolve(
    source: StrategySource,
    lm: DiffusionLM,
    changes: Mapping[str, Any] | None = None,
    *,
    task: str | None = None,
    gen_length: int | None = None,
    prompts: Any = (),
) -> tuple[Strategy, str]:
    """Return a strategy with its changes, and what is to be said of the choice ("" where there was none).

    Args:
        source: What the caller gave.
        lm: The model that is to run it.
        changes: Fields by dotted path.
        task: For "tuned": the task's name; None where there is none.
        gen_length: For "tuned": columns an answer gets, in tokens; None if that is up to the preset.
        prompts: For "tuned": texts, for their length.

    Raises:
        ConfigError: The source is unknown or does not validate, or there is no preset of this model.
    """
    if source != TUNED:
        return Strategy.load(source, **dict(changes or {})), ""
    preset, said = tuned_preset(lm, task=task, gen_length=gen_length, prompts=prompts)
    return Strategy.load(preset.strategy, **dict(changes or {})), said

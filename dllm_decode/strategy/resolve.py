"""From what a user gives as a strategy to a `Strategy`, "tuned" included: the one place that knows how it is found.

`Strategy.load` reads all but "tuned", which needs a model; presets as files are `presets`'. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dllm_decode.errors import ConfigError
from dllm_decode.strategy.presets import SHIPPED, Preset, load_presets, nearest_presets, presets_folder
from dllm_decode.strategy.strategy import TUNED, Strategy

StrategySource = str | Path | Mapping[str, Any] | Strategy
"""A recipe's name or "tuned", a YAML file, a mapping, or a strategy."""


class KnownModel(Protocol):
    """What a preset is found by."""

    @property
    def name(self) -> str:
        """What the model was loaded as."""

    @property
    def fingerprint(self) -> str:
        """A name for exactly its files."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A strategy, and what is to be said of how it was found; "" if nothing is."""

    strategy: Strategy
    note: str = ""


def needs_model(source: object) -> bool:
    """Say whether a source can be resolved only once the model is known."""
    return isinstance(source, str) and source == TUNED


def resolve(
    source: StrategySource,
    model: KnownModel,
    *,
    changes: Mapping[str, Any] | None = None,
    task: str | None = None,
    gen_length: int | None = None,
    prompts: Any = (),
) -> Resolved:
    """Return the strategy that a source stands for, with changes.

    Args:
        source: A recipe's name, a YAML file, a mapping or a strategy; "tuned" is the preset that fits best.
        model: The model that a preset should fit.
        changes: Dotted paths or fields to set, as `Strategy.override` takes them.
        task: For "tuned", the task's name; None where there is none, as in `generate`.
        gen_length: For "tuned", columns an answer gets, in tokens; None if that is up to the preset.
        prompts: For "tuned", texts, for their length; anything else is passed over.

    Raises:
        ConfigError: The source is unknown or does not validate, or there is no preset of this model.
    """
    if not needs_model(source):
        return Resolved(Strategy.load(source, **(changes or {})))
    texts = [prompts] if isinstance(prompts, str) else _texts(prompts)
    preset, note = _fitting_preset(model, task, gen_length, texts)
    return Resolved(preset.strategy.override(changes) if changes else preset.strategy, note)


def _texts(prompts: Any) -> list[str]:
    """Return those of the prompts that are texts; none of a tensor, whose rows are tokens."""
    return [text for text in prompts if isinstance(text, str)] if isinstance(prompts, Sequence) else []


def _fitting_preset(
    model: KnownModel, task: str | None, gen_length: int | None, texts: Sequence[str]
) -> tuple[Preset, str]:
    """Return the preset that fits a model and a task best, and how well it does."""
    characters = sum(map(len, texts)) / len(texts) if texts else None
    # The user's own stand first and so win among equals.
    kept = [*load_presets(), *load_presets(SHIPPED)]
    ordered = nearest_presets(kept, model.fingerprint, model.name, task, gen_length, characters)
    own = [one for one in ordered if model.fingerprint == one.fingerprint or model.name == one.model]
    if not own:
        others = ", ".join(sorted({preset.model for preset in kept})) or "none"
        raise ConfigError(
            f"strategy: there is no tuned preset for model {model.name!r} in {presets_folder()} "
            f"(models with presets: {others}); make one: dllm-decode search run --task TASK --model {model.name}"
        )
    best = own[0]
    said = []
    if best.fingerprint != model.fingerprint:
        said.append(f"it was found for other weights of {model.name}")
    if task != best.task:
        said.append(f"no preset for task {task!r}" if task else "the nearest in answer and prompt length")
    return best, f"tuned: the preset of task {best.task}" + (f" ({'; '.join(said)})" if said else "")

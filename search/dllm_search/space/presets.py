"""From searches to presets and back: keeps what a search chose, and starts a new one from what similar tasks chose.

Knows tasks and models by what the core's presets record of them; the files themselves are the core's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import LOOKED_AT, fit
from dllm_decode.strategy.presets import Preset, load_presets, nearest_presets, presets_folder, save_preset
from dllm_decode.strategy.strategy import Strategy

if TYPE_CHECKING:
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task
    from dllm_search.report.report import Report

NEAREST = 3
"""Presets that a new search starts from."""


def chosen_folder(presets: bool | str | Path) -> Path | None:
    """Return the folder meant: True is the user's, False none."""
    if isinstance(presets, bool):
        return presets_folder() if presets else None
    return Path(presets)


def remember(report: Report, lm: DiffusionLM, task: Task, folder: Path) -> Path | None:
    """Keep what a search chose as the preset of its model and task; return its file.

    A model that was made in this process has no files to be known by, so nothing is kept of it unless it is named.
    """
    if not lm.lasting:
        return None
    chosen = report.chosen
    strategy = chosen.strategy.model_copy(update={"name": f"tuned-{task.name}"})
    preset = Preset(
        model=lm.name,
        fingerprint=lm.fingerprint,
        task=task.name,
        gen_length=task.gen_length,
        prompt_characters=prompt_characters(task),
        strategy=strategy,
        found={
            **report.record.get("provenance", {}),
            "test_examples": chosen.score.n,
            "accuracy": round(chosen.score.accuracy, 4),
            "forward_passes": round(chosen.score.forward_passes, 2),
            "times_fewer": round(chosen.fewer, 2),
            "evidence": " ".join(report.evidence),
        },
    )
    return save_preset(preset, folder)


def starting_points(lm: DiffusionLM, task: Task, folder: Path) -> list[Strategy]:
    """Return the strategies of the presets nearest to a task, at the task's answer length, nearest first.

    Near is: the same weights, then a model of the same name, then any; among these the task itself, then the least sum
    of the factors, in doublings, between answer lengths and between mean prompt lengths.
    """
    nearest = nearest_presets(
        load_presets(folder), lm.fingerprint, lm.name, task.name, task.gen_length, prompt_characters(task)
    )
    found: dict[str, Strategy] = {}
    for preset in nearest:
        strategy = _adapted(preset, task.gen_length)
        if strategy is not None and len(found) < NEAREST:
            found.setdefault(strategy.digest(), strategy)
    return list(found.values())


def prompt_characters(task: Task) -> float:
    """Return the mean length of a task's prompts, in characters."""
    prompts = [prompt_text(example.prompt) for example in task.examples("tune", LOOKED_AT)]
    return sum(map(len, prompts)) / max(len(prompts), 1)


def _adapted(preset: Preset, gen_length: int) -> Strategy | None:
    """Return a preset's strategy for another answer length, its steps in proportion; None if it cannot serve it."""
    steps = preset.strategy.steps
    if steps is not None:
        steps = max(1, round(steps * gen_length / preset.gen_length))
    try:
        strategy, _ = fit(preset.strategy.model_copy(update={"steps": steps}), gen_length)
    except ConfigError:
        return None
    return strategy.model_copy(update={"name": f"preset of {preset.task}"})

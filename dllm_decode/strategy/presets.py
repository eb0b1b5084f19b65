"""Presets: tuned strategies as data, the user's and the package's, kept by model and task, and how near each is to another task.

Knows files and distances; leaves choosing one to `resolve`, finding good strategies to whoever writes them. Imports no
torch.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.files import write_atomically
from dllm_decode.strategy.read_yaml import read_yaml
from dllm_decode.strategy.strategy import Strategy

FOLDER_VARIABLE = "DLLM_DECODE_PRESETS"

SHIPPED = Path(__file__).parent / "shipped"
"""Presets that come with the package: those of `tiny`."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A strategy that was found for one task with one model."""

    model: str
    fingerprint: str
    """Of the model's files."""
    task: str
    gen_length: int
    """Columns an answer gets, in tokens."""
    prompt_characters: float
    """Mean length of the task's prompts."""
    strategy: Strategy
    found: Mapping[str, Any] = field(default_factory=dict)
    """How it was found, and what it came to; for people."""

    def __post_init__(self) -> None:
        """Refuse what no preset says; a file may hold anything.

        Raises:
            TypeError: Names the field.
        """
        for name in ("model", "fingerprint", "task"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} should be a text, got {getattr(self, name)!r}")
        length, characters = self.gen_length, self.prompt_characters
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise TypeError(f"gen_length should be a whole number above 0, got {length!r}")
        if isinstance(characters, bool) or not isinstance(characters, int | float) or not 0 <= characters < math.inf:
            raise TypeError(f"prompt_characters should be a number from 0 on, got {characters!r}")
        if not isinstance(self.found, Mapping):
            raise TypeError(f"found should be a mapping, got {self.found!r}")

    def distance(self, gen_length: int | None, prompt_characters: float | None) -> float:
        """Return how unlike another task is: the factors between answer and prompt lengths, in doublings, summed.

        What is not known counts as equal.
        """
        pairs = ((self.gen_length, gen_length), (self.prompt_characters, prompt_characters))
        return sum(abs(math.log2(max(own, 1) / max(other, 1))) for own, other in pairs if other is not None)


def presets_folder() -> Path:
    """Return where presets are kept: `$DLLM_DECODE_PRESETS`, or `~/.config/dllm-decode/presets`."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given) if given else Path.home() / ".config" / "dllm-decode" / "presets"


def save_preset(preset: Preset, folder: Path | None = None) -> Path:
    """Write a preset, in the place of an older one of its model and task; return its file.

    Raises:
        DataError: The folder cannot be written.
    """
    task = re.sub(r"[^\w.-]", "-", preset.task)
    path = (folder or presets_folder()) / preset.fingerprint / f"{task}.yaml"
    data = {
        "model": preset.model,
        "fingerprint": preset.fingerprint,
        "task": preset.task,
        "gen_length": preset.gen_length,
        "prompt_characters": round(preset.prompt_characters, 1),
        "found": dict(preset.found),
        "strategy": preset.strategy.to_dict(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise DataError(
            f"presets cannot be kept in {path.parent}: {error.strerror}; set {FOLDER_VARIABLE} to another folder"
        ) from None
    return path


def load_presets(folder: Path | None = None) -> list[Preset]:
    """Return every preset of a folder, in order of their files.

    Raises:
        ConfigError: A file is no preset; the message names it.
    """
    return [_read(path) for path in sorted((folder or presets_folder()).glob("*/*.yaml"))]


def nearest_presets(
    presets: Sequence[Preset],
    fingerprint: str,
    model: str,
    task: str | None,
    gen_length: int | None,
    prompt_characters: float | None,
) -> list[Preset]:
    """Return presets with the one that fits best first.

    Presets of the same weights come before those of a model of the same name, and those before any other; among
    equals that of the task itself, then the least `Preset.distance`.
    """

    def unlike(preset: Preset) -> tuple[int, bool, float, str]:
        stranger = 0 if preset.fingerprint == fingerprint else 1 if preset.model == model else 2
        return stranger, preset.task != task, preset.distance(gen_length, prompt_characters), preset.task

    return sorted(presets, key=unlike)


def _read(path: Path) -> Preset:
    try:
        data = read_yaml(path.read_text(encoding="utf-8"), str(path))
        strategy = Strategy.parse(data["strategy"], f"{path}: strategy")
        return Preset(**{**data, "strategy": strategy})
    except (OSError, TypeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
    except ConfigError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
    raise ConfigError(f"{path} is no preset: {reason}; remove it, or tune the task again")

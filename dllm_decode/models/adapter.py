"""A PEFT adapter becomes part of the model it was trained for. The file's format and the merging are the package's."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from dllm_decode.errors import ModelError
from dllm_decode.models.folder import read_json
from dllm_decode.models.weights import Names

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no model."""
    return (folder / CONFIG_FILE).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """Return the model that an adapter was trained for: a hub id, or a folder, which may lie beside the adapter.

    Raises:
        ModelError: peft is not installed, or the adapter does not say.
    """
    base = read_json(folder / CONFIG_FILE).get("base_model_name_or_path")
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"{folder} is a PEFT adapter of {base}: pip install 'dllm-decode[peft]' to load it, or merge it into its base."
        )
    if not isinstance(base, str) or not base:
        raise ModelError(f"{folder / CONFIG_FILE} names no base_model_name_or_path; merge the adapter into its base.")
    return str(folder / base) if (folder / base).is_dir() else base


def merge_adapter(folder: Path, model: Any, names: Mapping[str, str]) -> None:
    """Add an adapter to the weights of a `transformers` model.

    Args:
        folder: Holds the adapter.
        model: What it was trained for; changed.
        names: From the module names that the adapter was trained under to the model's, `*` for the layer.

    Raises:
        ModelError: The adapter cannot be read, or does not fit.
    """
    import peft

    rules = {"^" + re.escape(_PREFIX) + theirs[1:]: _PREFIX + ours for theirs, ours in Names(names).mapping.items()}
    try:
        state = {_renamed(key, rules): tensor for key, tensor in load_file(folder / WEIGHTS_FILE).items()}
        config = peft.PeftConfig.from_pretrained(str(folder))
        config.task_type, config.inference_mode, config.base_model_name_or_path = None, True, None
        # By whole names, as the adapter's own (`ff_out`) may be those of other modules here.
        config.target_modules = sorted({key.removeprefix(_PREFIX).split(".lora_")[0] for key in state})
        adapted = peft.get_peft_model(model, config)
        report = peft.set_peft_model_state_dict(adapted, state)
        missing = [key for key in report.missing_keys if ".lora_" in key]
        if lost := [*report.unexpected_keys, *missing]:
            raise ModelError(f"the adapter {folder} and its base do not fit: {lost[0]} is in one of them alone.")
        adapted.merge_and_unload()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the adapter {folder} cannot be loaded: {' '.join(str(error).split())}") from None
    model.requires_grad_(False)


def _renamed(key: str, rules: Mapping[str, str]) -> str:
    for theirs, ours in rules.items():
        key, count = re.subn(theirs, ours, key)
        if count:
            break
    return key

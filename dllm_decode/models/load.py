"""From a name to a denoiser and its tokenizer: an embedded model, a checkpoint folder, or a hub id.

Knows where checkpoints lie; which family reads one is asked of the registry.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError, ModelError, unknown_name
from dllm_decode.files import user_path
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.models.adapter import base_of, is_adapter, merge_adapter
from dllm_decode.models.folder import read_json
from dllm_decode.models.placement import Placement
from dllm_decode.models.tokenizer import Tokenizer, load_tokenizer, special_tokens
from dllm_decode.plugins.registry import load_registry

EMBEDDED = {"tiny": Path(__file__).parents[1] / "tiny"}
"""Models that come with the package, by name."""

FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""`package.module:function`, whose return value is the model."""
_AS_SAFETENSORS = "give the folder of the model's safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A denoiser with what came beside it."""

    denoiser: Denoiser
    tokenizer: Tokenizer | None
    folder: Path


def load_model(
    name_or_path: str | Path,
    *,
    placement: Placement,
    mask_token_id: int | None = None,
    eot_token_id: int | None = None,
    tokenizer: Tokenizer | None = None,
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        name_or_path: "tiny", a checkpoint folder, or a hub id such as "GSAI-ML/LLaDA-8B-Instruct".
        placement: The dtype, device and device map asked for.
        mask_token_id: Overrides what the checkpoint says.
        eot_token_id: Overrides what the checkpoint says.
        tokenizer: Used instead of the checkpoint's.

    Raises:
        ModelError: There is no such model, or it cannot be used; the message says what to do.
    """
    folder = find_folder(name_or_path)
    if is_adapter(folder):
        own = tokenizer or load_tokenizer(folder)
        base = load_model(
            base_of(folder),
            placement=placement,
            mask_token_id=mask_token_id,
            eot_token_id=eot_token_id,
            tokenizer=own,
        )
        model = getattr(base.denoiser, "model", None)
        merge_adapter(folder, model, getattr(_family(base.folder, read_config(base.folder)), "names", {}))
        return LoadedModel(base.denoiser, base.tokenizer, folder)
    config = read_config(folder)
    family = _family(folder, config)
    if tokenizer is None:
        # A format whose tokenizer is in no tokenizer.json knows how to read its own.
        tokenizer = getattr(family, "load_tokenizer", load_tokenizer)(folder)
    special = special_tokens(
        folder, config, tokenizer, mask_token_id=mask_token_id, eot_token_id=eot_token_id
    )
    denoiser: Denoiser = family.load(folder, config, special=special, placement=placement)
    return LoadedModel(denoiser, tokenizer, folder)


def find_folder(name_or_path: str | Path) -> Path:
    """Return the folder of a model, fetching it from the hub if need be.

    Raises:
        ModelError: It is no embedded model, no folder and nothing on the hub.
    """
    text = str(name_or_path)
    if text in EMBEDDED:
        if not (EMBEDDED[text] / "config.json").is_file():
            raise ModelError(
                f"the embedded model {text!r} is not in this installation; install dllm-decode again."
            )
        return EMBEDDED[text]
    try:
        path = user_path(name_or_path)
    except DataError as error:
        raise ModelError(f"there is no model {error}") from None
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        raise ModelError(f"{text} is a GGUF file, which is not read here; {_AS_SAFETENSORS}.")
    if path.exists():
        raise ModelError(
            f"{text} is a file; give the checkpoint's folder, which holds config.json and the weights."
        )
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(text):
        return _fetch(text)
    if isinstance(name_or_path, Path) or re.search(r"[/\\]", text):
        raise ModelError(f"there is no checkpoint folder {text}.")
    raise ModelError(
        unknown_name("model", text, EMBEDDED) + "; or a checkpoint folder, or a hub id (owner/name)."
    )


def call_factory(name: str) -> Any:
    """Return what a factory makes, by its name `package.module:function`; the current folder may hold the package.

    Raises:
        ModelError: There is none, or it fails.
    """
    module, _, attribute = name.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), attribute)()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ModelError(f"the model {name!r} could not be made by {attribute}() of {module}: {reason}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of a checkpoint's `config.json`.

    Raises:
        ModelError: The folder is no checkpoint.
    """
    path = folder / "config.json"
    if not path.is_file():
        if gguf := sorted(folder.glob("*.gguf")):
            raise ModelError(f"{gguf[0]} is a GGUF file, which is not read here; {_AS_SAFETENSORS}.")
        raise ModelError(f"{folder} is no checkpoint: it holds no config.json.")
    return read_json(path)


def _family(folder: Path, config: Mapping[str, Any]) -> Any:
    if not isinstance(config.get("model_type"), str | None):
        raise ModelError(f"{folder / 'config.json'}: model_type should be a text, got {config['model_type']!r}.")
    if config.get("model_type") == "llada" and any("expert" in field for field in config):
        raise ModelError(
            f"{folder} is a LLaDA-MoE: its experts are not carried out here. LLaDA, LLaDA-1.5 and Dream are; a plugin "
            "may add a family through the hook dllm_denoiser."
        )
    registry = load_registry()
    names = registry.names("denoiser")
    found = [name for name in names if registry.find("denoiser", name).matches(config)]
    found = [
        name for name in found if not getattr(registry.find("denoiser", name), "fallback", False)
    ] or found
    if len(found) == 1:
        return registry.find("denoiser", found[0])
    model_type = config.get("model_type")
    if found:
        raise ModelError(
            f"{folder}: model families {' and '.join(found)} both claim model_type {model_type!r}."
        )
    failed = "".join(
        f" Note: {failure.origin} failed to load: {failure.reason}" for failure in registry.failures
    )
    raise ModelError(
        f"{folder / 'config.json'}: no model family reads model_type {model_type!r}. Known: {', '.join(names)}. A "
        f"plugin may add one through the hook dllm_denoiser.{failed}"
    )


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES))
        if not any(folder.glob("*.safetensors")):  # older weights are fetched only where there are no others
            folder = Path(snapshot_download(hub_id, allow_patterns=[*_HUB_FILES, "*.bin"]))
        return folder
    except LocalEntryNotFoundError:
        reason = "the model hub cannot be reached and no earlier copy is here"
    except GatedRepoError:
        reason = "its owner asks for an agreement on the model hub first"
    except RepositoryNotFoundError:
        reason = "the model hub has no such model, or it is private"
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
    raise ModelError(
        f"{hub_id} is no folder here and could not be fetched: {reason}. Check the name and the connection, or give a "
        "local checkpoint folder."
    )

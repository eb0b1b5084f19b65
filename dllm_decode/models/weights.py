"""Reads safetensors checkpoints into a model that holds no memory yet: headers first, then one tensor at a time.

Knows files, names, shapes and dtypes; which checkpoint name belongs to which parameter is the family's business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dllm_decode.errors import ModelError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a checkpoint, known from its file's header."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    """None for a format that is no plain floating-point number."""


def read_headers(folder: Path) -> dict[str, Entry]:
    """Return the tensors of a checkpoint by name, from `model.safetensors` or its numbered shards.

    Raises:
        ModelError: No weights, a missing or truncated file, or an index that names what a shard does not hold.
    """
    index = folder / INDEX_FILE
    if not index.is_file():
        single = folder / SINGLE_FILE
        if not single.is_file():
            others = sorted(path.name for path in folder.glob("*.bin"))
            hint = f" It holds {others[0]}; convert it to safetensors first." if others else ""
            raise ModelError(f"{folder} holds no weights: expected {SINGLE_FILE} or {INDEX_FILE}.{hint}")
        return _header(single)
    weight_map = _weight_map(index)
    entries: dict[str, Entry] = {}
    for name in sorted(set(weight_map.values())):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: the weights file {name}, named in {INDEX_FILE}, is missing.")
        entries.update(_header(folder / name))
    lost = [key for key, name in weight_map.items() if key not in entries or entries[key].file.name != name]
    if lost:
        raise ModelError(f"{folder}: {INDEX_FILE} names {_some(lost)}, not found in the file it gives.")
    return entries


def load_weights(
    model: nn.Module,
    entries: Mapping[str, Entry],
    checkpoint_name: Callable[[str], str],
    *,
    origin: str,
    dtype: torch.dtype,
    device_of: Callable[[str], torch.device],
) -> None:
    """Fill a model built on the meta device; every tensor is read, converted and placed once.

    Args:
        model: Its parameters are replaced.
        entries: What `read_headers` found.
        checkpoint_name: From a parameter's name to its name in the checkpoint.
        origin: What the checkpoint is called in messages.
        dtype: Of the parameters afterwards.
        device_of: From a parameter's name to the device it goes to.

    Raises:
        ModelError: Tensors are missing, left over or of another shape, or a file cannot be read.
    """
    parameters = dict(model.named_parameters())  # leaves out the second name of a tied weight
    wanted = {checkpoint_name(name): name for name in parameters}
    _refuse_mismatch(origin, {key: tuple(parameters[name].shape) for key, name in wanted.items()}, entries)
    by_file: dict[Path, list[str]] = {}
    for key in wanted:
        by_file.setdefault(entries[key].file, []).append(key)
    state: dict[str, Tensor] = {}
    for file, keys in by_file.items():
        try:
            with safe_open(file, framework="pt") as tensors:
                for key in keys:
                    name = wanted[key]
                    state[name] = tensors.get_tensor(key).to(device=device_of(name), dtype=dtype)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} cannot be read: {error}. Download or copy it again.") from None
    model.load_state_dict(state, strict=False, assign=True)


def _header(file: Path) -> dict[str, Entry]:
    try:
        with safe_open(file, framework="pt") as tensors:
            entries = {}
            for key in tensors.keys():  # noqa: SIM118 - the handle is no mapping
                view = tensors.get_slice(key)
                entries[key] = Entry(file, tuple(view.get_shape()), _DTYPES.get(view.get_dtype()))
            return entries
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} is truncated or no safetensors file ({error}). Download or copy it again."
        ) from None


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not isinstance(weight_map, dict):
            raise TypeError
        return {str(key): str(name) for key, name in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{index} is no index of weights: expected JSON with a `weight_map`.") from None


def _refuse_mismatch(
    origin: str, wanted: Mapping[str, tuple[int, ...]], entries: Mapping[str, Entry]
) -> None:
    faults = []
    missing = [key for key in wanted if key not in entries]
    extra = [key for key in entries if key not in wanted]
    if missing:
        faults.append(f"lacks {_some(missing)}")
    if extra:
        faults.append(f"holds {_some(extra)}, which the model has no place for")
    for key, shape in wanted.items():
        if key in entries and entries[key].shape != shape:
            faults.append(f"holds {key} of shape {entries[key].shape} where config.json asks for {shape}")
        elif key in entries and entries[key].dtype is None:
            faults.append(f"holds {key} in a quantised or integer format, which is not supported")
    if faults:
        more = f"; and {len(faults) - 3} faults more" if len(faults) > 3 else ""
        raise ModelError(f"the checkpoint {origin} " + "; ".join(faults[:3]) + more + ".")


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} tensors ({shown}, ...)" if len(keys) > 3 else shown

"""Reads a checkpoint with `from_pretrained` of transformers; what does not fit is refused in the checkpoint's own words.

Shards, dtypes, devices and quantised formats are the library's business; what a family calls its tensors is the family's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers.initialization import no_init_weights

from dllm_decode.errors import ModelError
from dllm_decode.models.placement import Placement

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Stored(NamedTuple):
    """A tensor as a header describes it."""

    dtype: torch.dtype | None
    """None is no plain floating point."""
    shape: tuple[int, ...]


class Names:
    """A checkpoint's tensor names in the model's terms, and back."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take a table from a checkpoint's module names to the model's; `*` is the layer."""
        self.mapping = _rules(names)
        """The library's rules: every module has its own, as only the first group of a rule is substituted."""
        self._back = _rules({ours: theirs for theirs, ours in names.items()})

    def theirs(self, key: str) -> str:
        """Return what the checkpoint calls a tensor of the model."""
        for ours, theirs in self._back.items():
            key, count = re.subn(ours, theirs, key)
            if count:
                break
        return key


def _rules(names: Mapping[str, str]) -> dict[str, str]:
    return {
        "^" + re.escape(one).replace(r"\*", r"(\d+)") + r"\.": other.replace("*", r"\1") + "."
        for one, other in names.items()
    }


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return each tensor by its name in `model.safetensors` or its shards.

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
    try:
        weight_map = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{index} is no index of weights: expected JSON with a `weight_map`.") from None
    shards: dict[str, dict[str, Stored]] = {}
    for name in sorted(set(map(str, weight_map.values()))):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: the weights file {name}, named in {INDEX_FILE}, is missing.")
        shards[name] = _header(folder / name)
    lost = [key for key, name in weight_map.items() if key not in shards[str(name)]]
    if lost:
        raise ModelError(f"{folder}: {INDEX_FILE} names {_some(lost)}, not found in the file it gives.")
    return {key: tensor for shard in shards.values() for key, tensor in shard.items()}


def read_model(
    architecture: Any, folder: Path, config: Any, stored: torch.dtype, placement: Placement, **options: Any
) -> tuple[Any, torch.device, dict[str, Any]]:
    """Return a model ready to be asked, the device of its inputs, and the library's loading report.

    Args:
        architecture: A class of `transformers` with `from_pretrained`.
        folder: The checkpoint.
        config: The model in the architecture's terms.
        stored: The dtype of the checkpoint's weights.
        placement: What the caller asked for.
        options: Further arguments of `from_pretrained`.

    Raises:
        ModelError: The library cannot read the weights, or they do not fit on the devices.
    """
    device = placement.resolve_device()
    dtype = placement.resolve_dtype(stored, device)
    mapping = placement.device_map
    if mapping is None and (device.type != "cpu" or getattr(config, "quantization_config", None)):
        mapping = {"": str(device)}
    try:
        with _quiet(), no_init_weights():  # weights that are read need no random ones before
            model, report = architecture.from_pretrained(
                folder, config=config, dtype=dtype, device_map=mapping, output_loading_info=True, **options
            )
    except Exception as error:
        raise ModelError(f"the checkpoint {folder} cannot be read: {' '.join(str(error).split())}") from None
    if "disk" in (getattr(model, "hf_device_map", None) or {}).values():
        raise ModelError(
            "the model does not fit on the devices of device_map=; weights on disk are not supported."
        )
    if placement.device_map is not None:
        device = model.get_input_embeddings().weight.device
    return model.requires_grad_(False), device, report


def refuse_misfits(origin: Path, report: Mapping[str, Any], names: Names, strange: list[str]) -> None:
    """Refuse a checkpoint whose tensors are not the model's.

    Args:
        origin: Its folder.
        report: What `from_pretrained` says of it.
        names: How the checkpoint names them.
        strange: Tensors that are no floating-point numbers, where they should be.

    Raises:
        ModelError: Names up to three faults, as the checkpoint names its tensors.
    """
    faults = []
    if missing := sorted(map(names.theirs, report["missing_keys"])):
        faults.append(f"lacks {_some(missing)}")
    extra = sorted(map(names.theirs, report["unexpected_keys"]))
    # Older files keep what is computed from rope_theta.
    if extra := [key for key in extra if not key.endswith("rotary_emb.inv_freq")]:
        faults.append(f"holds {_some(extra)}, which the model has no place for")
    faults += [
        f"holds {names.theirs(key)} of shape {tuple(given)} where config.json asks for {tuple(wanted)}"
        for key, given, wanted in sorted(report["mismatched_keys"])
    ]
    if strange:
        faults.append(
            f"holds {_some(strange)} in a quantised or integer format without a quantization_config"
        )
    if faults:
        more = f"; and {len(faults) - 3} faults more" if len(faults) > 3 else ""
        raise ModelError(f"the checkpoint {origin} " + "; ".join(faults[:3]) + more + ".")


def refuse_other_head(folder: Path, head: str, embedding: str) -> None:
    """Refuse a checkpoint that ties its head to the embedding and stores another one all the same.

    Args:
        folder: The checkpoint, known to be readable.
        head: The head's tensor, by its name in the checkpoint; one that is not there is the embedding.
        embedding: The embedding's.

    Raises:
        ModelError: Both are there and differ; the library would take one of them in silence.
    """
    stored: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            keys = set(tensors.keys())
            stored |= {key: tensors.get_tensor(key) for key in (head, embedding) if key in keys}
    if len(stored) == 2 and not torch.equal(stored[head], stored[embedding]):
        raise ModelError(
            f"the checkpoint {folder} holds {head}, which differs from {embedding}, though its config.json ties the two; "
            "set weight_tying or tie_word_embeddings to false if the head is its own."
        )


def _header(file: Path) -> dict[str, Stored]:
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            return {
                key: Stored(_DTYPES.get(each.get_dtype()), tuple(each.get_shape())) for key, each in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file} is truncated or no safetensors file ({error}). Download or copy it again."
        ) from None


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return f"{len(keys)} tensors ({shown}, ...)" if len(keys) > 3 else shown


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's progress bars and reports off the terminal; what matters is raised."""
    log: Any = transformers.logging
    verbosity, shown = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if shown:
            log.enable_progress_bar()

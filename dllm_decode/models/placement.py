"""Where a model goes and in which precision: dtype, device, device_map. Knows nothing of any model family."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dllm_decode.errors import ModelError, unknown_name

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """What the caller asked for; `resolve_*` turn it into what torch wants."""

    dtype: str | torch.dtype | None = None
    """None or "auto": the checkpoint's on an accelerator, float32 on the CPU."""
    device: str | torch.device | None = None
    """None: CUDA where there is one, else the CPU."""
    device_map: str | dict[str, Any] | None = None
    """As in accelerate: "auto", "balanced", or module name to device."""

    def resolve_device(self) -> torch.device:
        """Return the device of the model's inputs.

        Raises:
            ModelError: No such device, or both a device and a device map were given.
        """
        if self.device_map is not None and self.device is not None:
            raise ModelError("give either device= or device_map=, not both.")
        if self.device is None:
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise ModelError(f"device {str(self.device)!r} cannot be used: {reason}.") from None
        return device

    def resolve_dtype(self, checkpoint: torch.dtype, device: torch.device) -> torch.dtype:
        """Return the dtype of the weights.

        Args:
            checkpoint: The dtype they are stored in.
            device: Where they go.

        Raises:
            ModelError: An unknown name, or a dtype that is not floating point.
        """
        if self.dtype is None or self.dtype == "auto":
            return torch.float32 if device.type == "cpu" else checkpoint
        name = str(self.dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise ModelError(unknown_name("dtype", name, [*DTYPES, "auto"]))
        return DTYPES[name]

    def resolve_map(self, model: nn.Module, dtype: torch.dtype) -> dict[str, torch.device] | None:
        """Return module name -> device for a model on the meta device, or None without a device map.

        Raises:
            ModelError: accelerate is not installed, or the map offloads to the disk.
        """
        if self.device_map is None:
            return None
        if importlib.util.find_spec("accelerate") is None:
            raise ModelError(
                "device_map= needs the package accelerate: pip install accelerate, or give device=."
            )
        accelerate = importlib.import_module("accelerate")
        mapping: Any = self.device_map
        if isinstance(mapping, str) and mapping in ("auto", "balanced"):
            options: dict[str, Any] = {
                "no_split_module_classes": list(getattr(model, "_no_split_modules", None) or ()),
                "dtype": dtype,
            }
            memory = importlib.import_module("accelerate.utils").get_balanced_memory(model, **options)
            mapping = accelerate.infer_auto_device_map(model, max_memory=memory, **options)
        elif isinstance(mapping, str):
            mapping = {"": mapping}
        if "disk" in mapping.values():
            raise ModelError(
                "the model does not fit on the devices of device_map=; weights on disk are not supported."
            )
        return {name: torch.device(place) for name, place in mapping.items()}


def device_lookup(
    mapping: dict[str, torch.device] | None, device: torch.device
) -> Callable[[str], torch.device]:
    """Return a function from a parameter's name to its device; the longest matching module name decides."""
    if mapping is None:
        return lambda name: device

    def find(name: str) -> torch.device:
        modules = [
            module for module in mapping if not module or name == module or name.startswith(module + ".")
        ]
        if not modules:
            raise ModelError(f"device_map= gives no device for {name}.")
        return mapping[max(modules, key=len)]

    return find


def dispatch(model: nn.Module, mapping: dict[str, torch.device]) -> None:
    """Let accelerate move activations between the devices of a placed model."""
    importlib.import_module("accelerate").dispatch_model(model, device_map=mapping, force_hooks=True)

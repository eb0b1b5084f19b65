"""Where a model goes and in which precision: dtype, device, device_map. Knows nothing of any model family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

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
            torch.zeros(1, device=device).item()
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

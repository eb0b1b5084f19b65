"""`torch`, imported when its first attribute is asked for: listing strategies and parts must not wait for it.

A module that only names tensors in its signatures imports `torch` from here and stays cheap to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _Torch:
        """Stands for the module; keeps every attribute it has been asked for, so that it asks once."""

        def __getattr__(self, name: str) -> Any:
            value = getattr(import_module("torch"), name)
            setattr(self, name, value)
            return value

    torch = _Torch()

__all__ = ["torch"]

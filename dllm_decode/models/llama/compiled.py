"""A module run through `torch.compile`, and a count of what compiling cost."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from dllm_decode.errors import ModelError

WARMING = 2
"""Calls of a shape that count as warm-up: one compiles, the next one records a CUDA graph."""


class CompiledBody:
    """A module run through `torch.compile`, which counts what the first calls of each shape took."""

    def __init__(self, module: Any, device: torch.device) -> None:
        """Compile lazily: with the first call of each shape.

        Raises:
            ModelError: Its weights lie on several devices.
        """
        if len({parameter.device for parameter in module.parameters()}) > 1:
            raise ModelError("compile= needs a model on one device; leave out device_map=.")
        # CUDA graphs take away the cost of launching hundreds of small kernels a forward.
        mode = "reduce-overhead" if device.type == "cuda" else None
        compiled: Callable[..., Any] = torch.compile(module, mode=mode, dynamic=False)
        # Compilers keep eight programs of a function by default and then fall back in silence.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 256)
        self._run = compiled
        self._calls: dict[Hashable, int] = {}
        self.lock = threading.RLock()
        """Held from a call until its answer has been copied: there is one set of buffers."""
        self.warm_up_seconds = 0.0
        """Time of the first calls of every shape: what compiling, and recording graphs, has cost so far."""

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor | None, **named: Any) -> Any:
        """Run the module; the arguments are its own."""
        shape = (
            input_ids.shape,
            None if attention_mask is None else attention_mask.shape,
            named["use_cache"],
        )
        done = self._calls.get(shape, 0)
        self._calls[shape] = done + 1
        begin: Any = torch.compiler.cudagraph_mark_step_begin
        begin()
        started = time.perf_counter()
        result = self._run(input_ids=input_ids, attention_mask=attention_mask, **named)
        if done < WARMING:
            gc.collect()  # the compiler leaves cycles behind, which would hold the cache it was given
            self.warm_up_seconds += time.perf_counter() - started
        return result

"""What a compiled model needs: few shapes, a cache that never moves, and a count of what compiling cost.

Every shape is compiled anew, and on a GPU recorded as a CUDA graph, so canvases and batches are rounded up to a grid.
Knows shapes and buffers; what the model computes is its adapter's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from dllm_decode.denoisers.canvas_cache import CanvasCache
from dllm_decode.errors import ModelError
from dllm_decode.parts import ModelInputs

COLUMNS = 64
"""Canvases are as long as a multiple of it, in tokens."""
WARMING = 2
"""Calls of a shape that count as warm-up: one compiles, the next one records a CUDA graph."""


def rows_on_grid(rows: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ...: at most half as many again, few shapes in all."""
    power = 1 << max(0, rows - 1).bit_length()
    return power * 3 // 4 if rows <= power * 3 // 4 else power


class Grid:
    """Rounds inputs up to the grid of shapes."""

    def __init__(self) -> None:
        """Know no inputs yet."""
        self._given: Tensor | None = None
        self._valid: Tensor | None = None

    def fit(self, inputs: ModelInputs) -> ModelInputs:
        """Return the same inputs with padding on the left of the canvas and rows repeated below.

        Rows whose keys and values are kept are not repeated: there are as many of them in every forward.
        """
        rows, length = inputs.tokens.shape
        missing = -length % COLUMNS
        more = rows_on_grid(rows) - rows if inputs.cache is None else 0
        tokens = inputs.tokens
        if missing:
            tokens = torch.cat([tokens[:, :1].expand(-1, missing), tokens], dim=1)
        columns = None if inputs.columns is None else inputs.columns + missing
        computed = inputs.recompute
        return replace(
            inputs,
            tokens=_repeated(tokens, more),
            valid=self._padded(inputs, missing, more),
            columns=None if columns is None else _repeated(columns, more),
            window=_moved(inputs.window, missing),
            recompute=None if computed is None else _moved(computed, missing),
        )

    def _padded(self, inputs: ModelInputs, missing: int, more: int) -> Tensor | None:
        """Return (B', L') bool, the same tensor as before where the inputs' own is: masks are built from it once."""
        valid = inputs.valid
        rows, length = inputs.tokens.shape
        if valid is None and not missing:
            return None
        shape = (rows + more, missing + length)
        if self._valid is None or self._given is not valid or tuple(self._valid.shape) != shape:
            own = torch.ones_like(inputs.tokens, dtype=torch.bool) if valid is None else valid
            self._given = valid
            self._valid = _repeated(torch.cat([own.new_zeros(rows, missing), own], dim=1), more)
        return self._valid


def _repeated(values: Tensor, more: int) -> Tensor:
    """Return (B + more, ...) of (B, ...): the last row again."""
    return torch.cat([values, values[-1:].expand(more, -1)]) if more else values


def _moved(columns: slice, by: int) -> slice:
    return slice(columns.start + by, columns.stop + by)


Buffers = tuple[list[Tensor], list[Tensor]]
"""Keys and values, (B, H, L, D) of each layer."""


class Stock:
    """Buffers that no decode uses any more, by (B, L): a graph recorded on them is replayed for the next one."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        """Take the model's config, by which buffers are made."""
        self._config, self._dtype, self._device = config, dtype, device
        self._free: dict[tuple[int, int], list[Buffers]] = {}

    def take(self, shape: tuple[int, int]) -> Buffers:
        """Return buffers for (B, L), used before or new."""
        free = self._free.setdefault(shape, [])
        return free.pop() if free else (self._made(shape), self._made(shape))

    def give_back(self, shape: tuple[int, int], buffers: Buffers) -> None:
        """Keep buffers for a later decode."""
        self._free[shape].append(buffers)

    def _made(self, shape: tuple[int, int]) -> list[Tensor]:
        config = self._config
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        made = []
        for _ in range(config.num_hidden_layers):
            made.append(torch.zeros(shape[0], heads, shape[1], width, dtype=self._dtype, device=self._device))
            # A graph that writes to it may then be replayed without a copy.
            torch._dynamo.mark_static_address(made[-1])
        return made


class StaticCanvasCache(CanvasCache):
    """A canvas cache for a compiled model: allocated before the first forward, and written by index.

    Slices would make every block of a canvas a program of its own. Rows are never dropped, as that would move it.
    """

    keep = None  # type: ignore[assignment]

    def __init__(self, stock: Stock) -> None:
        """Take where the buffers come from, and go back to with the decode's end."""
        super().__init__()
        self._stock = stock
        self._index: Tensor | None = None

    def recompute(self, columns: slice | None, rows: slice, shape: tuple[int, int]) -> None:
        """Say which columns of which rows the next forward computes; None is all of them."""
        super().recompute(columns, rows, shape)
        if not self.keys:
            self.keys, self.values = buffers = self._stock.take(self._shape)
            finalize(self, self._stock.give_back, self._shape, buffers)
        self._index = None
        if columns is not None:
            self._index = torch.arange(columns.start, columns.stop, device=self.keys[0].device)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's (b, H, C, D) states of the columns computed now; return those of all columns."""
        keys, values = self.keys[layer_idx][self._rows], self.values[layer_idx][self._rows]
        if self._index is None:
            keys.copy_(key_states)
            values.copy_(value_states)
        else:
            keys.index_copy_(2, self._index, key_states)
            values.index_copy_(2, self._index, value_states)
        return keys, values


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
        self.warm_up_seconds = 0.0
        """Time of the first calls of every shape: what compiling, and recording graphs, has cost so far."""

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor | None, **named: Any) -> Any:
        """Run the module; the arguments are its own."""
        shape = (input_ids.shape, None if attention_mask is None else attention_mask.shape, named["use_cache"])
        done = self._calls.get(shape, 0)
        self._calls[shape] = done + 1
        begin: Any = torch.compiler.cudagraph_mark_step_begin
        begin()
        started = time.perf_counter()
        result = self._run(input_ids=input_ids, attention_mask=attention_mask, **named)
        if done < WARMING:
            self.warm_up_seconds += time.perf_counter() - started
        return result

"""A bidirectional Llama on stock `transformers` code.

Knows masks, positions, the columns that are read and the memory of a forward; where its weights come from is the
loader's business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.models.llama.canvas_cache import CanvasCache
from dllm_decode.models.llama.compiled import CompiledBody
from dllm_decode.models.llama.grid import Grid
from dllm_decode.models.llama.static_cache import StaticCanvasCache, Stock
from dllm_decode.models.remembered import Remembered

ACTIVATIONS = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
"""Bytes of a layer's activations at once, by device type: what a CPU's caches hold, what a GPU has to spare."""
FEWEST_TOKENS = 1024
"""Tokens that go through the body at once at least, where the batch has so many."""


class BidirectionalLlama:
    """Logits of the window from a stock Llama whose attention is not causal.

    The head runs on the columns that are read only. Padding is seen by nobody, and positions count from a row's first
    valid column, so a row's logits are those of the row alone; without padding the position is the column, as in
    LLaDA's released code. A large batch goes through the body some rows at a time, which bounds the memory of its
    activations and, on a CPU, keeps them in its caches.
    """

    plans_inputs = True

    def __init__(
        self, model: Any, special: SpecialTokens, max_length: int | None, device: torch.device
    ) -> None:
        """Take a `LlamaForCausalLM`, or its like, with `config.is_causal` False; `device` is that of its inputs."""
        self.model = model
        self.special = special
        self.vocab_size: int = model.lm_head.weight.shape[0]
        self.max_length = max_length
        self.device = device
        self.dtype: torch.dtype = model.lm_head.weight.dtype
        self._body = model.model
        self._compiled: CompiledBody | None = None
        self._grid = Grid()
        self._stock = Stock(model.config, self.dtype, device)
        self._head = model.lm_head
        self._tokens_a_piece = _tokens_a_piece(model.config, self.dtype, device)
        self._seen = Remembered(_mask_and_positions)

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, V) logits in the model's dtype, or (B, K, V) of `columns`."""
        return self.head(self.hidden(inputs))

    def head(self, hidden: Tensor) -> Tensor:
        """Return (..., V) logits of (..., D) hidden states."""
        logits: Tensor = self._head(hidden)
        return logits.to(self.device)

    def hidden(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, D) states that predict what is wanted, or (B, K, D); a row runs through the body once."""
        if self._compiled is None or inputs.attention is not None:
            return self._states(self._body, inputs)
        with (
            self._compiled.lock
        ):  # its graphs write to where the answer before lies, which may be another thread's
            return self._states(self._compiled, self._grid.fit(inputs))[: inputs.tokens.shape[0]].clone()

    def new_cache(self) -> CanvasCache:
        """Return an empty cache of keys and values."""
        if self._compiled is not None:
            return StaticCanvasCache(self._stock)
        return CanvasCache()

    def compile(self) -> None:
        """Compile the body from now on: the first calls of each shape take long, the others less than before.

        Raises:
            ModelError: The model lies on several devices.
        """
        if self._compiled is None:
            self._compiled = CompiledBody(self.model.model, self.device)

    @property
    def warm_up_seconds(self) -> float:
        """What compiling has cost so far; 0 where nothing is compiled."""
        return 0.0 if self._compiled is None else self._compiled.warm_up_seconds

    def _states(self, body: Any, inputs: ModelInputs) -> Tensor:
        """Return what is wanted, some rows at a time, from the body or the compiled one."""
        if inputs.valid is not None:
            mask, positions = self._seen(inputs.valid)
            mask = mask if inputs.attention is None else inputs.attention
            positions = positions if inputs.positions is None else inputs.positions
            inputs = replace(inputs, attention=mask, positions=positions)
        computed = self._columns(inputs)
        rows, length = inputs.tokens.shape
        width = length if computed is None else computed.stop - computed.start
        pieces = _pieces(rows, max(1, self._tokens_a_piece // width), alike=body is self._compiled)
        if len(pieces) == 1:
            return self._wanted(body, inputs, computed, pieces[0])
        states: Tensor | None = None
        for piece in pieces:
            wanted = self._wanted(body, inputs, computed, piece)
            if states is None:
                states = wanted.new_empty(rows, *wanted.shape[1:])
            states[piece] = wanted  # a copy: a view would keep the states of every column
        assert states is not None, "a batch has a row"
        return states

    def _run(self, body: Any, inputs: ModelInputs, computed: slice | None, rows: slice) -> Tensor:
        """Return (b, C, D) hidden states of the columns `computed`, None for all of them, in some of the rows."""
        mask = None if inputs.attention is None else inputs.attention[rows]  # (b, 1, T, T)
        positions = None if inputs.positions is None else inputs.positions[rows]  # (b, T)
        cached: dict[str, Any] = {"use_cache": False}
        tokens = inputs.tokens[rows]
        if inputs.cache is not None:
            columns = computed or slice(0, tokens.shape[1])
            inputs.cache.recompute(computed, rows, inputs.tokens.shape)
            if positions is None:
                positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
            tokens, positions = tokens[:, columns], positions[:, columns]
            mask = None if mask is None else mask[:, :, columns]
            cached = {"use_cache": True, "past_key_values": inputs.cache}
        hidden: Tensor = body(
            input_ids=tokens, attention_mask=mask, position_ids=positions, **cached
        ).last_hidden_state
        return hidden

    def _wanted(self, body: Any, inputs: ModelInputs, computed: slice | None, rows: slice) -> Tensor:
        """Return (b, W + E, D) or (b, K, D): what is read of some of the rows."""
        hidden = self._run(body, inputs, computed, rows)  # (b, C, D)
        start = 0 if computed is None else computed.start
        wanted = self._read(hidden, inputs, start, rows)
        return torch.cat([wanted, hidden[:, -inputs.extra :]], dim=1) if inputs.extra else wanted

    def _columns(self, inputs: ModelInputs) -> slice | None:
        """Return the columns to run through the model; None is all of them."""
        return inputs.recompute

    def _read(self, hidden: Tensor, inputs: ModelInputs, start: int, rows: slice) -> Tensor:
        """Return the states that predict what is wanted, of (b, C, D) `hidden` from column `start` on."""
        if inputs.columns is None:
            return hidden[:, inputs.window.start - start : inputs.window.stop - start]
        return take_columns(hidden, inputs.columns[rows] - start)


def _mask_and_positions(valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, 1, L, L) bool, where a row may look, and (B, L) int64, negative on padding, of (B, L) bool `valid`."""
    # A row without any valid column would softmax over nothing and spread NaN.
    seen = valid | ~valid.any(1, keepdim=True)
    columns = torch.arange(valid.shape[1], device=valid.device)
    mask = seen[:, None, None, :].expand(-1, -1, valid.shape[1], -1)
    return mask, columns - seen.int().argmax(1, keepdim=True)


def take_columns(hidden: Tensor, columns: Tensor) -> Tensor:
    """Return (B, K, D) of (B, C, D), each row the columns that (B, K) int64 `columns` names for it."""
    rows = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
    return hidden[rows, columns.to(hidden.device)]


def _pieces(rows: int, most: int, *, alike: bool) -> list[slice]:
    """Return slices of about equal length, or all `alike`, at most `most`, that cover the rows."""
    count = -(-rows // most)
    length = -(-rows // count)
    if alike:
        length = next(size for size in range(min(rows, most), 0, -1) if rows % size == 0)
    return [slice(start, min(start + length, rows)) for start in range(0, rows, length)]


def _tokens_a_piece(config: Any, dtype: torch.dtype, device: torch.device) -> int:
    """Return how many tokens go through the body at once; fewer would leave matrix products too small to be fast."""
    # Live at once in a layer: residual, normed, query, key, value and attention's output; gate, up and their product.
    a_token: int = dtype.itemsize * (6 * config.hidden_size + 3 * config.intermediate_size)
    return max(FEWEST_TOKENS, ACTIVATIONS.get(device.type, ACTIVATIONS["cuda"]) // a_token)

"""A model for tests: its logits come from a table or a function, and it keeps what it was asked.

Obeys the `Denoiser` protocol with everything optional (caches, planned inputs); knows nothing of any part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs, SpecialTokens

VOCABULARY = 24
SPECIAL = SpecialTokens(mask=23, eos=1, eot=2, newlines=(4, 9))
"""Token ids of the scripted vocabulary; 3 to 22 are ordinary tokens."""

LogitsOf = Callable[[Tensor, Tensor], Tensor]
"""From (B, T) int64 tokens and (B, T) bool valid to (B, T, V) logits."""

_PRIMES = (6364136223846793005, 1442695040888963407, 3935559000370003845, 2862933555777941757)


@dataclass(slots=True)
class ScriptedCache:
    """What a scripted denoiser remembers of the canvas: every column as it was when it was last recomputed."""

    tokens: Tensor | None = None
    """(B, L) int64; None before the first full forward."""

    def keep(self, rows: Tensor) -> None:
        """Forget the rows that are not among (R,) int64 `rows`."""
        assert self.tokens is not None, "only what was filled is cut"
        self.tokens = self.tokens[rows]


class ScriptedDenoiser:
    """A denoiser without weights, the same on every machine, that counts its calls and keeps the canvases it saw.

    Without `logits`, they are a hash of the position, of all tokens the position attends to and of the vocabulary
    entry. Sums of integers have no rounding, so a row's logits are exactly those of the row alone, and a part that
    mixes rows cannot hide behind a tolerance. Some positions are far surer than others; ends and the mask are
    sometimes the favourite.

    Attributes:
        calls: Forwards so far.
        canvases: The (B, T) int64 tokens of each forward, as given.
        windows: The columns asked for in each forward.
        recomputed: The columns each forward was to recompute; None for all.
    """

    plans_inputs = True

    def __init__(
        self,
        logits: Tensor | LogitsOf | None = None,
        *,
        special: SpecialTokens = SPECIAL,
        vocab_size: int | None = None,
        max_length: int | None = None,
        dtype: torch.dtype = torch.float64,
        wander: float = 1.0,
        shift: int = 0,
        sees_padding: bool = False,
    ) -> None:
        """Choose where logits come from.

        Args:
            logits: (C, V) or (B, C, V), the logits of the canvas's last C columns whatever it holds; or a function of
                (B, T) tokens and (B, T) bool valid; or None for hashed ones. Extra planned columns get none of a
                table's logits.
            special: Ids of mask, ends and newlines.
            vocab_size: V, if it does not follow from a table.
            max_length: The longest canvas it claims to serve, in tokens.
            dtype: Of the logits it returns.
            wander: How much hashed logits depend on the rest of the canvas; at 0 they never change.
            shift: Answer for column i - shift instead of i, as raw checkpoints of some families do.
            sees_padding: Attend to padding, a fault that makes rows depend on their batch mates.
        """
        self.special, self.max_length, self.dtype = special, max_length, dtype
        self.vocab_size = vocab_size or (logits.shape[-1] if isinstance(logits, Tensor) else VOCABULARY)
        self.wander, self.shift, self.sees_padding = wander, shift, sees_padding
        self._logits = logits
        self.calls = 0
        self.canvases: list[Tensor] = []
        self.windows: list[slice] = []
        self.recomputed: list[slice | None] = []

    def new_cache(self) -> ScriptedCache:
        """Return an empty cache for one decode."""
        return ScriptedCache()

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + extra, V) logits of the window and of the extra columns after the canvas."""
        self.calls += 1
        self.canvases.append(inputs.tokens.clone())
        self.windows.append(inputs.window)
        self.recomputed.append(inputs.recompute)
        logits = self._answer(self._seen(inputs), inputs)  # (B, T, V)
        if self.shift:
            logits = logits.roll(self.shift, dims=1)
        end = logits.shape[1]
        wanted = [logits[:, inputs.window], logits[:, end - inputs.extra : end]]
        return torch.cat(wanted, dim=1).to(self.dtype)

    def _seen(self, inputs: ModelInputs) -> Tensor:
        """Return (B, T) int64 tokens with the columns that a cache did not recompute as they were before."""
        if inputs.cache is None:
            return inputs.tokens
        cache, columns = inputs.cache, inputs.recompute
        if columns is None:
            cache.tokens = inputs.tokens.clone()
            return inputs.tokens
        cache.tokens[:, columns] = inputs.tokens[:, columns]
        seen: Tensor = cache.tokens
        return seen

    def _answer(self, tokens: Tensor, inputs: ModelInputs) -> Tensor:
        valid = inputs.valid
        if valid is None or self.sees_padding:
            valid = torch.ones_like(tokens, dtype=torch.bool)
        elif valid.shape[1] < tokens.shape[1]:
            extra = valid.new_ones(valid.shape[0], tokens.shape[1] - valid.shape[1])
            valid = torch.cat([valid, extra], dim=1)
        if callable(self._logits):
            return self._logits(tokens, valid)
        if self._logits is None:
            return self._hashed(tokens, valid, inputs)
        table = self._logits
        columns = min(table.shape[-2], tokens.shape[1] - inputs.extra)
        answer = table.new_zeros(*tokens.shape, self.vocab_size)
        stop = tokens.shape[1] - inputs.extra
        answer[:, stop - columns : stop] = table[..., table.shape[-2] - columns :, :]
        return answer

    def _hashed(self, tokens: Tensor, valid: Tensor, inputs: ModelInputs) -> Tensor:
        """Return (B, T, V) float64 logits that differ by position, context and token."""
        positions = inputs.positions
        if positions is None:
            positions = valid.cumsum(1) - 1  # (B, T), counted from each row's first valid column
        keys = _mix(tokens * _PRIMES[0] + positions * _PRIMES[1])  # (B, T) int64
        attention = inputs.attention
        if attention is None:
            context = (keys * valid).sum(1, keepdim=True).expand_as(keys)
        else:
            attends = attention.squeeze(1) & valid[:, None, :]
            context = (keys[:, None, :] * attends).sum(2)
        vocabulary = torch.arange(self.vocab_size, device=tokens.device) * _PRIMES[2]
        place = _mix(positions * _PRIMES[3])  # (B, T) int64
        settled = _uniform(_mix(place[..., None] + vocabulary))  # (B, T, V)
        moving = _uniform(_mix(_mix(context + place)[..., None] + vocabulary))
        sharpness = 2.0 + 22.0 * _uniform(place)[..., None] ** 2
        return sharpness * settled**4 + 3.0 * self.wander * moving**4


class HeadedScriptedDenoiser(ScriptedDenoiser):
    """A scripted denoiser that can be asked for some columns of each row, so that the engine leaves the others out."""

    def hidden(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + extra, V) logits as states, or (B, K, V) of the wanted columns."""
        logits = self.logits(inputs)
        if inputs.columns is None:
            return logits
        rows = torch.arange(logits.shape[0])[:, None]
        return logits[rows, inputs.columns - inputs.window.start]

    def head(self, hidden: Tensor) -> Tensor:
        """Return a copy of the states, which are the logits."""
        return hidden.clone()


def _mix(value: Tensor) -> Tensor:
    """Scatter the bits of int64 values; products wrap around."""
    value = (value ^ (value >> 31)) * _PRIMES[0]
    value = (value ^ (value >> 29)) * _PRIMES[2]
    return value ^ (value >> 32)


def _uniform(bits: Tensor) -> Tensor:
    """Map int64 to float64 in (0, 1)."""
    return ((bits & 0xFFFFFFFF).double() + 0.5) * 2.0**-32

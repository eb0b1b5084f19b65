"""What a model is asked, and the token ids that mean something to it.

Plain data with shapes; knows nothing of any model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dllm_decode.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids a part may need; None where the model has none."""

    mask: int
    eos: int | None = None
    """What a row is filled up with behind its end."""
    eot: int | None = None
    newlines: tuple[int, ...] = ()
    """Tokens that are line breaks and nothing but space around them; empty where the tokenizer is unknown."""
    more_eos: tuple[int, ...] = ()
    """Further ids that a model uses as EOS."""

    @property
    def every_eos(self) -> tuple[int, ...]:
        """The ids that a model uses as EOS, `eos` first."""
        return () if self.eos is None else (self.eos, *self.more_eos)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer, without repetition."""
        return tuple(dict.fromkeys((*self.every_eos, *(() if self.eot is None else (self.eot,)))))

    def is_end(self, tokens: Tensor) -> Tensor:
        """Return where tokens of any shape, int64, end an answer: bool of that shape."""
        found = torch.zeros_like(tokens, dtype=torch.bool)
        for end in self.ends:  # one by one: a list of ids would be copied to the device in every step
            found |= tokens == end
        return found


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What the engine asks a denoiser."""

    tokens: Tensor
    """(B, L) int64."""
    valid: Tensor | None
    """(B, L) bool, False on padding; None when every column is valid."""
    window: slice
    """The columns whose logits are wanted; W of them."""
    cache: Any | None = None
    """What the denoiser's `new_cache` returned; None where nothing is cached."""
    recompute: slice | None = None
    """The columns to run through the model, covering the window; None is all of them."""
    attention: Tensor | None = None
    """(B, 1, T, T) bool, True where a row may look; None lets every column see every valid one."""
    positions: Tensor | None = None
    """(B, T) int64; None counts from a row's first valid column."""
    extra: int = 0
    """E; `tokens` then has T = L + E columns, and logits are wanted of the window and of the last E."""
    columns: Tensor | None = None
    """(B, K) int64, inside the window: the only columns wanted, each row its own; None is all of the window. Given to
    a `HeadedDenoiser` alone, and never beside `extra`."""

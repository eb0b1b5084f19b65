"""The model as the loop knows it: tokens in, logits of a window out, and what some models can do besides.

Protocols only; the adapters of model families are in `models`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dllm_decode.data.inputs import ModelInputs, SpecialTokens

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class CachingDenoiser(Protocol):
    """A denoiser that can reuse keys and values."""

    def new_cache(self) -> Any:
        """Return an empty cache for one decode.

        If it has a method `keep(rows)`, which forgets all rows but those of an (R,) int64 tensor, rows that are done
        with a block leave its forwards. A forward that recomputes everything may come with other rows than before.
        """
        ...


@runtime_checkable
class HeadedDenoiser(Protocol):
    """A denoiser whose logits are a head's on hidden states, so that they can be made for a few positions at a time."""

    def hidden(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, D) states that predict the window and the extra columns, or (B, K, D) of `columns`.

        They need to last until the next call only.
        """
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """Return (..., V) logits of (..., D) states, on the device of the model's inputs; a tensor of the caller's."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A bidirectional model: tokens in, logits of the window out."""

    special: SpecialTokens
    vocab_size: int
    max_length: int | None
    """The longest canvas the model was made for, in tokens; None if unlimited."""

    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return (B, W + E, V) logits, any floating dtype; a tensor the caller may change in place.

        Only a denoiser with an attribute `plans_inputs = True` is given `attention`, `positions` or `extra`.
        """
        ...

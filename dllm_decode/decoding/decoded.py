"""Runs one decode alone, and what comes out of it.

Knows how to make a decode's forwards one after another; `generation/pool.py` makes those of several together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_decode.data.canvas import Canvas
from dllm_decode.decoding.asking import answer
from dllm_decode.decoding.commit import OnStep
from dllm_decode.decoding.loop import Decode
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.strategy.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Decoded:
    """A finished decode."""

    canvas: Canvas
    forward_passes: Tensor
    """(B,) int64; forwards in which the row had open positions in its stage: what the row costs alone."""
    model_calls: int
    """Calls of the model for the whole batch, those it shared with other decodes included; the two halves of guidance
    are one call."""

    @classmethod
    def of(cls, decode: Decode, model_calls: int | None = None) -> Decoded:
        """Return what came out of a decode after its last forward; `model_calls` if not its own."""
        progress = decode.progress
        return cls(
            decode.canvas, progress.passes, progress.model_calls if model_calls is None else model_calls
        )


def decode(
    denoiser: Denoiser,
    canvas: Canvas,
    strategy: Strategy,
    *,
    seed: int = 0,
    row_ids: Tensor | None = None,
    on_step: OnStep | None = None,
    drop_at: float | None = None,
) -> Decoded:
    """Decide every undecided position of a copy of the canvas.

    Args:
        denoiser: The model.
        canvas: (B, L) tokens; left as it is.
        strategy: The schedule; its parts are built anew for every call.
        seed: Seed of all randomness.
        row_ids: (B,) int64 identities of the rows for noise; their position in the batch if not given.
        on_step: Called after every commit; receives tensors, so looking at them may wait for the device.
        drop_at: Once at most this share of the rows is unfinished, finished rows leave the forward; the engine's own
            if not given.

    Raises:
        ContractError: A part broke its contract; names the part, its plugin, the stage and the step.
        ModelError: The model raised an exception.
    """
    return finish(Decode(denoiser, canvas, strategy, seed, row_ids, on_step, drop_at))


@torch.inference_mode()
def finish(decode: Decode) -> Decoded:
    """Make a decode's forwards, one after another, until it ends."""
    answer(decode.questions(), decode.reader)
    return Decoded.of(decode)

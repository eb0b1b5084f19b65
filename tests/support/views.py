"""A step as a scheduler or confidence sees it, around statistics that a test writes down."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Canvas, Stage
from dllm_decode.data.noise import Noise
from dllm_decode.data.stats import VocabStats
from dllm_decode.data.views import StepView


def noise_of(rows: int, columns: int, *, seed: int = 0, counter: int = 0) -> Noise:
    """Noise for rows 0.. and the last `columns` columns of a canvas."""
    return Noise(seed, torch.arange(rows), torch.full((rows,), counter), torch.arange(-columns, 0))


def step_view(
    canvas: Canvas,
    window: slice,
    open_: Tensor,
    stats: VocabStats,
    *,
    step: int = 0,
    steps: int | None = None,
    stage_open: Tensor | None = None,
) -> StepView:
    """A step of the one stage of the one block of a canvas.

    Args:
        canvas: The canvas.
        window: The block's W columns.
        open_: (B, W) bool; the stage's positions, all open.
        stats: Of the window.
        step: How many steps of the stage have been taken.
        steps: The stage's budget; None is one token a step.
        stage_open: (B,) int64 positions open when the stage began; those open now if not given.
    """
    rows, width = open_.shape
    noise = noise_of(rows, width, counter=step)
    block = Block(canvas.undecided, window, steps, canvas.prompt_length)
    stage = Stage("all", open_, steps)
    began = open_.sum(1) if stage_open is None else stage_open
    return StepView(canvas, block, stage, step, open_, began, noise.row_ids, noise, stats)

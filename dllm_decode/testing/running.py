"""Decodes small canvases with the real engine, for tests: canvases from lists, one call to decode, selections by hand.

Knows how a test's rows become a canvas; leaves every rule of decoding to the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.views import Proposal, StepView
from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.events import StepEvent
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.scripted import SPECIAL, VOCABULARY, ScriptedDenoiser

PROMPTS: tuple[tuple[int, ...], ...] = ((5,), (7, 3, 9, 4, 8, 12), (3, 3, 10))
"""Prompts of unequal length, so that a batch of them is padded."""
ORDINARY = 6
"""A token that means nothing to anyone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished decode and how it went."""

    tokens: Tensor
    """(B, G) int64; the generation region, or the whole canvas of an infill."""
    forward_passes: Tensor
    """(B,) int64."""
    canvas: Canvas
    events: list[StepEvent]
    model_calls: int


def canvas_of(prompts: Sequence[Sequence[int]], gen_length: int) -> Canvas:
    """Return a canvas with the prompts left-padded to one length and `gen_length` undecided columns."""
    return infill_canvas(
        [[*prompt, *[None] * gen_length] for prompt in prompts], max(len(prompt) for prompt in prompts)
    )


def infill_canvas(rows: Sequence[Sequence[int | None]], prompt_length: int = 0) -> Canvas:
    """Return a canvas whose undecided columns are where a row holds None; shorter rows are padded on the left.

    Args:
        rows: Token ids and None, of any lengths.
        prompt_length: Columns of the longest row before the generation region; 0 if any column may be undecided.
    """
    length = max(len(row) for row in rows)
    tokens = torch.full((len(rows), length), SPECIAL.eos or 0)
    valid, undecided = torch.zeros(2, len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        for column, token in enumerate(row, start=length - len(row)):
            tokens[number, column] = SPECIAL.mask if token is None else token
            undecided[number, column] = token is None
        valid[number, length - len(row) :] = True
    return Canvas(
        tokens=tokens,
        undecided=undecided,
        valid=valid,
        prompt_length=prompt_length,
        mask_id=SPECIAL.mask,
        padded=not bool(valid.all()),
        uniform=bool(undecided[:, prompt_length:].all()),
    )


def run(
    strategy: Strategy,
    canvas: Canvas | Sequence[Sequence[int]] = PROMPTS,
    denoiser: Denoiser | None = None,
    *,
    seed: int = 0,
    row_ids: Sequence[int] | None = None,
) -> Outcome:
    """Decode a canvas, or prompts with `strategy.gen_length` columns after them, and keep every step.

    Args:
        strategy: The schedule.
        canvas: Left as it is; or prompts, from which a canvas is made.
        denoiser: The model; a fresh `ScriptedDenoiser` if not given.
        seed: Seed of all randomness.
        row_ids: The rows' identities for noise; their position in the batch if not given.
    """
    if not isinstance(canvas, Canvas):
        canvas = canvas_of(canvas, strategy.gen_length)
    events: list[StepEvent] = []
    done = decode(
        denoiser or ScriptedDenoiser(),
        canvas,
        strategy,
        seed=seed,
        row_ids=None if row_ids is None else torch.tensor(list(row_ids)),
        on_step=events.append,
    )
    tokens = done.canvas.tokens[:, done.canvas.prompt_length :]
    return Outcome(tokens, done.forward_passes, done.canvas, events, done.model_calls)


class ScriptedConfidence(ConfidenceConfig):
    """Scores that a test writes down: the last column of the canvas gets the last number, and so on."""

    name: Literal["scripted"] = "scripted"
    scores: tuple[tuple[float, ...], ...]

    def propose(self, view: StepView) -> Proposal:
        """Return ordinary tokens, (B, W), with the written scores."""
        scores = torch.tensor(self.scores)
        first = scores.shape[1] - view.canvas.length
        window = slice(view.block.window.start + first, view.block.window.stop + first)
        return Proposal(torch.full_like(view.stats.token, ORDINARY), scores[:, window])


def selections(
    scheduler: SchedulerConfig | dict[str, Any] | str,
    scores: Sequence[Sequence[float]],
    steps: int | None = None,
    *,
    seed: int = 0,
    **fields: Any,
) -> list[Tensor]:
    """Return what a scheduler commits, step by step, in one stage whose positions have these scores throughout.

    The engine runs the stage, so a row in which the scheduler chooses nothing gets its best position.

    Args:
        scheduler: A part, its name or its mapping.
        scores: B rows of W scores.
        steps: The stage's budget; None is one token a step.
        seed: Seed of all randomness.
        fields: Other fields of the strategy.

    Returns:
        (B, W) bool for each step.
    """
    width = len(scores[0])
    strategy = Strategy.parse(
        {
            "block": "whole",
            "layering": "single",
            **fields,
            "scheduler": scheduler,
            "confidence": ScriptedConfidence(scores=tuple(tuple(map(float, row)) for row in scores)),
            "steps": steps,
            "gen_length": width,
        }
    )
    flat = ScriptedDenoiser(torch.zeros(width, VOCABULARY))
    return [event.chosen for event in run(strategy, [[ORDINARY]] * len(scores), flat, seed=seed).events]

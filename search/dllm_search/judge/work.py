"""How much one forward of a strategy asks of the model, in plain forwards; a forward that runs it twice costs two.

The unit is a plain forward: the canvas's rows times its columns, once. Guidance runs twice the rows, a forward plan adds
columns. Counted on the host from what the parts say, before anything is decoded.
"""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from dllm_decode.strategy.strategy import Strategy, asked

if TYPE_CHECKING:
    from dllm_decode.data.inputs import SpecialTokens
    from dllm_decode.generation.chat import Chat
    from dllm_decode.model import DiffusionLM
    from dllm_decode.tasks.base import Task

LOOKED_AT = 64
"""Prompts whose mean length stands for a task's."""


class Work:
    """Plain forwards that one of a strategy's forwards is worth, on canvases of one length."""

    def __init__(self, special: SpecialTokens, columns: int) -> None:
        """Take the model's special tokens, and the columns of a canvas, prompt included."""
        self.special, self.columns = special, columns
        self._known: dict[str, float] = {}

    def __call__(self, strategy: Strategy) -> float:
        """Return rows times columns of the model's inputs over those of the canvas.

        Of a cache nothing is taken off: what it saves is time, and no row or column that is attended to. Where blocks
        show only while decoding, a plan's columns are those of the whole answer, which is the most there are.

        Raises:
            FailedPartError: A part raised an exception.
        """
        digest = strategy.digest()
        if digest not in self._known:
            twice = any(asked(part, part.build).unconditional for part in strategy.logits)
            self._known[digest] = (2 if twice else 1) * (1 + self._added(strategy) / self.columns)
        return self._known[digest]

    def _added(self, strategy: Strategy) -> float:
        """Return the columns that the forward plan adds to a forward; the mean over blocks, by their size."""
        if strategy.forward is None:
            return 0.0
        length, total = strategy.gen_length, 0.0
        blocks = asked(strategy.block, lambda: strategy.block.plan(None, length)) or [(length, None)]
        start = self.columns - length
        for number, (size, _) in enumerate(blocks):
            total += size * self._extra(strategy, number, slice(start, start + size))
            start += size
        return total / length

    def _extra(self, strategy: Strategy, number: int, window: slice) -> int:
        """Return the columns that the plan adds in a block, asked with a canvas of masks."""
        import torch

        from dllm_decode.data.canvas import Block
        from dllm_decode.data.inputs import ModelInputs

        part, special = strategy.forward, self.special
        assert part is not None
        tokens = torch.full((1, self.columns), self.special.mask)
        where = torch.zeros(1, self.columns, dtype=torch.bool)
        where[:, window] = True
        inputs = ModelInputs(tokens, None, window)
        block = Block(window=window, where=where, steps=None, start=window.start, number=number)
        return asked(part, lambda: int(part.build().plan(inputs, block, special).extra))


def work_on(lm: DiffusionLM, task: Task, chat: Chat) -> Work:
    """Return the work of forwards on a task's canvases: the mean prompt, and the answer unless that stands inside."""
    from dllm_decode.generation.prompts import read_prompts

    lengths = [
        read_prompts([example.prompt], None, lm.tokenizer, lm.denoiser, infill=task.infill, chat=chat).tokens.shape[1]
        for example in task.examples("tune", LOOKED_AT)
    ]
    return Work(lm.special, round(mean(lengths)) + (0 if task.infill else task.gen_length))

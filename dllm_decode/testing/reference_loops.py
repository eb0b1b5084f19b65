"""The recorded decoding rules as plain loops, one row and one position after the other: the slow truth of the tests.

Knows the rules of LLaDA, SAID with CHLG, SAID-block and uncached Fast-dLLM at temperature 0, as their released loops
run them, wasted forwards included. Shares no code with the engine; knows nothing of models beyond a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LogitsOf = Callable[[Tensor, Tensor | None], Tensor]
"""(B, L) int64 tokens and (B, L) bool valid, or None, in; (B, L, V) logits out."""


class Loop:
    """A canvas, the model on it, and the few moves that every rule is made of."""

    def __init__(
        self,
        logits_of: LogitsOf,
        prompt: Tensor,
        attention_mask: Tensor | None,
        *,
        gen_length: int,
        mask_id: int,
        eos_id: int | None,
        eot_id: int | None,
        cfg_scale: float = 0.0,
        logits_eos_inf: bool = False,
        confidence_eos_eot_inf: bool = False,
    ) -> None:
        """Put the prompt, (B, P) int64, in front of `gen_length` masks; `attention_mask` is (B, P), 0 on padding."""
        rows, self.prompt_length = prompt.shape
        self.logits_of, self.mask_id, self.eos_id, self.eot_id = logits_of, mask_id, eos_id, eot_id
        self.cfg_scale, self.logits_eos_inf, self.ends_inf = cfg_scale, logits_eos_inf, confidence_eos_eot_inf
        self.tokens = torch.cat([prompt, torch.full((rows, gen_length), mask_id)], dim=1)
        self.open = [[column >= self.prompt_length for column in range(self.length)] for _ in range(rows)]
        self.valid: Tensor | None = None
        if attention_mask is not None:
            self.valid = torch.cat([attention_mask.bool(), torch.ones(rows, gen_length, dtype=torch.bool)], dim=1)
        self.forward_passes = 0

    @property
    def rows(self) -> int:
        """B."""
        return self.tokens.shape[0]

    @property
    def length(self) -> int:
        """L."""
        return self.tokens.shape[1]

    def left(self, row: int, columns: Sequence[int]) -> list[int]:
        """Return those of the columns that are still open in the row."""
        return [column for column in columns if self.open[row][column]]

    def forward(self) -> Tensor:
        """Run the model once, guided if asked for; return (B, L, V) float64 logits with the EOS rule applied."""
        self.forward_passes += 1
        logits = self.logits_of(self.tokens, self.valid).double()
        if self.cfg_scale > 0:
            unconditional_tokens = self.tokens.clone()
            unconditional_tokens[:, : self.prompt_length] = self.mask_id
            unconditional = self.logits_of(unconditional_tokens, self.valid).double()
            logits = unconditional + (self.cfg_scale + 1) * (logits - unconditional)
        if self.logits_eos_inf and self.eos_id is not None:
            logits[:, :, self.eos_id] = -math.inf
        return logits

    def propose(self, logits: Tensor, *, plain: bool = False) -> tuple[list[list[int]], list[list[float]]]:
        """Return for every row and column the proposed token and its score; `plain` leaves EOS and EOT in."""
        choice = logits.clone()
        choice[:, :, self.mask_id] = -math.inf
        token = choice.argmax(dim=-1)
        scored = logits.clone()
        if self.ends_inf and not plain:
            for end in (self.eos_id, self.eot_id):
                if end is not None:
                    scored[:, :, end] = -math.inf
        probability = scored.softmax(dim=-1)
        score = probability.gather(-1, token.unsqueeze(-1)).squeeze(-1)
        return token.tolist(), score.tolist()

    def commit(self, row: int, columns: Sequence[int], tokens: list[list[int]]) -> None:
        """Write the proposed tokens of the columns."""
        for column in columns:
            assert self.open[row][column], "a rule chose a decided position"
            self.tokens[row, column] = tokens[row][column]
            self.open[row][column] = False

    def even_stage(self, columns: list[list[int]], steps: int, *, shares: int | None = None) -> None:
        """LLaDA's rule: every step commits the best of what is left in each row's columns, as evenly as can be.

        Each row's positions are split over `shares` steps (default: all of them), of which `steps` are run.
        """
        quotas = [even_counts(len(self.left(row, columns[row])), shares or steps) for row in range(self.rows)]
        for step in range(steps):
            tokens, score = self.propose(self.forward())
            for row in range(self.rows):
                self.commit(row, best(score[row], self.left(row, columns[row]), quotas[row][step]), tokens)


def even_counts(positions: int, steps: int) -> list[int]:
    """Split positions over steps, the remainder to the first ones."""
    return [positions // steps + (1 if step < positions % steps else 0) for step in range(steps)]


def best(score: list[float], columns: Sequence[int], count: int) -> list[int]:
    """Return the `count` columns with the largest scores; of equal ones the smaller column."""
    return sorted(columns, key=lambda column: (-score[column], column))[:count]


def llada(
    logits_of: LogitsOf,
    prompt: Tensor,
    attention_mask: Tensor | None,
    *,
    steps: int,
    gen_length: int,
    block_length: int,
    temperature: float = 0.0,
    remasking: str = "low_confidence",
    **settings: float | bool | int | None,
) -> tuple[Tensor, int]:
    """LLaDA's rule, block after block; both divisions must be exact."""
    assert temperature == 0 and remasking == "low_confidence"
    loop = Loop(logits_of, prompt, attention_mask, gen_length=gen_length, **settings)  # type: ignore[arg-type]
    blocks = gen_length // block_length
    assert gen_length % block_length == 0 and steps % blocks == 0
    for block in range(blocks):
        start = loop.prompt_length + block * block_length
        loop.even_stage([list(range(start, start + block_length))] * loop.rows, steps // blocks)
    return loop.tokens, loop.forward_passes


def said_v1(
    logits_of: LogitsOf,
    prompt: Tensor,
    attention_mask: Tensor | None,
    *,
    steps: int,
    gen_length: int,
    confidence_threshold: float,
    hard_steps: int,
    **settings: float | bool | int | None,
) -> tuple[Tensor, int]:
    """SAID with CHLG: even columns of the canvas first, then what is easy of the odd ones at once, then the rest."""
    loop = Loop(logits_of, prompt, attention_mask, gen_length=gen_length, **settings)  # type: ignore[arg-type]
    region = range(loop.prompt_length, loop.length)
    loop.even_stage([[column for column in region if column % 2 == 0]] * loop.rows, steps)
    detail = [column for column in region if column % 2 == 1]
    tokens, score = loop.propose(loop.forward(), plain=True)
    easy = [[c for c in detail if score[row][c] >= confidence_threshold] for row in range(loop.rows)]
    hard = [[c for c in detail if score[row][c] < confidence_threshold] for row in range(loop.rows)]
    if any(easy):
        loop.forward()  # the released loop throws the split's forward away and runs it again on the same canvas
    for row in range(loop.rows):
        loop.commit(row, easy[row], tokens)
    loop.even_stage(hard, min(hard_steps, max(len(columns) for columns in hard)), shares=hard_steps)
    return loop.tokens, loop.forward_passes


def said_block(
    logits_of: LogitsOf,
    prompt: Tensor,
    attention_mask: Tensor | None,
    *,
    steps: int,
    gen_length: int,
    block_length: int,
    num_stages: int,
    rec_steps: int,
    **settings: float | bool | int | None,
) -> tuple[Tensor, int]:
    """SAID inside each block: the coarsest grid first, then finer and finer ones."""
    loop = Loop(logits_of, prompt, attention_mask, gen_length=gen_length, **settings)  # type: ignore[arg-type]
    blocks = gen_length // block_length
    budgets = said_block_budgets(steps // blocks, num_stages, rec_steps)
    for block in range(blocks):
        start = loop.prompt_length + block * block_length
        grids = said_block_grids(block_length, num_stages)
        for grid, budget in zip(grids, budgets, strict=True):
            if grid:
                loop.even_stage([[start + position for position in grid]] * loop.rows, budget)
    return loop.tokens, loop.forward_passes


def said_block_grids(block_length: int, stages: int) -> list[list[int]]:
    """Return the positions, relative to the block, of each stage in the order they are decided."""
    remaining = list(range(block_length))
    finer: list[list[int]] = []
    for k in range(1, stages):
        finer.append([p for p in remaining if p % 2**k == 2 ** (k - 1)])
        remaining = [p for p in remaining if p not in finer[-1]]
    return [remaining, *reversed(finer)]


def said_block_budgets(steps: int, stages: int, rec_steps: int) -> list[int]:
    """Return the steps of each stage of a block of `steps` steps, as the released rule computes them."""
    if stages == 1:
        return [steps]
    general = steps - rec_steps
    if stages == 2:
        return [general, rec_steps]
    smallest = max(1, general // (2 * (stages - 1)))
    largest = max(smallest, 2 * general // (stages - 1) - smallest)
    spacing = (smallest - largest) / (stages - 2) if stages > 2 else 0.0
    budgets = [max(1, round(largest + i * spacing)) for i in range(stages - 1)]
    missing = general - sum(budgets)
    for i in range(abs(missing)):
        budgets[i % (stages - 1)] += 1 if missing > 0 else -1
    return [max(1, budget) for budget in budgets] + [rec_steps]


def fast_dllm(
    logits_of: LogitsOf,
    prompt: Tensor,
    attention_mask: Tensor | None,
    *,
    steps: int,
    gen_length: int,
    block_length: int,
    threshold: float | None,
    **settings: float | bool | int | None,
) -> tuple[Tensor, int]:
    """Fast-dLLM without a cache: in each block, commit what reaches the threshold, and always the best one."""
    loop = Loop(logits_of, prompt, attention_mask, gen_length=gen_length, **settings)  # type: ignore[arg-type]
    blocks = gen_length // block_length
    for block in range(blocks):
        start = loop.prompt_length + block * block_length
        columns = list(range(start, start + block_length))
        if threshold is None:
            loop.even_stage([columns] * loop.rows, steps // blocks)
            continue
        while any(loop.left(row, columns) for row in range(loop.rows)):
            tokens, score = loop.propose(loop.forward())
            for row in range(loop.rows):
                left = loop.left(row, columns)
                sure = {column for column in left if score[row][column] >= threshold}
                loop.commit(row, sorted(sure | set(best(score[row], left, 1))), tokens)
    return loop.tokens, loop.forward_passes


LOOPS: dict[str, Callable[..., tuple[Tensor, int]]] = {
    "llada.generate": llada,
    "said_v1.generate": said_v1,
    "said_block.generate_said": said_block,
    "fast_dllm.generate": fast_dllm,
}
"""The names in the recorded cases, with the loop that reproduces them."""

"""Plain decoding loops in the style of the papers' released ones, to be timed beside the engine.

Own code that keeps their habits: the head and a float64 softmax over the whole canvas, a Python loop over rows with a
top-k each, a wait for the device at every quota. Knows LLaDA's rule, SAID with CHLG and SAID-block at temperature 0,
unpadded; `loops_cached.py` knows Fast-dLLM. The mask token is kept out of the choice, which costs next to nothing here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dllm_decode.testing.reference_loops import said_block_budgets, said_block_grids

Forward = Callable[[Tensor], Tensor]
"""(B, L) int64 tokens in, (B, L, V) logits out."""


def llada(forward: Forward, prompt: Tensor, *, gen_length: int, block_length: int, steps: int, mask_id: int) -> Tensor:
    """Decode block after block, the same number of tokens in every step; return (B, P + gen_length) int64."""
    tokens = canvas_of(prompt, gen_length, mask_id)
    blocks = gen_length // block_length
    for block in range(blocks):
        start = prompt.shape[1] + block * block_length
        where = torch.zeros_like(tokens, dtype=torch.bool)
        where[:, start : start + block_length] = True
        _even(forward, tokens, where, steps // blocks, mask_id)
    return tokens


def said(
    forward: Forward,
    prompt: Tensor,
    *,
    gen_length: int,
    steps: int,
    threshold: float,
    hard_steps: int,
    mask_id: int,
    repeated: bool = False,
) -> Tensor:
    """Decode the even positions of the region, then the easy odd ones, then the hard ones; return (B, L) int64.

    `repeated` runs the forward that splits easy from hard twice, and again for the first hard step, as the released
    loop does; else it is run again only if something changed in between.
    """
    tokens = canvas_of(prompt, gen_length, mask_id)
    scaffold = torch.zeros_like(tokens, dtype=torch.bool)
    scaffold[:, prompt.shape[1] :: 2] = True
    _even(forward, tokens, scaffold, steps, mask_id)
    if repeated:
        propose(forward(tokens), mask_id)
    choice, probability = propose(forward(tokens), mask_id)
    detail = tokens == mask_id
    easy = detail & (probability >= threshold)
    tokens[easy] = choice[easy]
    hard = tokens == mask_id
    if bool(hard.any()):
        again = repeated or bool(easy.any())
        _even(forward, tokens, hard, hard_steps, mask_id, None if again else (choice, probability))
    return tokens


def said_block(
    forward: Forward,
    prompt: Tensor,
    *,
    gen_length: int,
    block_length: int,
    steps: int,
    stage_count: int,
    rec_steps: int,
    mask_id: int,
) -> Tensor:
    """Decode each block grid by grid, the coarsest first; return (B, P + gen_length) int64.

    As in the released loop a stage runs all the steps of its budget, also those that have nothing left to commit.
    """
    tokens = canvas_of(prompt, gen_length, mask_id)
    blocks = gen_length // block_length
    budgets = said_block_budgets(steps // blocks, stage_count, rec_steps)
    for block in range(blocks):
        start = prompt.shape[1] + block * block_length
        for grid, budget in zip(said_block_grids(block_length, stage_count), budgets, strict=True):
            if not grid:
                continue
            where = torch.zeros_like(tokens, dtype=torch.bool)
            where[:, [start + position for position in grid]] = True
            _even(forward, tokens, where, budget, mask_id, idle=True)
    return tokens


def canvas_of(prompt: Tensor, gen_length: int, mask_id: int) -> Tensor:
    """Return (B, P + gen_length) int64: the (B, P) prompt and masks."""
    masks = torch.full((prompt.shape[0], gen_length), mask_id, dtype=torch.long, device=prompt.device)
    return torch.cat([prompt, masks], dim=1)


def propose(logits: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Return (B, C) int64 proposed tokens and their (B, C) float64 probabilities of all columns of (B, C, V) logits.

    The mask's logit is taken out in place and put back: a copy of the logits, which the released loops do not make,
    would flatter the engine.
    """
    mask_logit = logits[:, :, mask_id].clone()
    logits[:, :, mask_id] = -torch.inf
    choice = logits.argmax(dim=-1)
    logits[:, :, mask_id] = mask_logit
    probability = logits.to(torch.float64).softmax(dim=-1)
    return choice, probability.gather(-1, choice.unsqueeze(-1)).squeeze(-1)


def _even(
    forward: Forward,
    tokens: Tensor,
    where: Tensor,
    steps: int,
    mask_id: int,
    proposal: tuple[Tensor, Tensor] | None = None,
    *,
    idle: bool = False,
) -> None:
    """Commit in `tokens`, in place, the best masked positions of (B, L) bool `where`, evenly over the steps.

    With `idle`, steps that find nothing left to commit run their forward all the same.
    """
    positions = ((tokens == mask_id) & where).sum(dim=1)
    quota = torch.zeros(tokens.shape[0], steps, dtype=torch.int64, device=tokens.device)
    for row in range(tokens.shape[0]):
        quota[row] = positions[row] // steps
        quota[row, : int(positions[row] % steps)] += 1
    for step in range(steps):
        open_ = (tokens == mask_id) & where
        if not idle and not bool(open_.any()):
            return
        choice, probability = proposal or propose(forward(tokens), mask_id)
        proposal = None
        confidence = probability.masked_fill(~open_, -torch.inf)
        commit = torch.zeros_like(open_)
        for row in range(tokens.shape[0]):
            _, best = torch.topk(confidence[row], k=int(quota[row, step]))
            commit[row, best] = True
        tokens[commit] = choice[commit]

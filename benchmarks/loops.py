"""Plain decoding loops in the style of the papers' released ones, to be timed beside the engine.

Own code that keeps their habits: the head and a float64 softmax over the whole canvas, a Python loop over rows with a
top-k each, a wait for the device at every quota. Knows LLaDA's rule and SAID with CHLG at temperature 0, unpadded.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Forward = Callable[[Tensor], Tensor]
"""(B, L) int64 tokens in, (B, L, V) logits out."""


def llada(forward: Forward, prompt: Tensor, *, gen_length: int, block_length: int, steps: int, mask_id: int) -> Tensor:
    """Decode block after block, the same number of tokens in every step; return (B, P + gen_length) int64."""
    tokens = _canvas(prompt, gen_length, mask_id)
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
) -> Tensor:
    """Decode the even positions of the region, then the easy odd ones, then the hard ones; return (B, L) int64.

    The forward that splits easy from hard is run once, and again by the first hard step only if something changed:
    the released loop runs it twice, which would flatter the engine.
    """
    tokens = _canvas(prompt, gen_length, mask_id)
    scaffold = torch.zeros_like(tokens, dtype=torch.bool)
    scaffold[:, prompt.shape[1] :: 2] = True
    _even(forward, tokens, scaffold, steps, mask_id)
    choice, probability = _propose(forward, tokens, mask_id)
    detail = tokens == mask_id
    easy = detail & (probability >= threshold)
    tokens[easy] = choice[easy]
    hard = tokens == mask_id
    if bool(hard.any()):
        _even(forward, tokens, hard, hard_steps, mask_id, None if bool(easy.any()) else (choice, probability))
    return tokens


def _canvas(prompt: Tensor, gen_length: int, mask_id: int) -> Tensor:
    masks = torch.full((prompt.shape[0], gen_length), mask_id, dtype=torch.long, device=prompt.device)
    return torch.cat([prompt, masks], dim=1)


def _propose(forward: Forward, tokens: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Return (B, L) int64 proposed tokens and their (B, L) float64 probabilities over the whole canvas."""
    logits = forward(tokens)
    allowed = logits.clone()
    allowed[:, :, mask_id] = -torch.inf
    choice = allowed.argmax(dim=-1)
    probability = logits.to(torch.float64).softmax(dim=-1)
    return choice, probability.gather(-1, choice.unsqueeze(-1)).squeeze(-1)


def _even(
    forward: Forward,
    tokens: Tensor,
    where: Tensor,
    steps: int,
    mask_id: int,
    proposal: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Commit in `tokens`, in place, the best masked positions of (B, L) bool `where`, evenly over the steps."""
    positions = ((tokens == mask_id) & where).sum(dim=1)
    quota = torch.zeros(tokens.shape[0], steps, dtype=torch.int64, device=tokens.device)
    for row in range(tokens.shape[0]):
        quota[row] = positions[row] // steps
        quota[row, : int(positions[row] % steps)] += 1
    for step in range(steps):
        open_ = (tokens == mask_id) & where
        if not bool(open_.any()):
            return
        choice, probability = proposal or _propose(forward, tokens, mask_id)
        proposal = None
        confidence = probability.masked_fill(~open_, -torch.inf)
        commit = torch.zeros_like(open_)
        for row in range(tokens.shape[0]):
            _, best = torch.topk(confidence[row], k=int(quota[row, step]))
            commit[row, best] = True
        tokens[commit] = choice[commit]

"""Scores a model in training with LLaDA's rule: whole canvas, one token a step, the surest first.

A plain loop of its own, so that training depends on nothing but the tasks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from tokenizers import Tokenizer
from torch import Tensor

from dllm_decode.programs import permitted
from dllm_decode.tasks import Example, Task
from training.data import encode_prompts
from training.model import BidirectionalLlama
from training.tokenizer import END, MASK, TURN, token_number

Forward = Callable[[Tensor, Tensor, int], Tensor]


@torch.no_grad()
def decode(
    forward: Forward, tokens: Tensor, valid: Tensor, *, length: int, steps: int, block: int, mask: int
) -> Tensor:
    """Decodes a canvas as LLaDA's released loop does, each block with its even share of the steps.

    Args:
        forward: Called with (tokens, valid, length); returns logits ``(B, length, V)``.
        tokens: ``(B, T) int64``, prompts and then `length` mask tokens.
        valid: ``(B, T) bool``, False on padding.
        length: Answer columns.
        steps: Forwards over all blocks.
        block: Columns of a block; divides `length`.
        mask: The mask token, never committed.

    Returns:
        The answer tokens, ``(B, length) int64``.
    """
    tokens = tokens.clone()
    answer = tokens[:, -length:]
    blocks = length // block
    for number, start in enumerate(range(0, length, block)):
        share = steps // blocks + (number < steps % blocks)
        quotas = [block // share + (step < block % share) for step in range(share)]
        for quota in quotas:
            logits = forward(tokens, valid, length).float()
            logits[..., mask] = -torch.inf
            probability, proposal = logits.softmax(-1).max(-1)
            open_now = answer == mask
            open_now[:, start + block :] = False
            chosen = probability.masked_fill(~open_now, -torch.inf).topk(quota, dim=-1).indices
            answer.scatter_(1, chosen, proposal.gather(1, chosen))
    return answer


def answer_texts(tokenizer: Tokenizer, answers: Tensor) -> list[str]:
    """Decodes answers ``(B, length) int64``, each cut at its first end token."""
    stops = {tokenizer.token_to_id(END), tokenizer.token_to_id(TURN)}
    texts = []
    for row in answers.tolist():
        end = next((place for place, token in enumerate(row) if token in stops), len(row))
        texts.append(tokenizer.decode(row[:end], skip_special_tokens=False))
    return texts


def outcomes(
    model: BidirectionalLlama,
    tokenizer: Tokenizer,
    task: Task,
    examples: list[Example],
    *,
    steps: int | None = None,
    block: int | None = None,
    batch_size: int = 100,
) -> list[tuple[Example, str, bool]]:
    """Decodes and scores examples; by default one token a step over the whole answer."""
    length = task.gen_length
    mask, end = token_number(tokenizer, MASK), token_number(tokenizer, END)
    texts: list[str] = []

    def forward(tokens: Tensor, valid: Tensor, answer_length: int) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: Tensor = model(tokens, valid, answer_length)
            return logits

    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        prompts, lengths = encode_prompts(tokenizer, [example.prompt for example in batch], end)
        canvas = torch.from_numpy(prompts.astype("int64"))
        canvas = torch.cat([canvas, torch.full((len(batch), length), mask)], dim=1)
        padding = prompts.shape[1] - torch.from_numpy(lengths)
        valid = torch.arange(canvas.shape[1]) >= padding[:, None]
        answers = decode(
            forward, canvas, valid, length=length, steps=steps or length, block=block or length, mask=mask
        )
        texts += answer_texts(tokenizer, answers)
    with permitted():
        right = task.score_many(list(zip(examples, texts, strict=True)))
    return list(zip(examples, texts, right, strict=True))

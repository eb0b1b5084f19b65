"""From what a caller may pass as prompts to one left-padded table of token rows, with every mistake named.

Knows texts, messages, lists of ids and tensors; leaves decoding to the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_decode.errors import ConfigError
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.models.tokenizer import Tokenizer

MASK_TEXT = "[MASK]"
"""How an undecided position is written in a text, whatever the tokenizer calls its mask token."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Token rows of one width, padded on the left."""

    tokens: Tensor
    """(N, P) int64."""
    valid: Tensor
    """(N, P) bool; False on padding."""


def read_prompts(
    prompts: Any,
    attention_mask: Tensor | None,
    tokenizer: Tokenizer | None,
    denoiser: Denoiser,
    *,
    infill: bool,
) -> Rows:
    """Return the rows of a text, texts, messages, lists of ids, or a (B, P) tensor, on the CPU unless a tensor.

    Args:
        prompts: One text, a list of texts, a conversation or a list of them, a list of lists of ids, or (B, P) int64.
        attention_mask: (B, P), 0 on padding; with a tensor only.
        tokenizer: The model's, if it has one.
        denoiser: Tells the vocabulary and the mask token.
        infill: Whether mask tokens are wanted in every row rather than refused.

    Raises:
        ConfigError: What was given cannot be decoded; the message names the prompt by its 0-based number.
    """
    if isinstance(prompts, Tensor):
        rows = _from_tensor(prompts, attention_mask)
    elif attention_mask is not None:
        raise ConfigError(
            "attention_mask goes with a (B, P) tensor of prompts; texts and lists are padded for you."
        )
    else:
        special = denoiser.special
        pad = (*special.ends, special.mask)[0]
        rows = _pad(_token_lists(prompts, tokenizer, special.mask, infill), pad)
    _check_tokens(rows, denoiser, infill)
    return rows


def _token_lists(prompts: Any, tokenizer: Tokenizer | None, mask: int, infill: bool) -> list[list[int]]:
    if isinstance(prompts, str):
        prompts = [prompts]
    if not isinstance(prompts, Sequence):
        raise ConfigError(f"prompts should be a text, a list or a tensor, got {type(prompts).__name__}.")
    if not prompts:
        raise ConfigError("there are no prompts: the list is empty.")
    if isinstance(prompts[0], Mapping):
        prompts = [prompts]
    return [_tokens(prompt, number, tokenizer, mask, infill) for number, prompt in enumerate(prompts)]


def _tokens(prompt: Any, number: int, tokenizer: Tokenizer | None, mask: int, infill: bool) -> list[int]:
    if isinstance(prompt, Sequence) and all(isinstance(i, int) and not isinstance(i, bool) for i in prompt):
        if not isinstance(prompt, str):
            return list(prompt)
    elif not isinstance(prompt, str) and not _is_conversation(prompt):
        raise ConfigError(
            f"prompt {number} should be a text, a list of messages (role, content) or a list of token ids, "
            f"got {type(prompt).__name__}."
        )
    if tokenizer is None:
        raise ConfigError("this model came without a tokenizer: give token ids, as lists or a (B, P) tensor.")
    if not isinstance(prompt, str):
        if not tokenizer.chat_template:
            raise ConfigError(
                f"prompt {number}: the model's tokenizer has no chat template; give a text, not messages."
            )
        try:
            text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        except Exception as error:
            raise ConfigError(f"prompt {number}: the chat template refuses these messages: {error}") from None
        _check_text(text, number)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    _check_text(prompt, number)
    return _infill_ids(prompt, tokenizer, mask) if infill else _prompt_ids(prompt, tokenizer)


def _check_text(text: str, number: int) -> None:
    """Refuse half of a surrogate pair: it is no character, and tokenizers do not know it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ConfigError(f"prompt {number} is no text: half a character, {half}, stands at {error.start}.") from None


def _prompt_ids(prompt: str, tokenizer: Tokenizer) -> list[int]:
    """Return the ids of a prompt without what the tokenizer closes a text with: the answer is to follow."""
    ids = list(tokenizer(prompt)["input_ids"])
    text = prompt or "a"
    closed = ids if prompt else list(tokenizer(text)["input_ids"])
    plain = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    for begin in range(len(closed) - len(plain)):
        if closed[begin : begin + len(plain)] == plain:
            return ids[: len(ids) - (len(closed) - begin - len(plain))]
    return ids


def _infill_ids(text: str, tokenizer: Tokenizer, mask: int) -> list[int]:
    """Return the ids of a whole text, opened and closed as the tokenizer does, with the mask for every `[MASK]`."""
    pieces = text.split(MASK_TEXT)
    name = getattr(tokenizer, "mask_token", None) if tokenizer.mask_token_id == mask else None
    if name is not None:
        # In one go: what a tokenizer does to the edges of a text it must not do to the edges of a piece.
        ids = list(tokenizer(name.join(pieces))["input_ids"])
        if ids.count(mask) == len(pieces) - 1:
            return ids
    ids = []
    for place, piece in enumerate(pieces):
        ids.extend([mask] if place else [])
        ids.extend(tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else [])
    return ids


def _is_conversation(prompt: Any) -> bool:
    return isinstance(prompt, Sequence) and all(isinstance(m, Mapping) and "content" in m for m in prompt)


def _pad(lists: list[list[int]], pad: int) -> Rows:
    width = max(len(tokens) for tokens in lists)
    table = torch.tensor([[pad] * (width - len(tokens)) + tokens for tokens in lists], dtype=torch.int64)
    lengths = torch.tensor([len(tokens) for tokens in lists])
    valid = torch.arange(width) >= width - lengths[:, None]
    return Rows(table.reshape(len(lists), width), valid)


def _from_tensor(tokens: Tensor, attention_mask: Tensor | None) -> Rows:
    if tokens.dim() == 1:
        tokens = tokens[None]
    if tokens.dim() != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise ConfigError(
            f"prompts should be a (B, P) tensor of ids, got {tuple(tokens.shape)} {tokens.dtype}."
        )
    if not tokens.shape[0]:
        raise ConfigError("there are no prompts: the tensor has no rows.")
    tokens = tokens.long()
    if attention_mask is None:
        return Rows(tokens, torch.ones_like(tokens, dtype=torch.bool))
    valid = (attention_mask if attention_mask.dim() == 2 else attention_mask[None]).to(tokens.device).bool()
    if valid.shape != tokens.shape:
        raise ConfigError(
            f"attention_mask {tuple(valid.shape)} should have the prompts' shape {tuple(tokens.shape)}."
        )
    if bool((valid[:, :-1] & ~valid[:, 1:]).any()):
        raise ConfigError("attention_mask: padding should be on the left of a prompt, zeros before ones.")
    return Rows(tokens, valid)


def _check_tokens(rows: Rows, denoiser: Denoiser, infill: bool) -> None:
    outside = (rows.tokens < 0) | (rows.tokens >= denoiser.vocab_size)
    if bool(outside.any()):
        number, column = outside.nonzero()[0].tolist()
        raise ConfigError(
            f"prompt {number}: token id {int(rows.tokens[number, column])} is outside the vocabulary of "
            f"{denoiser.vocab_size} entries."
        )
    masked = ((rows.tokens == denoiser.special.mask) & rows.valid).any(1)  # (N,)
    if infill and not bool(masked.all()):
        number = int((~masked).nonzero()[0])
        raise ConfigError(f"text {number} holds no {MASK_TEXT}: there is nothing to fill in.")
    if not infill and bool(masked.any()):
        raise ConfigError(
            f"prompt {int(masked.nonzero()[0])} holds the mask token; generate() decides only what follows the prompt. "
            "To fill positions inside a text use infill()."
        )

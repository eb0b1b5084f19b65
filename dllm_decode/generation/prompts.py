"""From what a caller may pass as prompts to one left-padded table of token rows, with every mistake named.

Knows texts, messages, ids in all their forms; leaves chat templates to `chat` and decoding to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from dllm_decode.data.prompt import Message, user
from dllm_decode.errors import ConfigError, shown
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation.chat import (
    Chat,
    check_chat,
    is_conversation,
    joined,
    message_rule,
    read_messages,
    render,
)
from dllm_decode.generation.table import Table
from dllm_decode.models.tokenizer import Tokenizer

MOST_ID = 2**63 - 1
"""What an int64 holds."""
MASK_TEXT = "[MASK]"
"""How an undecided position is written in a text, whatever the tokenizer calls its mask token."""


def read_prompts(
    prompts: Any,
    attention_mask: Any,
    tokenizer: Tokenizer | None,
    denoiser: Denoiser,
    *,
    infill: bool,
    chat: Chat = "auto",
) -> Table:
    """Return the table of texts, messages, ids, rows of ids or a tokenizer's output, on the CPU unless a tensor.

    What holds the mask is undecided.

    Args:
        prompts: One text or conversation or list of ids, or a list of them; (B, P) int64; or what a tokenizer returns, a
            mapping with `input_ids` and perhaps `attention_mask`.
        attention_mask: (B, P), 0 on padding; with a table of ids only.
        tokenizer: The model's, if it has one.
        denoiser: Tells the vocabulary and the mask token.
        infill: Whether mask tokens are wanted in every row rather than refused; texts are then taken as they are.
        chat: Whether a text is a user's message for the chat template.

    Raises:
        ConfigError: What was given cannot be decoded; the message names the prompt by its 0-based number.
    """
    check_chat(chat, tokenizer)
    if isinstance(prompts, Mapping):
        prompts, attention_mask = _encoded(prompts, attention_mask)
    if isinstance(prompts, numpy.ndarray) and prompts.dtype.kind in "iu":
        prompts = torch.from_numpy(prompts.astype(numpy.int64))
    if isinstance(prompts, Tensor):
        given = None if attention_mask is None else torch.as_tensor(attention_mask)
        table = Table.of(*_from_tensor(prompts, given), denoiser.special.mask)
    elif attention_mask is not None:
        raise ConfigError(
            "attention_mask goes with a (B, P) tensor of prompts; texts and lists are padded for you."
        )
    else:
        special = denoiser.special
        pad = (*special.ends, special.mask)[0]
        reader = _Reader(tokenizer, special.mask, infill, chat, message_rule(chat, tokenizer))
        lists = [reader.tokens(prompt, number) for number, prompt in enumerate(_listed(prompts))]
        table = Table.of(*_pad(lists, pad), special.mask)
    _check_tokens(table, denoiser, infill)
    return table


def _encoded(encoding: Mapping[str, Any], attention_mask: Any) -> tuple[Any, Any]:
    """Return the ids that a tokenizer has returned, without padding where they are lists, and their mask."""
    if "input_ids" not in encoding:
        raise ConfigError(f"prompts: a mapping should hold input_ids, got {', '.join(map(str, encoding))}.")
    ids = encoding["input_ids"]
    mask = encoding.get("attention_mask") if attention_mask is None else attention_mask
    if mask is None or isinstance(ids, (Tensor, numpy.ndarray)):
        return ids, mask
    if ids and _is_id(ids[0]):
        ids, mask = [ids], [mask]
    if [len(row) for row in ids] != [len(row) for row in mask]:
        raise ConfigError("attention_mask should have the shape of input_ids.")
    return [[one for one, keep in zip(*row, strict=True) if keep] for row in zip(ids, mask, strict=True)], None


def _listed(prompts: Any) -> Sequence[Any]:
    """Return a list of prompts; a single text, conversation or list of ids is one."""
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, numpy.ndarray):
        prompts = prompts.tolist()
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
        raise ConfigError(f"prompts should be a text, a list or a tensor, got {type(prompts).__name__}.")
    if not prompts:
        raise ConfigError("there are no prompts: the list is empty.")
    one = isinstance(prompts[0], Mapping) and "input_ids" not in prompts[0]
    return [prompts] if one or all(map(_is_id, prompts)) else prompts


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, numpy.integer)) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class _Reader:
    """From a prompt to its ids."""

    tokenizer: Tokenizer | None
    mask: int
    infill: bool
    chat: Chat
    becomes_message: Callable[[str], bool]
    """Whether a text is a user's message for the template."""

    def tokens(self, prompt: Any, number: int) -> list[int]:
        if isinstance(prompt, Mapping) and "input_ids" in prompt:
            prompt = prompt["input_ids"]
        if isinstance(prompt, (Tensor, numpy.ndarray)):
            prompt = prompt.tolist()
        is_text, is_messages = isinstance(prompt, str), is_conversation(prompt)
        if not is_text and isinstance(prompt, Sequence) and all(map(_is_id, prompt)):
            if beyond := [one for one in prompt if not -MOST_ID <= one <= MOST_ID]:
                raise ConfigError(f"prompt {number}: token id {shown(beyond[0])} is outside of every vocabulary.")
            return [int(one) for one in prompt]
        if not is_text and not is_messages:
            raise ConfigError(
                f"prompt {number} should be a text, a list of messages (role, content) or a list of token ids, "
                f"got {type(prompt).__name__}."
            )
        if self.tokenizer is None:
            raise ConfigError(
                "this model came without a tokenizer: give token ids, as lists or a (B, P) tensor."
            )
        messages = read_messages(prompt, number) if is_messages else [user(prompt)]
        _check_text(messages, number)
        if is_messages and self.chat == "off":
            prompt, is_messages = joined(messages), False
        if is_messages or (not self.infill and self.becomes_message(prompt)):
            text = render(self.tokenizer, messages, number, whole=self.infill)
            if self.infill:
                return _masked_ids(text, self.tokenizer, self.mask)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return (
            _infill_ids(prompt, self.tokenizer, self.mask) if self.infill else _prompt_ids(prompt, self.tokenizer)
        )


def _check_text(messages: Sequence[Message], number: int) -> None:
    for message in messages:
        try:
            message["content"].encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise ConfigError(
                f"prompt {number} is no text: half a character, {half}, stands at {error.start}."
            ) from None


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
    return _masked_ids(text, tokenizer, mask)


def _masked_ids(text: str, tokenizer: Tokenizer, mask: int) -> list[int]:
    """Return the ids of a text piece by piece, neither opened nor closed, with the mask for every `[MASK]`."""
    ids = []
    for place, piece in enumerate(text.split(MASK_TEXT)):
        ids.extend([mask] if place else [])
        ids.extend(tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else [])
    return ids


def _pad(lists: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return (N, P) int64 tokens, padded on the left, and (N, P) bool which are no padding."""
    width = max(len(tokens) for tokens in lists)
    table = torch.tensor([[pad] * (width - len(tokens)) + tokens for tokens in lists], dtype=torch.int64)
    lengths = torch.tensor([len(tokens) for tokens in lists])
    valid = torch.arange(width) >= width - lengths[:, None]
    return table.reshape(len(lists), width), valid


def _from_tensor(tokens: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (N, P) int64 tokens and (N, P) bool which are no padding."""
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
        return tokens, torch.ones_like(tokens, dtype=torch.bool)
    valid = (attention_mask if attention_mask.dim() == 2 else attention_mask[None]).to(tokens.device).bool()
    if valid.shape != tokens.shape:
        raise ConfigError(
            f"attention_mask {tuple(valid.shape)} should have the prompts' shape {tuple(tokens.shape)}."
        )
    if bool((valid[:, :-1] & ~valid[:, 1:]).any()):
        raise ConfigError("attention_mask: padding should be on the left of a prompt, zeros before ones.")
    return tokens, valid


def _check_tokens(table: Table, denoiser: Denoiser, infill: bool) -> None:
    outside = (table.tokens < 0) | (table.tokens >= denoiser.vocab_size)
    if bool(outside.any()):
        number, column = outside.nonzero()[0].tolist()
        raise ConfigError(
            f"prompt {number}: token id {int(table.tokens[number, column])} is outside the vocabulary of "
            f"{denoiser.vocab_size} entries."
        )
    masked = table.undecided.any(1)  # (N,)
    if infill and not bool(masked.all()):
        number = int((~masked).nonzero()[0])
        raise ConfigError(f"text {number} holds no {MASK_TEXT}: there is nothing to fill in.")
    if not infill and bool(masked.any()):
        raise ConfigError(
            f"prompt {int(masked.nonzero()[0])} holds the mask token; generate() decides only what follows the prompt. "
            "To fill positions inside a text use infill()."
        )

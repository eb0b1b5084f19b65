"""Chat templates: when a prompt goes through the model's own, and what becomes of messages.

Knows texts and messages; leaves tokens and batches to `prompts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from dllm_decode.data.prompt import Message, user
from dllm_decode.errors import ConfigError
from dllm_decode.models.tokenizer import Tokenizer

Chat = Literal["auto", "on", "off"]
"""Whether a text is a user's message for the chat template: where the template does anything, always, or never."""


_WORD = "text"


def check_chat(chat: str, tokenizer: Tokenizer | None) -> None:
    """Refuse an unknown choice, and "on" for a model without a template.

    Raises:
        ConfigError: It is one of these.
    """
    if chat not in get_args(Chat):
        raise ConfigError(f"chat: should be auto, on or off, got {chat!r}")
    if chat == "on" and not (tokenizer is not None and tokenizer.chat_template):
        raise ConfigError('chat: "on" needs a chat template, and the model\'s tokenizer has none; use auto or off')


def has_template(tokenizer: Tokenizer | None) -> bool:
    """Say whether a model has a chat template that does anything; one that passes a text through counts as none."""
    return _frame(tokenizer) != _WORD


def message_rule(chat: Chat, tokenizer: Tokenizer | None) -> Callable[[str], bool]:
    """Return what says of a text whether it becomes a user's message.

    With "auto", one that already holds special tokens of the template does not: somebody has applied it.
    """
    if chat != "auto":
        return lambda text: chat == "on"
    frame = _frame(tokenizer)
    if tokenizer is None or frame == _WORD:
        return lambda text: False
    added = {*getattr(tokenizer, "all_special_tokens", ()), *getattr(tokenizer, "get_added_vocab", dict)()}
    marks = [mark for mark in added if mark in frame]
    return lambda text: not any(mark in text for mark in marks)


def what_is_done(chat: Chat, template: bool, prompts: Sequence[Any]) -> str:
    """Say what becomes of texts and messages: "template", "turns joined", or "" where texts stay as they are.

    Args:
        chat: The choice.
        template: What `has_template` says of the model.
        prompts: Texts or messages; token ids go through no template.
    """
    conversations = any(is_conversation(prompt) for prompt in prompts)
    texts = any(isinstance(prompt, str) for prompt in prompts)
    if chat == "off":
        return "turns joined" if conversations else ""
    return "template" if conversations or (texts and (chat == "on" or template)) else ""


def is_conversation(prompt: Any) -> bool:
    """Say whether a prompt is a list of messages, well written or not."""
    if isinstance(prompt, (str, bytes)) or not isinstance(prompt, Sequence) or not prompt:
        return False
    return all(isinstance(message, Mapping) for message in prompt)


def read_messages(prompt: Sequence[Mapping[str, Any]], number: int) -> list[Message]:
    """Return messages whose contents are texts; the text parts of a content that is a list are joined.

    Args:
        prompt: The messages.
        number: What the prompt is called in errors, from 0.

    Raises:
        ConfigError: A role or a content is no text.
    """
    return [_read_message(message, number, turn) for turn, message in enumerate(prompt)]


def joined(messages: Sequence[Message]) -> str:
    """Return the texts of the turns, one under the other, without roles: a conversation for a model without template."""
    return "\n".join(message["content"] for message in messages)


def render(tokenizer: Tokenizer, messages: Sequence[Message], number: int, *, whole: bool) -> str:
    """Return a conversation as the template writes it.

    It ends where the model is to speak: behind the opening of a new turn, or, where the last turn is the assistant's, at
    the end of what that turn holds so far.

    Args:
        tokenizer: Has the template.
        messages: The turns.
        number: What the prompt is called in errors, from 0.
        whole: Whether the conversation is complete as it is, with masks to be filled inside.

    Raises:
        ConfigError: There is no template, or it refuses the messages.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            f"prompt {number}: the model's tokenizer has no chat template; give a text, not messages, or chat='off' "
            "(--chat off) to join the turns' texts."
        )
    try:
        return _render(tokenizer, messages, whole=whole)
    except Exception as error:
        raise ConfigError(f"prompt {number}: the chat template refuses these messages: {error}") from None


def _frame(tokenizer: Tokenizer | None) -> str:
    """Return what the template makes of a word, the word alone where there is none."""
    if tokenizer is None or not tokenizer.chat_template:
        return _WORD
    try:
        return _render(tokenizer, [user(_WORD)], whole=False)
    except Exception:
        # A template may refuse a conversation this short; it does something then.
        return ""


def _render(tokenizer: Tokenizer, messages: Sequence[Message], *, whole: bool) -> str:
    begun = not whole and messages[-1]["role"] == "assistant"
    options: dict[str, Any] = {"continue_final_message": True} if begun else {}
    text = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=not (whole or begun), tokenize=False, **options
    )
    return str(text)


def _read_message(message: Mapping[str, Any], number: int, turn: int) -> Message:
    role, content = message.get("role"), message.get("content")
    where = f"prompt {number}, message {turn}"
    if not isinstance(role, str):
        raise ConfigError(f"{where}: the role should be a text such as 'user', got {role!r}")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if isinstance(content, Sequence) and content and all(map(_is_text_part, content)):
        return {"role": role, "content": "".join(part["text"] for part in content)}
    shown = repr(content)
    raise ConfigError(
        f"{where}: the content should be a text or a list of {{'type': 'text', 'text': ...}}, got "
        f"{shown[:80]}{'...' if len(shown) > 80 else ''}"
    )


def _is_text_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)

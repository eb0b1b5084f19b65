"""What a prompt is: a text, or the messages of a conversation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    """Who speaks: "user", "assistant" or "system"."""
    content: str
    """The text of the turn."""


Prompt = str | Sequence[Message]
"""A text; or messages, which only the model's chat template turns into one.

A conversation that ends with the assistant's turn is continued there, any other is answered in a new turn.
"""


def prompt_text(prompt: Prompt | Sequence[Mapping[str, Any]]) -> str:
    """Return a prompt's words as one text, without any template: to tell prompts apart, to show and to measure them."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.get('role')}: {message.get('content')}" for message in prompt)


def user(content: str) -> Message:
    """Return a turn of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """Return a turn of the model."""
    return {"role": "assistant", "content": content}

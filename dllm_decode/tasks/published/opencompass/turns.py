"""What all of OpenCompass's prompts share: the user's and the assistant's turns, and no system message."""

from __future__ import annotations

from collections.abc import Sequence

from dllm_decode.tasks.published.shape import Message, Shot


def asked(question: str, shots: Sequence[Shot] = ()) -> list[Message]:
    """Returns the shots as turns, then the question; neighbours never have the same role."""
    turns = []
    for shot in shots:
        turns += [
            {"role": "user", "content": shot.user},
            {"role": "assistant", "content": shot.assistant},
        ]
    return [*turns, {"role": "user", "content": question}]

"""The three forms of a lm-evaluation-harness prompt: one text, chat with examples as turns, chat with all in one turn.

Source: lm_eval 0.4.13. Examples are joined by blank lines; a blank is put between a question and what follows it unless
white space is there already; the description stands before the text, or as a system message; the begun answer closes the
text, or is the assistant's last turn, which is to be continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dllm_decode.tasks.published.shape import Message, Row, Shot


def _nothing(_: Row) -> str:
    return ""


def _joined(before: str, after: str) -> str:
    if not before or not after or before[-1].isspace() or after[0].isspace():
        return before + after
    return f"{before} {after}"


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked, in the words of one task; its methods are the prompt's three forms.

    Attributes:
        question: One question's text.
        description: What stands before all questions; ends with its own newline.
        begun: The answer's beginning, given to the model.
    """

    question: Callable[[Row], str]
    description: Callable[[Row], str] = _nothing
    begun: Callable[[Row], str] = _nothing

    def prompt(self, row: Row, shots: Sequence[Shot] = ()) -> str:
        """Returns the one text."""
        return self.description(row) + _joined(self._questions(row, shots), self.begun(row))

    def one_turn(self, row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
        """Returns one message with examples and question; the harness's form without ``fewshot_as_multiturn``."""
        return self._around(row, [{"role": "user", "content": self._questions(row, shots)}])

    def messages(self, row: Row, shots: Sequence[Shot] = ()) -> list[Message]:
        """Returns the examples as turns, then the question; the harness's form for chat."""
        turns = []
        for shot in shots:
            turns += [
                {"role": "user", "content": shot.user},
                {"role": "assistant", "content": shot.assistant},
            ]
        return self._around(row, [*turns, {"role": "user", "content": self.question(row)}])

    def _questions(self, row: Row, shots: Sequence[Shot]) -> str:
        examples = [_joined(shot.user, shot.assistant) for shot in shots]
        return "\n\n".join([*examples, self.question(row)])

    def _around(self, row: Row, turns: list[Message]) -> list[Message]:
        description, begun = self.description(row), self.begun(row)
        head = [{"role": "system", "content": description}] if description else []
        return [*head, *turns, *([{"role": "assistant", "content": begun}] if begun else [])]

"""What a published shape is: one evaluator's prompt for one benchmark, and how it reads and judges an answer.

Knows the record that every benchmark's module fills in; leaves files, splits, chat templates and the running of
programs to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dllm_decode.errors import ConfigError

Row = Mapping[str, Any]
"""One line of a data set as published."""

Message = dict[str, str]
"""One turn: ``role`` is ``system``, ``user`` or ``assistant``, ``content`` its text."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One worked example in the words of its shape: what the user says, what the assistant answers."""

    user: str
    assistant: str


class Run(Protocol):
    """Runs programs, each alone; True where one came to its end within `seconds` without any exception."""

    def __call__(self, programs: Sequence[str], seconds: float) -> Sequence[bool]:
        """Returns one verdict a program, in their order."""


@dataclass(frozen=True, slots=True)
class Judge:
    """One way to read and judge an answer; has either `correct` or `program`.

    Attributes:
        extract: What the rule takes out of the text; None where it finds nothing.
        correct: The verdict, or a grade from 0 to 1.
        program: The program whose clean end is the verdict.
        seconds: How long that program may take.
    """

    extract: Callable[[Row, str], str | None]
    correct: Callable[[Row, str], bool | float] | None = None
    program: Callable[[Row, str], str] | None = None
    seconds: float = 0.0


def first_rows(train: Sequence[Row], rows: Sequence[Row], count: int) -> list[list[Row]]:
    """Returns the first `count` training rows for every row asked."""
    return [list(train[:count])] * len(rows)


@dataclass(frozen=True, slots=True)
class Examples:
    """The worked examples of a shape's prompt: how many, and where they are had. None is part of this package.

    Attributes:
        count: How many.
        digest: `shots.digest` of the published ones, of the first question's where they differ per question; empty where
            it is not known.
        installed: ``package:file`` of an evaluator's own file that holds them.
        shot: Makes one of a training row; None where the data set has no training rows.
        choose: Chooses training rows, `count` for each row asked; of (train, rows, count).
    """

    count: int
    digest: str = ""
    installed: str = ""
    shot: Callable[[Row], Shot] | None = None
    choose: Callable[[Sequence[Row], Sequence[Row], int], list[list[Row]]] = first_rows


def _unchanged(rows: Sequence[Row]) -> list[Row]:
    return list(rows)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one evaluator asks and judges one benchmark.

    Attributes:
        evaluator: ``opencompass`` or ``lm-eval``.
        task: The benchmark's name there, e.g. ``gsm8k``.
        messages: The turns that go to the chat template. A last turn of the assistant is to be continued.
        judges: The rules by name; the first is the one reported.
        reference: One right answer to a row, in the form that the first judge reads; None where data sets hold none.
        prepare: From a file's rows to the rows asked: drops, shuffles, letters.
        prompt: The one text of the evaluator's own form without a chat template.
        one_turn: The messages with the shots inside the one user's turn, for an evaluator that has both forms.
        examples: The worked examples of the prompt; None where it has none.
        stops: The strings at which the evaluator ends an answer.
        defects: What the released rule gets wrong, kept here as it is, one sentence each.
    """

    evaluator: str
    task: str
    messages: Callable[[Row, Sequence[Shot]], list[Message]]
    judges: Mapping[str, Judge]
    reference: Callable[[Row], str] | None
    prepare: Callable[[Sequence[Row]], list[Row]] = _unchanged
    prompt: Callable[[Row, Sequence[Shot]], str] | None = None
    one_turn: Callable[[Row, Sequence[Shot]], list[Message]] | None = None
    examples: Examples | None = None
    stops: tuple[str, ...] = ()
    defects: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The shape's full name, e.g. ``opencompass/gsm8k``."""
        return f"{self.evaluator}/{self.task}"

    @property
    def judge(self) -> Judge:
        """The rule whose score is reported."""
        return next(iter(self.judges.values()))

    @property
    def runs_programs(self) -> bool:
        """Whether a verdict needs a program to be run."""
        return self.judge.program is not None

    def grade(self, pairs: Sequence[tuple[Row, str]], run: Run | None = None, judge: str = "") -> list[float]:
        """Judges many answers.

        Args:
            pairs: Rows and the answers to them.
            run: Runs programs; needed where `runs_programs`.
            judge: The rule's name; the first one when empty.

        Raises:
            ConfigError: The verdict needs programs to be run and `run` is missing.
        """
        rule = self.judges[judge] if judge else self.judge
        if rule.program is not None:
            if run is None:
                raise ConfigError(f"{self.name}: answers are programs and nothing is given to run them")
            programs = [rule.program(row, text) for row, text in pairs]
            return [float(passed) for passed in run(programs, rule.seconds)]
        assert rule.correct is not None
        return [float(rule.correct(row, text)) for row, text in pairs]


def cut_at_stops(text: str, stops: Sequence[str]) -> str:
    """Returns the text up to the first stop string in it."""
    found = [text.find(stop) for stop in stops if stop in text]
    return text[: min(found)] if found else text

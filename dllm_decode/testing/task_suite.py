"""The conformance suite for tasks: fixed splits, honest references, a judge that no text can upset.

Drawn tasks, data sets and open-ended judges pass it alike: what only some of them promise is asked of those alone.
Decodes nothing and needs no tokenizer.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import pytest

from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import DataError
from dllm_decode.programs import permitted
from dllm_decode.tasks.base import SPLITS, Example, Task
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.testing.config_suite import fail

_SAMPLES = 30
_JUNK = ("", " ", "\n\n", "\x00", "?" * 5000, "[MASK]", "None", "-1e999", "{", "é漢字🙂", "a, b, c.")


class TaskSuite:
    """Conformance of tasks: `class TestMine(TaskSuite): tasks = [MyTask]`.

    A task is given as its class, or, for one that reads a file, as an object: `tasks = [MyTask().over("rows.jsonl")]`.
    """

    tasks: ClassVar[Sequence[type[Task] | Task]] = ()
    open_ended: ClassVar[bool] = False
    """Whether many answers are right that have nothing to do with the prompt, or none is known: references may then be
    empty, and an answer to something else may be accepted."""

    @pytest.fixture(autouse=True)
    def _programs_may_run(self) -> Iterator[None]:
        """What is judged here was written by the task's author, not by a model."""
        with permitted():
            yield

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test that asks for a `task` on each of `tasks`."""
        if "task" not in metafunc.fixturenames:
            return
        owner = type(self).__name__
        if not self.tasks:
            raise pytest.UsageError(f"{owner} tests nothing: give it `tasks = [MyTask]`.")
        for task in self.tasks:
            if not (isinstance(task, Task) or (isinstance(task, type) and issubclass(task, Task))):
                raise pytest.UsageError(
                    f"{owner}.tasks holds {task!r}; give subclasses of tasks.base.Task, or objects of them."
                )
        made = [task() if isinstance(task, type) else task for task in self.tasks]
        metafunc.parametrize("task", made, ids=[task.name for task in made])

    def test_it_has_a_name_a_description_and_a_length(self, task: Task) -> None:
        """What listings show and what `eval` decodes with."""
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", task.name):
            fail(f"{type(task).__name__} is named {task.name!r}; names are kebab-case, e.g. 'my-task'.")
        if not task.description.strip():
            fail(f"task {task.name!r} has no description; say in one line what is asked.")
        if task.gen_length < 1 or (isinstance(task, GeneratedTask) and task.split_size < 1):
            fail(f"task {task.name!r}: gen_length and split_size should be at least 1.")

    def test_a_seed_gives_the_same_examples_again(self, task: Task) -> None:
        """A task that draws does so from the generator it is given and from nothing else."""
        if not isinstance(task, GeneratedTask):
            return
        for seed in range(3):
            first, second = (_samples(task, seed) for _ in range(2))
            if first != second:
                fail(f"task {task.name!r}: one seed gave two samples; draw from the `rng` argument only.")

    def test_every_reference_is_a_right_answer(self, task: Task) -> None:
        """The judge accepts what the example itself calls correct."""
        examples = [one for one in _samples(task, 0) if one.reference or not self.open_ended]
        verdicts = task.score_many([(example, example.reference) for example in examples])
        for example, right in zip(examples, verdicts, strict=True):
            if right != 1:
                fail(
                    f"task {task.name!r}: the judge does not return True for the reference {example.reference!r} of "
                    f"the prompt {example.prompt!r}."
                )

    def test_wrong_answers_are_refused(self, task: Task) -> None:
        """Some other example's answer must be wrong, or the judge accepts anything."""
        if self.open_ended:
            return
        examples = _samples(task, 0)
        wrong = task.score_many([(one, other.reference) for one, other in pairwise(examples)])
        if all(verdict == 1 for verdict in wrong):
            fail(
                f"task {task.name!r}: the judge accepts every other example's answer; it should tell them apart."
            )

    def test_no_text_upsets_the_judge(self, task: Task) -> None:
        """A model may answer anything; the judge says False, or 0, and never raises."""
        for example in _samples(task, 0)[:2]:
            for text in _JUNK:
                try:
                    verdict = task.score(example, text)
                except Exception as error:
                    error.add_note(
                        f"Raised by score() of task {task.name!r} for {text[:40]!r}; return False instead."
                    )
                    raise
                if task.graded:
                    if not (isinstance(verdict, (bool, int, float)) and 0 <= verdict <= 1):
                        fail(f"task {task.name!r}: score() returned {verdict!r}; return a grade from 0 to 1.")
                elif not isinstance(verdict, bool):
                    fail(
                        f"task {task.name!r}: score() returned {verdict!r}; return True or False, or set graded = True."
                    )

    def test_many_answers_are_judged_as_one_by_one(self, task: Task) -> None:
        """`score_many` is `score`, only faster."""
        examples = _samples(task, 1)[:3]
        pairs = [(example, text) for example in examples for text in (example.reference, "", "no")]
        if list(task.score_many(pairs)) != [task.score(example, text) for example, text in pairs]:
            fail(f"task {task.name!r}: score_many() and score() disagree.")

    def test_an_example_can_be_written_down(self, task: Task) -> None:
        """Outcomes and reports hold examples as JSON; a judge that reads them back judges the same."""
        for example in _samples(task, 0)[:5]:
            try:
                meta: Any = json.loads(json.dumps(dict(example.meta), allow_nan=False))
            except (TypeError, ValueError) as error:
                fail(
                    f"task {task.name!r}: meta {example.meta!r} is not JSON ({error}); use numbers, text and lists."
                )
            read = Example(example.id, example.prompt, example.reference, meta)
            if task.score(read, example.reference) != task.score(example, example.reference):
                fail(
                    f"task {task.name!r}: after meta went through JSON the judge refuses the reference; use lists."
                )

    def test_the_splits_are_fixed_and_share_no_prompt(self, task: Task) -> None:
        """What was tuned on is never tested on; `limit` takes the first of a fixed order."""
        splits = {split: task.examples(split) for split in SPLITS}
        tune, test = ([prompt_text(one.prompt) for one in splits[split]] for split in SPLITS)
        repeated = isinstance(task, GeneratedTask) and len({*tune, *test}) != len(tune) + len(test)
        if repeated or {*tune} & {*test}:
            fail(
                f"task {task.name!r}: a prompt occurs twice in its splits; leave examples() to the base class."
            )
        for split, examples in splits.items():
            if len({example.id for example in examples}) != len(examples):
                fail(f"task {task.name!r}: two examples of split {split!r} have one id.")
            if task.examples(split, 3) != examples[:3]:
                fail(f"task {task.name!r}: examples({split!r}, 3) are not the first three of the split.")

    def test_an_unknown_split_and_a_missing_file_are_data_errors(self, task: Task, tmp_path: Any) -> None:
        """What a user gets wrong is answered with one line."""
        asked: dict[str, Callable[[], Any]] = {
            "examples('no-such-split')": lambda: task.examples("no-such-split"),
            "load() of a missing file": lambda: task.load(tmp_path / "missing.jsonl"),
        }
        for what, ask in asked.items():
            try:
                ask()
            except DataError:
                continue
            fail(f"task {task.name!r}: {what} should raise dllm_decode.errors.DataError.")


def _samples(task: Task, seed: int) -> list[Example]:
    if not isinstance(task, GeneratedTask):
        return task.examples("tune", _SAMPLES)
    rng = random.Random(seed)
    return [task.sample(rng) for _ in range(_SAMPLES)]

"""What the sizes of a search can prove is said before it begins, with the way out where it is too little."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dllm_decode.evaluate.statistics import paired_interval
from dllm_decode.tasks.base import Task
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.function_task import function_task
from dllm_search.report.prospects import prospects
from dllm_search.settings import Settings


def of(task: Task) -> Callable[[str, int], int]:
    return lambda split, examples: len(task.examples(split, examples))


TASK = function_task(lambda prompt, answer: True, [f"prompt {number}" for number in range(2000)])


def told(**options: object) -> list[str]:
    return list(prospects(Settings(**options), of(TASK)))  # type: ignore[arg-type]


def test_enough_examples_are_said_to_be_enough() -> None:
    tune_line, test_line = told(objective="constrained", max_drop=1.0, verify_examples=600, test_examples=500)
    assert "368 are the fewest for a loss above 1 point" in tune_line and "95 % interval" in tune_line
    assert "500 test examples can exclude a loss above 0.74 points at best" in test_line


def test_too_few_examples_are_said_with_both_ways_out() -> None:
    line, _ = told(objective="constrained", max_drop=1.0, examples=100, verify_examples=100)
    assert "takes 368 or more, so this search cannot exclude it" in line
    found = re.search(r"give --verify-examples 368 or more or a --max-drop of ([0-9.]+) or more", line)
    assert found is not None
    least = float(found[1]) / 100
    assert paired_interval(100, 0, 0)[0] > -least > paired_interval(100, 0, 0)[0] - 2e-4


def test_what_is_chosen_among_several_at_99_percent_takes_more() -> None:
    line, _ = told(verify_examples=400)
    assert "takes 528 or more" in line and "--verify-examples 528" in line and "--max-drop" not in line


def test_a_task_that_has_too_few_examples_is_not_asked_for_more() -> None:
    small = function_task(lambda prompt, answer: True, [f"prompt {number}" for number in range(40)])
    line, _ = prospects(Settings(), of(small))
    assert line.startswith("20 tuning examples") and line.endswith("give a task with more examples")
    line, _ = prospects(Settings(objective="constrained"), of(small))
    assert "give a --max-drop of 16.85 or more" in line


def test_no_number_of_examples_proves_that_nothing_is_lost() -> None:
    assert "cannot be proven by any number" in told(objective="constrained", max_drop=0.0)[0]


def test_it_is_the_first_thing_that_a_search_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    model = write_checkpoint(tmp_path / "model")
    tune(model, "line", trials=2, examples=4, verify_examples=4, test_examples=4, say=said.append)
    assert said[0].startswith("4 tuning examples can exclude") and said[1].startswith("4 test examples can exclude")

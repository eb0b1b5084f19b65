"""What the released evaluators were recorded to ask and to judge: ours is the same, case by case."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import verdicts
from tests.support import gold, recorded
from tests.support.gold import counts
from tests.support.recorded import cases, judged
from tests.support.recorded_prompts import prompts
from tests.support.wrong import wrong_answers

SHARED = Path(__file__).parents[4] / "shared"
FOLDER, DATA = SHARED / "benchmarks", SHARED / "data"

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=f"{FOLDER} is not here")

# What OpenCompass's rule accepts of them: x=5 for 5, and another power of a unit, which it drops.
ACCEPTED = {
    "another's answer": ["The answer is $\\boxed{x=5}$."],
    "one digit changed": [
        "The answer is $\\boxed{864 \\mbox{ inches}^3}$.",
        "The answer is $\\boxed{15\\mbox{ cm}^3}$.",
    ],
}


def _agreeing(programs: bool) -> int:
    chosen = [case for case in cases(FOLDER) if case.shape.runs_programs == programs]
    for case, extracted, correct in judged(chosen):
        assert (extracted, correct) == (case.extracted, case.correct), (case.label, case.line, case.text)
    return len(chosen)


def test_every_recorded_verdict_on_a_text_is_ours_too() -> None:
    assert _agreeing(programs=False) == 964


@pytest.mark.slow
def test_every_recorded_verdict_on_a_program_is_ours_too() -> None:
    assert _agreeing(programs=True) == 303


def test_every_recorded_prompt_is_ours_to_the_letter() -> None:
    compared = 0
    for label, theirs, ours in prompts(FOLDER):
        assert theirs in ours, label
        compared += 1
    assert compared == 100


def _counted(programs: bool) -> int:
    compared = 0
    for count in counts(FOLDER):
        if count.shape.runs_programs == programs:
            refused = count.ours()
            assert count.agrees(refused), (count.label, refused)
            compared += 1
    return compared


@pytest.mark.slow
def test_gold_answers_are_accepted_as_often_as_recorded() -> None:
    assert _counted(programs=False) + _counted(programs=True) == 34


@pytest.mark.parametrize(
    ("task", "accepted"), [("gsm8k", 1319), ("math", 500), ("arc-challenge", 1165)]
)
def test_every_reference_answer_of_a_real_file_is_accepted(task: str, accepted: int) -> None:
    shape = recorded.shape(task)
    rows = shape.prepare(recorded.read(DATA / gold.FILES[task]))
    assert shape.reference is not None
    grades = shape.grade([(row, shape.reference(row)) for row in rows])
    assert (sum(grades), len(rows)) == (accepted, accepted)


@pytest.mark.parametrize(
    ("evaluator", "task"),
    [
        ("opencompass", "gsm8k"),
        ("opencompass", "math"),
        ("opencompass", "arc-challenge"),
        ("lm-eval", "gsm8k"),
        ("lm-eval", "arc-challenge"),
    ],
)
def test_wrong_answers_to_real_examples_are_refused(evaluator: str, task: str) -> None:
    shape = recorded.shape(task, evaluator)
    for kind, pairs in wrong_answers(evaluator, task, recorded.read(DATA / gold.FILES[task])):
        assert len(pairs) > 400
        for judge in shape.judges:
            grades = shape.grade(pairs, judge=judge)
            accepted = [text for (_, text), grade in zip(pairs, grades, strict=True) if grade]
            assert accepted == (ACCEPTED.get(kind, []) if task == "math" else []), (kind, judge)


def test_the_command_fails_where_one_verdict_is_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (tmp_path / "data").symlink_to(DATA)
    shutil.copy(FOLDER / "messages.jsonl", folder)
    lines = (FOLDER / "verdicts.jsonl").read_text("utf-8").splitlines()[:40]
    (folder / "verdicts.jsonl").write_text("\n".join(lines), "utf-8")
    assert verdicts.main(folder, quick=True) == 0
    changed = json.loads(lines[7])
    lines[7] = json.dumps({**changed, "correct": not changed["correct"]})
    (folder / "verdicts.jsonl").write_text("\n".join(lines), "utf-8")
    assert verdicts.main(folder, quick=True) == 1
    assert "DISAGREES opencompass gsm8k, line 8" in capsys.readouterr().out

"""Worked examples: found in the user's file, in an evaluator's own file or among training rows, and never made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.tasks.published import needs, shape, shots
from dllm_decode.tasks.published.shots import shots_for

TRAIN = [{"question": f"What is {n} + {n}?", "answer": f"#### {2 * n}"} for n in range(20)]


def _lines(path: Path, count: int) -> Path:
    lines = [json.dumps({"user": f"q{n}", "assistant": f"a{n}"}) for n in range(count)]
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_a_named_file_of_lines_is_used_and_said_not_to_be_the_published_one(tmp_path: Path) -> None:
    worked = shots_for(shape("gsm8k"), TRAIN[:3], _lines(tmp_path / "mine.jsonl", 4))
    assert [shot.user for shot in worked.shots[2]] == ["q0", "q1", "q2", "q3"]
    assert worked.origin.endswith("mine.jsonl") and worked.published is False


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mine.jsonl: opencompass/gsm8k shows 4 worked examples, this holds 3"):
        shots_for(shape("gsm8k"), TRAIN[:1], _lines(tmp_path / "mine.jsonl", 3))


def test_a_line_that_is_no_example_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"user": "q", "assistant": "a"}\n{"question": "q"}', "utf-8")
    with pytest.raises(DataError, match="line 2: expected texts `user` and `assistant`, got question"):
        shots_for(shape("gsm8k"), TRAIN[:1], path)


def test_an_opencompass_config_is_read_and_not_run(tmp_path: Path) -> None:
    turns = "".join(f"dict(role='HUMAN', prompt='q{n}\\n'), dict(role='BOT', prompt=\"a{n}\"),\n" for n in range(4))
    path = tmp_path / "config.py"
    path.write_text(f"raise SystemExit\nx = dict(round=[{turns}dict(role='HUMAN', prompt='{{question}}')])", "utf-8")
    worked = shots_for(shape("gsm8k"), TRAIN[:1], path)
    assert [(shot.user, shot.assistant) for shot in worked.shots[0]] == [(f"q{n}\n", f"a{n}") for n in range(4)]


def test_five_gpqa_examples_are_read_out_of_one_text(tmp_path: Path) -> None:
    asked = "".join(f"Question: q{n}?\nChoices:\n(A) x\nThe correct answer is (A)\n\n" for n in range(5))
    path = tmp_path / "config.py"
    path.write_text(f"prompt = {asked!r}", "utf-8")
    worked = shots_for(shape("gpqa"), [{}], path)
    assert worked.shots[0][4].user == "Question: q4?\nChoices:\n(A) x"
    assert worked.shots[0][4].assistant == "The correct answer is (A)"


def test_a_harness_task_file_is_read_though_its_functions_are_unknown(tmp_path: Path) -> None:
    samples = [{"question": f"q{n}", "target": f"The answer is {n}."} for n in range(8)]
    path = tmp_path / "task.yaml"
    text = f"process: !function utils.process\nfewshot_config: {json.dumps({'samples': samples})}"
    path.write_text(text, "utf-8")
    worked = shots_for(shape("gsm8k_cot", "lm-eval"), [{}], path)
    assert worked.shots[0][1].user == "Q: q1\nA:" and worked.shots[0][1].assistant == "The answer is 1."


def test_a_harness_module_is_read_and_not_run(tmp_path: Path) -> None:
    rows = [{"problem": f"p{n}", "solution": f"It is $\\boxed{{{n}}}$."} for n in range(4)]
    path = tmp_path / "utils.py"
    path.write_text(f"raise SystemExit\ndef list_fewshot_samples():\n    return {rows!r}", "utf-8")
    worked = shots_for(shape("math", "lm-eval"), [{}], path)
    assert worked.shots[0][3].assistant.endswith("Final Answer: The final answer is $3$. I hope it is correct.")


def test_an_installed_evaluator_is_looked_into_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lm_eval" / "tasks" / "minerva_math"
    folder.mkdir(parents=True)
    (tmp_path / "lm_eval" / "__init__.py").write_text("raise SystemExit", "utf-8")
    rows = [{"problem": "p", "solution": "$\\boxed{1}$"}] * 4
    (folder / "utils.py").write_text(f"def list_fewshot_samples():\n    return {rows!r}", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    assert shots_for(shape("math", "lm-eval"), [{}]).origin == str(folder / "utils.py")
    assert "lm_eval" not in sys.modules


def test_training_rows_are_the_examples_where_nothing_else_is_had() -> None:
    worked = shots_for(shape("gsm8k"), TRAIN[10:12], train=TRAIN)
    assert worked.shots[0] == worked.shots[1] and worked.published is False
    assert worked.shots[0][3].assistant == "\nThe answer is 6\n"
    assert worked.origin == "the data set's own training rows"


def test_the_harness_draws_other_training_rows_for_each_question() -> None:
    gsm8k = shape("gsm8k", "lm-eval")
    worked = shots_for(gsm8k, TRAIN[:4], train=TRAIN)
    again = shots_for(gsm8k, TRAIN[:2], train=TRAIN)
    assert len({tuple(shots) for shots in worked.shots}) == 4
    assert worked.shots[:2] == again.shots


@pytest.fixture(autouse=True)
def no_evaluator(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What is installed here must not decide what is found, but where a test installs something itself."""
    if "an_installed" not in request.node.name:
        monkeypatch.setattr(shots, "_installed", lambda place: None)


def test_mbpps_own_examples_are_its_rows_2_3_and_4() -> None:
    rows = [{"task_id": n, "text": f"t{n}", "code": f"c{n}", "test_list": [f"assert {n}"]} for n in range(1, 10)]
    worked = shots_for(shape("mbpp", "lm-eval"), rows[:1], train=rows)
    assert [shot.assistant for shot in worked.shots[0]] == ["c2\n[DONE]", "c3\n[DONE]", "c4\n[DONE]"]


def test_examples_that_cannot_be_had_name_every_way_to_have_them() -> None:
    with pytest.raises(DataError) as caught:
        shots_for(shape("gpqa"), [{}])
    message = str(caught.value)
    assert message.startswith("opencompass/gpqa shows 5 worked examples, which are no part of this package")
    assert "opencompass's own configs/datasets/gpqa/gpqa_fewshot_gen.py" in message
    assert "training" not in message
    with pytest.raises(DataError, match="or name the data set's training file"):
        shots_for(shape("gsm8k"), [{}])


def test_a_shape_without_examples_needs_no_file() -> None:
    worked = shots_for(shape("math"), [{}, {}])
    assert worked.shots == [[], []] and worked.published is True


def test_a_library_that_is_not_installed_names_the_extra() -> None:
    with pytest.raises(ConfigError, match=r"reading minds needs no_such_library.*dllm-decode\[benchmarks\]"):
        needs.need("no_such_library.part", "reading minds")

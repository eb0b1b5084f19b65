"""OpenCompass's prompts, extraction and verdicts on rows of our own."""

from __future__ import annotations

import pytest

from dllm_decode.errors import ConfigError, DataError
from dllm_decode.tasks.published import SHAPES, Shot, shape
from dllm_decode.tasks.published.needs import time_limit
from tests.support.subprocess_runner import run_programs

EGGS = {"question": "Two hens lay three eggs each. How many?", "answer": "2 * 3 = <<2*3=6>>6\n#### 1,006"}
MOON = {
    "question": {
        "stem": "What lights the moon?",
        "choices": [{"label": str(n), "text": t} for n, t in enumerate(["itself", "the sun", "us", "Mars"], 1)],
    },
    "answerKey": "2",
}
DOUBLE = {
    "task_id": 600,
    "text": "Double a number.",
    "code": "def double(n):\r\n    return 2 * n",
    "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
}
TRIPLE = {
    "prompt": 'def triple(n):\n    """Three times n."""\n',
    "canonical_solution": "    return 3 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 6\n    assert candidate(0) == 0\n",
    "entry_point": "triple",
}
SPRING = {
    "Question": "Is \\mathbf{A} a matrix?",
    "Correct Answer": "yes",
    "Incorrect Answer 1": "no",
    "Incorrect Answer 2": "never",
    "Incorrect Answer 3": "perhaps",
}


def test_examples_stand_before_the_question_as_turns() -> None:
    turns = shape("gsm8k").messages(EGGS, [Shot("one?", "1")])
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1]["content"].endswith("How many?\nLet's think step by step\nAnswer:")


def test_a_training_row_becomes_an_example_without_the_calculators_notes() -> None:
    examples = shape("gsm8k").examples
    assert examples is not None and examples.shot is not None
    assert examples.shot(EGGS).assistant == "2 * 3 = 6\nThe answer is 1006\n"


@pytest.mark.parametrize(
    ("text", "extracted", "right"),
    [
        ("It is 1006", "1006", True),
        ("It is 1006.0", "1006.0", True),
        ("It is 1,006", "006", False),
        ("It is 1007", "1007", False),
        ("It is -1006", "-1006", False),
        ("1006\nQuestion: and then? 7", "1006", True),
        ("no number", "NULL", False),
        ("", "NULL", False),
    ],
)
def test_the_last_number_of_a_gsm8k_answer_counts(text: str, extracted: str, right: bool) -> None:
    gsm8k = shape("gsm8k")
    assert gsm8k.judge.extract(EGGS, text) == extracted
    assert gsm8k.grade([(EGGS, text)]) == [float(right)]


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("\\frac{1}{2}", "so \\boxed{\\dfrac12}", True),
        ("\\frac{1}{2}", "so \\boxed{1/2}", True),
        ("\\frac{1}{2}", "so \\boxed{0.5}", False),
        ("\\frac{1}{2}", "so \\boxed{2/1}", False),
        ("3", "\\boxed{2} and then \\boxed{3}", True),
        ("3", "\\boxed{{3}}", True),
        ("3", "\\boxed{3", False),
        ("12", "First this. The final answer is $12$. Then that.", True),
        ("10\\sqrt{3}", "\\boxed{10\\sqrt3}", True),
        ("10\\sqrt{3}", "\\boxed{10\\sqrt{2}}", False),
        ("x+1", "\\boxed{y=x+1}", True),
        ("3", "", False),
    ],
)
def test_mathematical_answers_are_compared_in_their_normal_forms(gold: str, text: str, right: bool) -> None:
    assert shape("math500").grade([({"problem": "?", "answer": gold}, text)]) == [float(right)]


def test_the_gold_answer_of_a_math_row_is_its_solutions_last_box() -> None:
    row = {"problem": "?", "solution": "First \\boxed{1}, then \\boxed{2}."}
    assert shape("math").grade([(row, "\\boxed{2}"), (row, "\\boxed{1}")]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("The answer is (B).", "B"),
        ("The answer is **B** since C is wrong", "B"),
        ("答案是B", "B"),
        ("B. the sun, not us", "B"),
        ("It is A because of the sun: C", "C"),
        ("neither", ""),
        ("", ""),
    ],
)
def test_the_letter_of_a_multiple_choice_answer(text: str, letter: str) -> None:
    arc = shape("arc-challenge")
    assert arc.judge.extract(MOON, text) == letter
    assert arc.grade([(MOON, text)]) == [float(letter == "B")]


def test_an_arc_question_is_read_in_three_forms() -> None:
    options = ["itself", "the sun", "us", "Mars"]
    hub = {
        "question": "What lights the moon?",
        "choices": {"text": options, "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    }
    answers = " ".join(f"Answer{n}: {option}" for n, option in enumerate(options, 1))
    instruction = {
        "instruction": f"Please choose the correct answer to the question: What lights the moon?\n\n{answers}"
        "\n\nAnswer format: answer1/answer2/answer3/answer4",
        "answer": "answer2",
    }
    arc = shape("arc-challenge")
    asked = [arc.messages(row, ()) for row in (MOON, hub, instruction)]
    assert asked[0] == asked[1] == asked[2]
    assert asked[0][0]["content"].endswith("A. itself\nB. the sun\nC. us\nD. Mars\nAnswer:")
    assert arc.grade([(row, "B") for row in (MOON, hub, instruction)]) == [1.0, 1.0, 1.0]


def test_questions_without_four_options_are_left_out() -> None:
    three = {"question": "?", "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]}, "answerKey": "A"}
    assert shape("arc-challenge").prepare([three, MOON]) == [MOON]


def test_a_humaneval_answer_is_right_as_a_whole_function_and_never_as_a_bare_body() -> None:
    whole = TRIPLE["prompt"] + TRIPLE["canonical_solution"]
    texts = [
        f"Here:\n```python\n{whole}```\nDone.",
        whole,
        TRIPLE["canonical_solution"],
        whole.replace("3 * n", "4 * n"),
        f"```python\n{whole}",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "",
    ]
    grades = shape("humaneval").grade([(TRIPLE, text) for text in texts], run_programs)
    assert grades == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_mbpp_code_is_found_between_marks_in_a_fence_and_bare() -> None:
    mbpp = shape("mbpp")
    assert mbpp.reference is not None
    texts = [
        mbpp.reference(DOUBLE),
        "[BEGIN]\ndef double(n):\n    return n + n\n[DONE]",
        "Sure:\n```python\ndef double(n):\n    return n + n\n```",
        "def double(n):\n    return n + n",
        "def double(n):\n    return n * 3",
        "def double(n):\n    return n + n  # DONE: it ends here\nraise ValueError",
        "",
    ]
    grades = mbpp.grade([(DOUBLE, text) for text in texts], run_programs)
    assert grades == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0]


def test_a_canvas_of_newlines_behind_a_fence_is_read_at_once() -> None:
    with time_limit(5.0):
        assert shape("mbpp").judge.extract(DOUBLE, "```" + "\n" * 3000) == ""


def test_programs_are_not_judged_without_a_runner() -> None:
    with pytest.raises(ConfigError, match="opencompass/mbpp: answers are programs and nothing is given to run them"):
        shape("mbpp").grade([(DOUBLE, "")])


def test_gpqa_options_are_shuffled_the_same_each_time_and_their_texts_reach_into_the_question() -> None:
    gpqa = shape("gpqa")
    rows = gpqa.prepare([SPRING] * 4)
    assert rows == gpqa.prepare([SPRING] * 4)
    assert all(row[row["answer"]] == "yes" for row in rows)
    assert len({row["answer"] for row in rows}) > 1
    assert f"Is \\mathbf{rows[0]['A']} a matrix?" in gpqa.messages(rows[0], ())[0]["content"]
    letter = rows[0]["answer"]
    wrong = "ABCD".replace(letter, "")[0]
    texts = [f"The correct answer is ({letter})", f"the correct answer is ({wrong})", letter, ""]
    assert gpqa.grade([(rows[0], text) for text in texts]) == [1.0, 0.0, 0.0, 0.0]


def test_mmlu_pro_leaves_out_options_that_are_none_but_keeps_letters() -> None:
    row = {"question": "Even?", "options": ["1", "N/A", "2"], "answer": "C"}
    mmlu_pro = shape("mmlu-pro")
    assert mmlu_pro.messages(row, ())[0]["content"].endswith("Options:\n\nA. 1\nC. 2")
    texts = ["So.\nANSWER: C", "answer: c", "ANSWER: A", "Answer: Certainly not", ""]
    assert mmlu_pro.grade([(row, text) for text in texts]) == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_an_unknown_benchmark_or_shape_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown benchmark of shape opencompass 'gsm9k'. Did you mean 'gsm8k'"):
        shape("gsm9k")
    with pytest.raises(ConfigError, match="unknown prompt shape 'helm'"):
        shape("gsm8k", "helm")


def test_a_row_without_the_field_names_what_it_has() -> None:
    with pytest.raises(DataError, match="a row needs 'problem' or 'question', this one has 'text'"):
        shape("math").messages({"text": "?"}, ())


def test_every_shape_says_what_it_gets_wrong_and_has_a_rule() -> None:
    for shapes in SHAPES.values():
        for found in shapes.values():
            assert found.defects and found.judges, found.name
            assert all((rule.correct is None) != (rule.program is None) for rule in found.judges.values())

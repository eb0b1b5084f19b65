"""lm-evaluation-harness's prompts, extraction and verdicts on rows of our own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from dllm_decode.tasks.published import Shot, cut_at_stops, shape
from dllm_decode.tasks.published.needs import time_limit
from tests.support.subprocess_runner import run_programs
from tests.tasks.published.test_opencompass import DOUBLE, EGGS, MOON, SPRING, TRIPLE

TASKS = ("gsm8k", "math", "humaneval", "mbpp", "arc-challenge", "gpqa", "mmlu-pro", "ifeval")


def test_the_three_forms_hold_the_same_text() -> None:
    gsm8k = shape("gsm8k", "lm-eval")
    shots = [Shot("Question: one?\nAnswer:", "#### 1")]
    assert gsm8k.prompt is not None and gsm8k.one_turn is not None
    text = gsm8k.prompt(EGGS, shots)
    assert text.startswith("Question: one?\nAnswer: #### 1\n\nQuestion: Two hens") and text.endswith("\nAnswer:")
    assert gsm8k.one_turn(EGGS, shots) == [{"role": "user", "content": text}]
    assert [turn["role"] for turn in gsm8k.messages(EGGS, shots)] == ["user", "assistant", "user"]


def test_a_begun_answer_is_the_assistants_last_turn() -> None:
    asked = shape("arc-challenge", "lm-eval").messages(MOON, ())
    assert [turn["role"] for turn in asked] == ["user", "assistant"]
    assert asked[-1]["content"] == "The best answer is"
    assert "\\nA. itself\\nB. the sun" in asked[0]["content"] and "\n" not in asked[0]["content"]


def test_a_description_is_a_system_message_in_chat_and_the_beginning_of_a_plain_prompt() -> None:
    row = {"question": "Even?", "options": ["1", "2"], "answer": "B", "category": "math", "cot_content": ""}
    mmlu_pro = shape("mmlu-pro", "lm-eval")
    assert mmlu_pro.prompt is not None
    system = mmlu_pro.messages(row, ())[0]
    assert system["role"] == "system" and "about math" in system["content"]
    assert mmlu_pro.prompt(row, ()).startswith(system["content"] + "Question:\nEven?")


def test_mmlu_pro_shows_examples_of_the_rows_own_category() -> None:
    train = [
        {"question": name, "options": ["1"], "category": name, "cot_content": f"A: Let's think step by step. {name}"}
        for name in ("law", "math", "law")
    ]
    examples = shape("mmlu-pro", "lm-eval").examples
    assert examples is not None and examples.shot is not None
    chosen = examples.choose(train, [{"category": "math"}, {"category": "law"}], 5)
    assert [[examples.shot(row).assistant for row in rows] for rows in chosen] == [["math"], ["law", "law"]]


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("so\n#### 1,006", True, True),
        ("so\n#### 1006.0", False, False),
        ("It is $1,006.", False, True),
        ("#### 1006 or 7", True, False),
        ("#### 1007", False, False),
        ("", False, False),
    ],
)
def test_gsm8k_is_judged_by_two_rules(text: str, strict: bool, flexible: bool) -> None:
    gsm8k = shape("gsm8k", "lm-eval")
    assert gsm8k.grade([(EGGS, text)], judge="strict-match") == [float(strict)]
    assert gsm8k.grade([(EGGS, text)], judge="flexible-extract") == [float(flexible)]


def test_the_strict_rule_of_chain_of_thought_wants_a_character_behind_the_number() -> None:
    cot = shape("gsm8k_cot_zeroshot", "lm-eval")
    assert cot.grade([(EGGS, "The answer is 1006."), (EGGS, "The answer is 1006")]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("gold", "answer", "exact", "by_value"),
    [
        ("\\frac{1}{2}", "$\\frac12$", True, True),
        ("\\frac{1}{2}", "$\\frac{2}{4}$", True, True),
        ("\\frac{1}{2}", "$\\frac{2}{1}$", False, False),
        ("(1,2)", "$(1,2)$", True, True),
        ("(1,2)", "$(2,1)$", False, False),
        ("1000", "$1,000$", True, True),
        ("3", "$3, 5, 7$", True, False),
    ],
)
def test_mathematical_answers_are_compared_by_value(gold: str, answer: str, exact: bool, by_value: bool) -> None:
    math = shape("math", "lm-eval")
    row = {"problem": "?", "answer": gold}
    text = f"Final Answer: The final answer is {answer}. I hope it is correct."
    assert math.grade([(row, text)], judge="exact_match") == [float(exact)]
    assert math.grade([(row, text)], judge="math_verify") == [float(by_value)]
    assert math.grade([(row, f"$\\boxed{{{gold}}}$")], judge="exact_match") == [0.0]


def test_mathematical_answers_are_compared_in_any_thread() -> None:
    math, row = shape("math", "lm-eval"), {"problem": "?", "answer": "\\frac{1}{2}"}
    text = "Final Answer: The final answer is $0.5$. I hope it is correct."
    with ThreadPoolExecutor(1) as pool:
        grades = [pool.submit(math.grade, [(row, text)], judge=judge).result() for judge in math.judges]
    assert grades == [[1.0], [1.0]]


def test_what_takes_too_long_to_compare_is_ended() -> None:
    with pytest.raises(TimeoutError), time_limit(0.05):
        while True:
            with suppress(Exception):
                list(range(1000))


def test_a_solutions_box_may_stand_without_braces() -> None:
    row = {"problem": "?", "solution": "It is $\\boxed 2$."}
    text = "Final Answer: The final answer is $2$. I hope it is correct."
    assert shape("math", "lm-eval").grade([(row, text), (row, text.replace("2", "3"))]) == [1.0, 0.0]


def test_arc_wants_the_letter_alone() -> None:
    texts = [" B.", "(b)", "B. the sun", "C", ""]
    assert shape("arc-challenge", "lm-eval").grade([(MOON, text) for text in texts]) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_gpqa_is_judged_by_two_rules_and_quoted_options_count() -> None:
    gpqa = shape("gpqa", "lm-eval")
    row = gpqa.prepare([SPRING])[0]
    letter = row["answer"]
    strict = [f"The answer is ({letter}).", f"The answer is ({letter}), so there", f"({letter})"]
    assert gpqa.grade([(row, text) for text in strict]) == [1.0, 0.0, 0.0]
    flexible = [f"({letter})", "It is Yes!", "I would say: never", ""]
    assert gpqa.grade([(row, text) for text in flexible], judge="flexible-extract") == [1.0, 1.0, 0.0, 0.0]


def test_code_continues_the_prompt_or_is_cut_at_the_fence() -> None:
    body = TRIPLE["canonical_solution"]
    whole = f"```python\n{TRIPLE['prompt']}{body}```"
    humaneval, instruct = shape("humaneval", "lm-eval"), shape("humaneval_instruct", "lm-eval")
    texts = [body, f"{body}```\nDone.", whole, body.replace("3", "4"), ""]
    assert humaneval.grade([(TRIPLE, text) for text in texts], run_programs) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert instruct.grade([(TRIPLE, text) for text in texts], run_programs) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_mbpp_loses_a_def_behind_the_backticks_it_puts() -> None:
    code = DOUBLE["code"]
    texts = [code, f"\n{code}\n```", f"{code}\n```", ""]
    pairs = [(DOUBLE, text) for text in texts]
    assert shape("mbpp", "lm-eval").grade(pairs, run_programs) == [1.0, 0.0, 0.0, 0.0]
    assert shape("mbpp_instruct", "lm-eval").grade(pairs, run_programs) == [0.0, 1.0, 0.0, 0.0]


def test_an_answer_ends_at_the_first_of_its_stop_strings() -> None:
    assert cut_at_stops("a.b\n\nc", ("\n\n", ".")) == "a"
    assert cut_at_stops("abc", ("\n\n", ".")) == "abc"


def test_our_names_find_the_harnesss_tasks() -> None:
    assert [shape(task, "lm-eval").evaluator for task in TASKS] == ["lm-eval"] * len(TASKS)

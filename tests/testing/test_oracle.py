"""The oracle: on every benchmark, accuracy and forwards are what was planned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.data.prompt import user
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.plugins.registry import load_registry
from dllm_decode.programs import permitted
from dllm_decode.strategy.settings import published_settings
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Example
from dllm_decode.testing.oracle import Doubt, oracle

FILES = {
    "gsm8k": "gsm8k_test.jsonl",
    "math500": "math500.json",
    "arc-challenge": "arc_challenge_test_llmadapters.json",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp_test.jsonl",
}
ROWS = {
    "gpqa": lambda n: {
        "Question": f"Which is {n}?",
        "Correct Answer": f"{n}",
        **{f"Incorrect Answer {k}": f"{n}{k}" for k in (1, 2, 3)},
    },
    "mmlu-pro": lambda n: {
        "question_id": n,
        "question": f"Which is {n}?",
        "options": [f"{n}", "none", "N/A"],
        "answer": "A",
        "answer_index": 0,
        "category": "math",
        "cot_content": "A: Let's think step by step. The answer is (A).",
    },
    "ifeval": lambda n: {
        "key": n,
        "prompt": f"Write {n} words without commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    "math": lambda n: {"problem": f"What is {n}+1?", "solution": f"It is $\\boxed{{{n + 1}}}$."},
}
STRATEGIES = ("llada", "said", "said-block", "fast-dllm")

# One kind of trouble for each example in turn; columns 0 and 2 are SAID's scaffold, 1 and 3 its detail.
NONE: tuple[Doubt, ...] = ()
UNSURE = (Doubt(2), Doubt(3), Doubt(5))
HASTY = (Doubt(0, until=1),)
MISTAKEN = (Doubt(0, always=True),)
PLAN = (NONE, UNSURE, HASTY, NONE, MISTAKEN)


def steps_of(name: str, length: int) -> int | None:
    """Return a strategy's steps: one token a step for LLaDA's rule, unless that takes minutes."""
    whole = None if length <= 256 else length // 4
    return {"llada": whole, "said": length // 2, "said-block": length // 4, "fast-dllm": None}[name]


def planned(name: str, doubts: Sequence[Doubt], length: int) -> tuple[bool, int]:
    """Return whether an answer is right, and its forwards."""
    if name == "llada":  # the least sure come last, when all others are decided
        return doubts != MISTAKEN, steps_of(name, length) or length
    if name == "fast-dllm":  # a forward for all that is sure in a block, and one for each doubt
        return doubts != MISTAKEN, length // 32 + len(doubts)
    right = doubts not in (MISTAKEN, HASTY)  # column 0 is decided before column 1
    if name == "said-block":
        return right, length // 4
    hard = sum(doubt.column % 2 for doubt in doubts)
    return right, length // 2 + 1 + min(hard, 3)


def answers_of(name: str, examples: Sequence[Example]) -> list[str]:
    return ["no comma here" if name == "ifeval" else one.reference for one in examples]


def check(name: str, path: Path, limit: int, strategies: Sequence[str] = STRATEGIES) -> None:
    task = load_registry().task(name)
    examples = task.load(path)[:limit]
    answers = answers_of(name, examples)
    assert all(answers)
    with permitted():
        # Of MBPP's published programs a few do not pass their own tests.
        accepted = task.score_many([(one, text) for one, text in zip(examples, answers, strict=True)])
    assert sum(accepted) >= 0.9 * limit
    doubts = [PLAN[place % len(PLAN)] for place in range(limit)]
    lm = oracle(examples, doubts, answers=answers)
    length = -(-(max(len(text.encode()) for text in answers) + 1) // 32) * 32
    for strategy in strategies:
        steps = steps_of(strategy, length)
        done = evaluate(
            lm, task, Strategy.load(strategy, gen_length=length, steps=steps), data=path, limit=limit,
            gen_length=length, cache=False, run_programs=True,
        )  # fmt: skip
        found = [(outcome.correct, outcome.forward_passes) for outcome in done.outcomes]
        expected = [planned(strategy, one, length) for one in doubts]
        assert found == [(right and ok, cost) for (right, cost), ok in zip(expected, accepted, strict=True)], strategy
        assert done.record.chat == "template"


def made_up(name: str, folder: Path, count: int) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(ROWS[name](n)) + "\n" for n in range(count)))
    return path


@pytest.mark.parametrize("name", ["gsm8k", "math500", "arc-challenge"])
def test_accuracy_and_forwards_are_what_was_planned(data_folder: Path, name: str) -> None:
    check(name, data_folder / FILES[name], 5)


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_programs_are_right_where_it_was_planned(data_folder: Path, name: str) -> None:
    check(name, data_folder / FILES[name], 5, ("fast-dllm",))


@pytest.mark.parametrize("name", ROWS)
def test_made_up_rows_stand_in_for_files_that_are_not_here(tmp_path: Path, name: str) -> None:
    if name == "ifeval":
        pytest.importorskip("langdetect")
    check(name, made_up(name, tmp_path, 5), 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_fifty_real_examples_of_every_benchmark(data_folder: Path, name: str) -> None:
    check(name, data_folder / FILES[name], 50)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k", "arc-challenge"])
@pytest.mark.parametrize("method", ["said", "said-block"])
def test_published_settings_cost_what_they_say_on_fifty_real_examples(data_folder: Path, name: str, method: str) -> None:
    path, task = data_folder / FILES[name], load_registry().task(name)
    examples = task.load(path)[:50]
    doubts = [PLAN[place % len(PLAN)] for place in range(50)]
    done = evaluate(oracle(examples, doubts), task, f"{method}/{name}", data=path, limit=50, cache=False)
    setting = published_settings()[f"{method}/{name}"]
    assert done.record.strategy.gen_length == setting.gen_length
    for outcome, one in zip(done.outcomes, doubts, strict=True):
        hard = min(setting.hard_steps or 0, sum(doubt.column % 2 for doubt in one))
        assert outcome.forward_passes == setting.steps + (1 + hard if method == "said" else 0)
        # Either decides column 0 before column 1.
        assert outcome.correct == (one not in (MISTAKEN, HASTY))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_fifty_made_up_examples_of_the_others(tmp_path: Path, name: str) -> None:
    if name == "ifeval":
        pytest.importorskip("langdetect")
    check(name, made_up(name, tmp_path, 50), 50)


def example(text: str, answer: str) -> Example:
    return Example(text, [user(text)], answer, {})


def test_rows_of_a_batch_are_told_apart_whatever_their_padding() -> None:
    pairs = [("a", "first"), ("a longer one", "second"), ("b", "third")]
    lm = oracle([example(*pair) for pair in pairs])
    texts = lm.generate([[user(text)] for text, _ in reversed(pairs)], "fast-dllm", gen_length=32).texts
    assert texts == ["third", "second", "first"]


def test_a_prompt_it_was_not_made_for_is_an_error() -> None:
    lm = oracle([example("a", "b")])
    with pytest.raises(ConfigError, match="does not know the prompt of row 0"):
        lm.generate([[user("c")]], gen_length=4)
    with pytest.raises(ConfigError, match="same prompt"):
        oracle([example("a", "b"), example("a", "c")])


def test_answers_with_letters_of_several_bytes_come_back() -> None:
    lm = oracle([example("a", "Größe: 5 €")])
    assert lm.generate([[user("a")]], "said", gen_length=16, steps=4).texts == ["Größe: 5 €"]


def test_without_a_template_turns_are_joined() -> None:
    examples = [Example("a", "plain text", "yes", {})]
    lm = oracle(examples, chat_template=False)
    assert not lm.has_chat_template
    assert lm.generate("plain text", "fast-dllm", gen_length=8).texts == ["yes"]


FACTORY = """
from pathlib import Path

from dllm_decode.plugins.registry import load_registry
from dllm_decode.testing.oracle import Doubt, oracle


def make():
    examples = load_registry().task("gsm8k").load(Path("gsm8k.jsonl"))
    return oracle(examples, [[Doubt(0, until=1)], [], [], []], fingerprint="one hasty of four")
"""


def test_the_command_line_takes_an_oracle_that_a_function_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_oracle_factory.py").write_text(FACTORY)
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(4)]
    Path("gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--model", "my_oracle_factory:make", "--task", "gsm8k", "--data", "gsm8k.jsonl", "--gen-length", "32", "--json"]
    assert main(["eval", "--strategy", "said-block/gsm8k", "--steps", "8", *common]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["accuracy"], record["forward_passes"], record["chat"]) == (0.75, 8, "template")
    assert main(["reproduce", "said", *common]) == 0
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert [(row["label"], row["accuracy"], row["forward_passes"]) for row in task["rows"]] == [
        ("LLaDA's rule", 1.0, 32), ("SAID", 0.75, 17), ("SAID-block", 0.75, 8), ("Fast-dLLM", 1.0, 1.25),
    ]  # fmt: skip
    assert main(["reproduce", "said", *common]) == 0
    (again,) = json.loads(capsys.readouterr().out)["tasks"]
    assert [row["record"]["resumed"] for row in again["rows"]] == [4] * 4
    assert [row["accuracy"] for row in again["rows"]] == [row["accuracy"] for row in task["rows"]]

"""Benchmarks as tasks: from published files to records, in every shape that is offered."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dllm_decode.cli import main
from dllm_decode.commands.options import find_task
from dllm_decode.data.prompt import prompt_text
from dllm_decode.errors import ConfigError, DataError
from dllm_decode.plugins.registry import load_registry
from dllm_decode.programs import permitted
from dllm_decode.tasks.benchmarks.benchmark import SHOWN, Benchmark
from dllm_decode.tasks.benchmarks.listed import BENCHMARKS

FILES = {
    "gsm8k": "gsm8k_test.jsonl",
    "math500": "math500.json",
    "arc-challenge": "arc_challenge_test_llmadapters.json",
    "humaneval": "HumanEval.jsonl.gz",
    "mbpp": "mbpp_test.jsonl",
}
MADE_UP: dict[str, list[dict[str, Any]]] = {
    "gpqa": [
        {
            "Question": f"Which is {n}?",
            "Correct Answer": f"{n}",
            **{f"Incorrect Answer {k}": f"{n}{k}" for k in (1, 2, 3)},
        }
        for n in range(20)
    ],
    "mmlu-pro": [
        {
            "question_id": n,
            "question": f"Which is {n}?",
            "options": [f"{n}", "none", "N/A"],
            "answer": "A",
            "answer_index": 0,
            "category": "math",
            "cot_content": "A: Let's think step by step. The answer is (A).",
        }
        for n in range(20)
    ],
    "ifeval": [
        {"key": n, "prompt": f"Write {n} words without commas.", "instruction_id_list": ["punctuation:no_comma"],
         "kwargs": [{}]}
        for n in range(20)
    ],
    "math": [{"problem": f"What is {n}+1?", "solution": f"It is $\\boxed{{{n + 1}}}$."} for n in range(20)],
}  # fmt: skip


def benchmark(name: str, evaluator: str = "opencompass") -> Benchmark:
    task = find_task(name, evaluator, None)
    assert isinstance(task, Benchmark)
    return task


def made_up(name: str, folder: Path) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in MADE_UP[name]))
    return path


@pytest.mark.parametrize(("name", "evaluator"), [*product(FILES, ("opencompass", "lm-eval"))])
def test_published_answers_are_right_and_others_are_not(
    data_folder: Path, name: str, evaluator: str
) -> None:
    task = benchmark(name, evaluator)
    examples = task.load(data_folder / FILES[name])
    # Every tenth of them, and few where programs are run; all of them are another test's.
    examples = examples[:6] if task.runs_programs else examples[::10]
    with permitted():
        assert all(task.score_many([(one, one.reference) for one in examples]))
        assert not any(task.score_many([(one, "") for one in examples]))


@pytest.mark.parametrize(("name", "evaluator"), [*product(MADE_UP, ("opencompass", "lm-eval"))])
def test_every_benchmark_is_read_asked_and_judged(tmp_path: Path, name: str, evaluator: str) -> None:
    task = benchmark(name, evaluator).over(made_up(name, tmp_path))
    tune, test = task.examples("tune"), task.examples("test")
    assert len(tune) + len(test) == 20
    assert not {prompt_text(one.prompt) for one in tune} & {prompt_text(one.prompt) for one in test}
    if name == "ifeval":
        pytest.importorskip("langdetect")
    assert all(task.score_many([(one, one.reference or "no comma here") for one in test]))
    assert task.settings()["shape"].startswith(f"{evaluator}/")


def test_every_benchmark_names_what_is_tuned_on() -> None:
    assert [task.name for task in BENCHMARKS] == [
        "gsm8k", "math500", "math", "humaneval", "mbpp", "arc-challenge", "gpqa", "mmlu-pro", "ifeval",
    ]  # fmt: skip
    for kind in BENCHMARKS:
        source = kind.source
        assert source is not None and bool(source.halves) != bool(source.tune and source.test)
        assert load_registry().task(kind.name).gen_length >= 256


def test_worked_examples_are_training_rows_and_are_not_asked_themselves(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 is {n + 1}.\n#### {n + 1}"} for n in range(200)]
    for name, part in (("train", rows[:150]), ("test", rows[150:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    task = benchmark("gsm8k").over(tmp_path)
    (first, *_), tune = task.examples("test"), task.examples("tune")
    assert [turn["role"] for turn in first.prompt] == ["user", "assistant"] * 4 + ["user"]  # type: ignore[index]
    assert "What is 0 + 1?" in prompt_text(first.prompt)
    assert len(tune) == 150 - 150 // 4 > 150 - SHOWN
    asked = {str(one.meta["question"]) for one in tune}
    shown = {row["question"] for row in rows[:4]}
    assert not asked & shown
    assert "training rows" in task.settings()["shots"]


def test_worked_examples_are_read_from_a_file(tmp_path: Path) -> None:
    shots = tmp_path / "shots.jsonl"
    shots.write_text("".join(json.dumps({"user": f"q{n}", "assistant": f"a{n}"}) + "\n" for n in range(4)))
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    (example,) = benchmark("gsm8k").shaped(shots=shots).load(rows)
    assert [turn["content"] for turn in example.prompt][:3] == ["q0", "a0", "q1"]  # type: ignore[index]
    shots.write_text('{"user": "q", "assistant": "a"}\n')
    with pytest.raises(DataError, match="shows 4 worked examples, this holds 1"):
        benchmark("gsm8k").shaped(shots=shots).load(rows)


def test_without_worked_examples_the_record_says_so(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    task = benchmark("gsm8k")
    (example,) = task.load(rows)
    assert len(example.prompt) == 1
    assert task.settings()["shots"].startswith("none of the 4")


def test_programs_wait_for_leave(data_folder: Path) -> None:
    task = benchmark("humaneval")
    example = task.load(data_folder / FILES["humaneval"])[0]
    with pytest.raises(ConfigError, match="--run-programs"):
        task.score(example, example.reference)


def test_a_shape_is_a_benchmark_s_and_one_that_is_known() -> None:
    with pytest.raises(ConfigError, match="has one form of its own"):
        find_task("line", "lm-eval", None)
    with pytest.raises(ConfigError, match="unknown prompt shape 'lm-evil'"):
        find_task("gsm8k", "lm-evil", None)


def test_a_row_of_something_else_is_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "What is 1 + 1?"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl:1: not as task 'gsm8k' reads it: .*'question'"):
        benchmark("gsm8k").load(rows)


def test_a_benchmark_runs_from_its_file_to_a_record(
    data_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = str(data_folder / FILES["gsm8k"])
    command = ["eval", "--task", "gsm8k", "--data", file, "--limit", "3", "--steps", "2", "--no-cache", "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["n"], record["chat"], record["split"]) == (3, "template", None)
    assert record["task_settings"]["shape"] == "opencompass/gsm8k"
    assert "instead of the task's 256" in record["notes"][0]
    assert main([*command, "--split", "test", "--shape", "lm-eval"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["examples"].startswith("test: gsm8k_test.jsonl ") and record["examples"].endswith("seeded half")
    assert record["task_settings"]["shape"] == "lm-eval/gsm8k"


def test_a_benchmark_is_searched_on_its_file(data_folder: Path, tmp_path: Path) -> None:
    file = str(data_folder / FILES["gsm8k"])
    # Short questions, for a model whose context is short.
    rows = [line for line in Path(file).read_text().splitlines() if len(line) < 420][:24]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    sizes = [f"--{name}=4" for name in ("examples", "verify-examples", "test-examples", "trials")]
    out = tmp_path / "out"
    command = ["search", "run", "--task", "gsm8k", "--data", str(tmp_path / "rows.jsonl"), "--out", str(out), *sizes]
    assert main([*command, "--strategy", "fast-dllm", "--no-presets"]) == 0
    text = (out / "strategy.yaml").read_text()
    assert "# shape: opencompass/gsm8k" in text
    assert "# examples: tune: rows.jsonl " in text and "a seeded half; test: rows.jsonl " in text
    assert "gen_length: 32" in text


def test_stop_strings_are_the_shape_s() -> None:
    assert benchmark("gsm8k").stop == ()
    assert "Question:" in benchmark("gsm8k", "lm-eval").stop

"""Generation tasks of lm-evaluation-harness as tasks of eval and search: rows, worked examples, filters, metrics."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError, DataError
from dllm_decode.tasks.base import Task
from dllm_decode.tasks.named import find_task
from tests.support.harness_tasks import arithmetic_rows, write_task


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tests, train = arithmetic_rows("test", 8), arithmetic_rows("tune", 12)
    # A row that is tested stands among the training rows as well.
    write_task(folder, "sums", tests, [*train, tests[3]], num_fewshot=2, fewshot_delimiter="\n\n")
    write_task(folder, "halves", tests)
    graded = [{"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}]
    write_task(folder, "corpus", tests, train, metric_list=graded)
    write_task(folder, "choices", tests, train, output_type="multiple_choice", doc_to_choice=["a", "b"])
    write_task(folder, "unsafe", tests, train, unsafe_code=True)
    return folder


def named(name: str, folder: Path) -> Task:
    return find_task(f"lm-eval:{name}", folder)


def test_the_harness_s_rows_are_tested_and_training_rows_that_are_not_among_them_are_tuned(folder: Path) -> None:
    task = named("sums,num_fewshot=0", folder)
    tested, tuned = task.examples("test"), task.examples("tune")
    assert [example.prompt for example in tested] == [row["question"] for row in arithmetic_rows("test", 8)]
    assert [example.prompt for example in tuned] == [row["question"] for row in arithmetic_rows("tune", 12)]
    assert [example.reference for example in tested] == [row["answer"] for row in arithmetic_rows("test", 8)]
    assert [example.id for example in task.examples("test", 2)] == ["test:0", "test:1"]
    assert task.origin("test").startswith("test: json test ")
    assert task.gen_length == 48 and task.stop == ("Question:",)


def test_a_task_without_training_rows_is_cut_into_halves_and_says_so(folder: Path) -> None:
    task = named("halves", folder)
    prompts = [{example.prompt for example in task.examples(split)} for split in ("tune", "test")]
    assert not prompts[0] & prompts[1]
    assert prompts[0] | prompts[1] == {row["question"] for row in arithmetic_rows("test", 8)}
    assert task.origin("tune").endswith("a seeded half")


def test_worked_examples_are_the_harness_s_own_and_never_the_question_itself(folder: Path) -> None:
    from lm_eval.tasks import TaskManager

    theirs = TaskManager(include_path=str(folder), include_defaults=False).load(["sums"])["tasks"]["sums"]
    theirs.set_fewshot_seed(seed=1234)
    theirs.build_all_requests()
    task = named("sums", folder)
    assert [example.prompt for example in task.examples("test")] == [one.args[0] for one in theirs.instances]
    # The first rows of a split are asked alike, however many are.
    assert task.examples("test", 3) == task.examples("test")[:3]
    for example in task.examples("tune"):
        assert isinstance(example.prompt, str)
        assert example.prompt.count(example.meta["doc"]["question"]) == 1


def test_prompts_may_be_turns_for_the_model_s_chat_template(folder: Path) -> None:
    first = named("sums,turns=true", folder).examples("test", 1)[0].prompt
    assert [turn["role"] for turn in first] == ["user", "assistant"] * 2 + ["user"]  # type: ignore[index]


def test_answers_are_judged_by_the_filter_and_metric_that_are_named(folder: Path) -> None:
    example = named("sums", folder).examples("test", 1)[0]
    number = example.reference.split("#### ")[1]
    strict, flexible = named("sums", folder), named("sums,filter=flexible-extract", folder)
    assert strict.score(example, f"so #### {number}") == 1
    assert strict.score(example, f"so {number}") == 0
    assert flexible.score(example, f"so {number}") == 1
    assert flexible.score(example, f"so {number}1") == 0
    assert strict.score(example, "") == 0


def test_no_text_upsets_the_judge_and_examples_can_be_written_down(folder: Path) -> None:
    task = named("sums", folder)
    example = task.examples("test", 1)[0]
    assert json.loads(json.dumps(dict(example.meta))) == dict(example.meta)
    for text in ("", " ", "\x00", "?" * 5000, "[MASK]", "####", "#### -", "{", "é漢字🙂", "-1e999"):
        assert task.score(example, text) == 0


def test_a_task_that_was_sent_to_another_process_judges_there(folder: Path) -> None:
    task = named("sums", folder)
    example = task.examples("test", 1)[0]
    sent = pickle.loads(pickle.dumps(task))
    assert "_kept" not in sent.__dict__
    assert sent.score(example, example.reference) == 1
    assert (sent.name, sent.settings()) == (task.name, task.settings())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("sumz", "unknown task 'sumz'. Did you mean 'sums'?", marks=pytest.mark.slow),
        ("sums,shots=3", "unknown option of a task 'shots'. Known: filter, gen_length, metric, num_fewshot, turns"),
        ("sums,num_fewshot=few", "num_fewshot should be a number of at least 0, got 'few'"),
        ("choices", "asks for multiple_choice, not for an answer to be decoded; dllm-decode lm-eval --tasks choices"),
        ("unsafe", "--run-programs, which runs programs apart"),
    ],
)
def test_what_is_no_such_task_is_refused_when_it_is_named(name: str, said: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        named(name, folder)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sums,filter=strikt", "has no filter 'strikt'; it has strict-match, flexible-extract"),
        ("sums,metric=acc", "has no metric 'acc'; it has exact_match"),
        ("corpus", "a score is a number from 0 to 1: choose another with ,metric=..."),
    ],
)
def test_a_judge_that_cannot_be_had_is_refused_before_anything_is_decoded(name: str, said: str, folder: Path) -> None:
    with pytest.raises(DataError) as refused:
        named(name, folder).examples("test", 1)
    assert said in str(refused.value)


def test_a_data_set_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    folder = write_task(tmp_path, "gone", arithmetic_rows("test", 2))
    (folder / "gone.jsonl").unlink()
    with pytest.raises(DataError, match="lm-eval: task 'gone' cannot be loaded: "):
        named("gone", folder).examples("test")


def test_a_folder_of_tasks_goes_with_tasks_of_the_harness_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--include-path: .* task 'line' is none of them"):
        find_task("line", tmp_path)
    with pytest.raises(ConfigError, match="say which of lm-evaluation-harness's tasks, e.g. lm-eval:gsm8k"):
        find_task("lm-eval")
    with pytest.raises(ConfigError, match="there is no folder"):
        find_task("lm-eval:sums", tmp_path / "nowhere")


@pytest.mark.slow
def test_a_task_of_the_harness_is_searched_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    write_task(tmp_path / "tasks", "sums", arithmetic_rows("test", 16), arithmetic_rows("tune", 32))
    where = ["--include-path", str(tmp_path / "tasks")]
    line = ["search", "run", "--task", "lm-eval:sums", *where, "--trials", "6", "--out", str(tmp_path / "out")]
    sizes = ["--examples", "8", "--verify-examples", "16", "--test-examples", "16", "--no-presets"]
    assert main([*line, *sizes, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["task"] == "lm-eval:sums"
    written = tmp_path / "out" / "strategy.yaml"
    assert main(["eval", "--task", "lm-eval:sums", *where, "--strategy", str(written), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 16

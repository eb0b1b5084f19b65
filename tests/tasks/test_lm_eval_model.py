"""Strategies inside lm-evaluation-harness: its own command line and ours, answers, stop texts, caches, refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.model import DiffusionLM
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.named import find_task
from dllm_decode.testing.checkpoints import write_small_model
from tests.support.harness_tasks import arithmetic_rows, write_task

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_test.jsonl"
ARGUMENTS = "pretrained=tiny,strategy=said,steps=12,dtype=float32"
ROOTS = [str(Path(__file__).parents[2] / folder) for folder in (".", "strategies", "search")]


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, train = arithmetic_rows("test", 20), arithmetic_rows("tune", 30)
    folder = write_task(tmp_path_factory.mktemp("tasks"), "sums", rows, train)
    return write_task(folder, "unsafe", rows, unsafe_code=True)


def ask(lm: Any, *requests: tuple[str, dict[str, Any]], places: list[int] | None = None) -> list[str]:
    from lm_eval.api.instance import Instance

    made = [
        Instance("generate_until", {}, request, 0, metadata=("asked", place, 1))
        for place, request in zip(places or range(len(requests)), requests, strict=True)
    ]
    return lm.generate_until(made)


def measure(lm: Any, *pairs: tuple[str, str]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    return lm.loglikelihood([Instance("loglikelihood", {}, pair, 0, metadata=("asked", 0, 1)) for pair in pairs])


def model(**arguments: Any) -> Any:
    from dllm_decode.harness.lm import HarnessLM

    return HarnessLM(**{"pretrained": "tiny", "dtype": "float32", "device": "cpu"} | arguments)


def evaluated(lm: Any, folder: Path, name: str) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(model=lm, tasks=[name], task_manager=tasks, bootstrap_iters=0)


def results(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    (scores,), (samples,) = folder.glob("**/results_*.json"), folder.glob("**/samples_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return json.loads(scores.read_text(encoding="utf-8")), lines


@pytest.mark.slow
def test_the_harness_s_own_command_line_and_ours_and_eval_give_the_same_answers_and_scores(
    folder: Path, tmp_path: Path
) -> None:
    words = ["--model_args", ARGUMENTS, "--tasks", "sums", "--include_path", str(folder), "--log_samples"]
    code = "import dllm_decode.harness.lm\nfrom lm_eval.__main__ import cli_evaluate as run\nrun()"
    theirs = [sys.executable, "-c", code]
    done = subprocess.run(
        [*theirs, "--model", "dllm-decode", *words, "--output_path", str(tmp_path / "theirs")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(ROOTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Batches of another size, as answers depend on none.
    assert main(["lm-eval", *words, "--batch_size", "8", "--output_path", str(tmp_path / "ours")]) == 0

    (their_scores, their_lines), (our_scores, our_lines) = results(tmp_path / "theirs"), results(tmp_path / "ours")
    assert len(our_lines) == 2 * 20
    key = ("doc_id", "filter", "resps", "filtered_resps", "exact_match", "arguments")
    assert [[line[name] for name in key] for line in our_lines] == [[line[name] for name in key] for line in their_lines]
    assert our_scores["results"] == their_scores["results"]
    score = our_scores["results"]["sums"]["exact_match,strict-match"]
    assert 0.2 < score < 1
    passes = our_scores["config"]["forward_passes_per_answer"]
    assert 6 < passes < 24 and passes == their_scores["config"]["forward_passes_per_answer"]

    out = tmp_path / "eval.json"
    line = ["eval", "--task", "lm-eval:sums", "--include-path", str(folder), "--strategy", "said", "--steps", "12"]
    assert main([*line, "--dtype", "float32", "--no-cache", "--out", str(out)]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    strict = [each for each in our_lines if each["filter"] == "strict-match"]
    assert [one["text"] for one in record["outcomes"]] == [each["resps"][0][0] for each in strict]
    assert [one["score"] for one in record["outcomes"]] == [each["exact_match"] for each in strict]
    assert record["accuracy"] == pytest.approx(score)
    assert record["forward_passes"] == pytest.approx(passes)


@pytest.mark.slow
@pytest.mark.skipif(not GSM8K.is_file(), reason="the published file is not here")
def test_real_questions_with_worked_examples_and_a_chat_template_give_the_same_answers_both_ways(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    checkpoint = write_small_model(tmp_path / "model", max_sequence_length=4096)
    write_task(tmp_path / "tasks", "gsm8k_real", rows[:4], rows[20:30], num_fewshot=2, generation_kwargs={"max_gen_toks": 8})
    line = ["lm-eval", "--model_args", f"pretrained={checkpoint},strategy=llada,steps=4", "--tasks", "gsm8k_real"]
    line += ["--include_path", str(tmp_path / "tasks"), "--apply_chat_template", "--log_samples", "--batch_size", "4"]
    assert main([*line, "--output_path", str(tmp_path / "out")]) == 0
    _, lines = results(tmp_path / "out")
    kept = [line for line in lines if line["filter"] == "strict-match"]
    assert kept[0]["arguments"]["gen_args_0"]["arg_0"].count("<user>") == 3
    task = find_task("lm-eval:gsm8k_real,turns=true", tmp_path / "tasks")
    lm = DiffusionLM.from_pretrained(checkpoint, device="cpu")
    done = evaluate(lm, task, Strategy.load("llada", steps=4), cache=False, batch_size=3)
    assert [outcome.text for outcome in done.outcomes] == [line["resps"][0][0] for line in kept]
    assert len(done.outcomes) == 4 and done.record.chat == "template"


def test_the_harness_s_evaluator_and_eval_give_the_same_answers_and_scores(folder: Path) -> None:
    lm = model(strategy="said", steps=12, batch_size=20)
    theirs = evaluated(lm, folder, "sums")
    lines = [line for line in theirs["samples"]["sums"] if line["filter"] == "strict-match"]
    done = evaluate(lm.lm, find_task("lm-eval:sums", folder), Strategy.load("said", steps=12), cache=False, batch_size=7)
    assert [outcome.text for outcome in done.outcomes] == [line["resps"][0][0] for line in lines]
    assert done.scores == [line["exact_match"] for line in lines]
    assert done.record.accuracy == pytest.approx(theirs["results"]["sums"]["exact_match,strict-match"])
    assert done.record.forward_passes == pytest.approx(theirs["config"]["forward_passes_per_answer"])
    assert 0.2 < done.record.accuracy < 1


def test_choices_are_told_apart_by_their_likelihood(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is 7{n}+35?", "choices": [f"7{n}+35={number}" for number in (206 + n, 105 + n, 95 + n)]}
        for n in range(4)
    ]
    asked = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": 1, "target_delimiter": ""}
    accuracy = [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}]
    write_task(tmp_path, "pick", rows, metric_list=accuracy, generation_kwargs=None, filter_list=None, **asked)
    found = evaluated(model(mc_num=16, batch_size=32, greedy=False), tmp_path, "pick")
    assert found["results"]["pick"]["acc,none"] == 1


def test_requests_have_lengths_and_stop_texts_of_their_own() -> None:
    lm = model(strategy="llada", batch_size=4)
    prompt = "What is 76+35?"
    whole, short, cut, stopped_at_once = ask(
        lm,
        (prompt, {"max_gen_toks": 48}),
        (prompt, {"max_gen_toks": 6, "until": ["nowhere"]}),
        (prompt, {"max_new_tokens": 48, "until": " ####"}),
        (prompt, {"max_tokens": 48, "until": ["####", "76"]}),
    )
    assert whole.startswith("76+35=111") and " ####" in whole
    assert len(lm.tok_encode(short)) <= 6
    assert (cut, stopped_at_once) == (whole.partition(" ####")[0], "")
    assert lm.decoder.answers == 4
    assert lm.get_model_info()["forward_passes_per_answer"] == pytest.approx((3 * 48 + 6) / 4)


def test_the_length_of_all_answers_can_be_given() -> None:
    lm = model(strategy="llada", gen_length=5)
    ask(lm, ("What is 76+35?", {"max_gen_toks": 48}))
    assert lm.decoder.forward_passes == 5


def test_further_answers_to_one_document_have_noise_of_their_own_and_order_does_not_matter() -> None:
    lm = model(strategy="llada", temperature=3.0, max_gen_toks=24)
    request = ("What is 76+35?", {})
    first, second, other = ask(lm, request, request, request, places=[0, 0, 1])
    assert len({first, second, other}) == 3
    assert ask(lm, request, request, places=[1, 0]) == [other, first]


def test_a_run_that_was_stopped_goes_on_and_another_strategy_is_refused_the_answers(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CachingLM

    kept = str(tmp_path / "kept.db")
    requests = [
        Instance("generate_until", {}, (f"What is 7{n}+35?", {"max_gen_toks": 40}), 0, metadata=("asked", n, 1))
        for n in range(5)
    ]
    lm = model(strategy="said")
    CachingLM(lm, kept)
    # A run that dies after two answers has kept these two.
    parts = lm.decoder.decode([lm._request(*one.args, n) for n, one in enumerate(requests)])
    for number, text in (next(parts), next(parts)):
        lm.cache_hook.add_partial("generate_until", requests[number].args, text)
    again = model(strategy="said")
    answers = CachingLM(again, kept).generate_until(requests)
    assert again.decoder.answers == 3
    fresh = model(strategy="said")
    assert answers == fresh.generate_until(requests)
    for changed in ({"strategy": "llada"}, {"strategy": "said", "steps": 3}, {"strategy": "said", "seed": 1}):
        with pytest.raises(ConfigError, match="--use_cache: answers of another model, strategy or seed"):
            CachingLM(model(**changed), kept)


def test_a_likely_answer_is_told_from_others_and_greedy_ones_are_told() -> None:
    lm = model(batch_size=16, mc_num=32)
    right, *wrong = measure(lm, *(("What is 76+35?", answer) for answer in ("76+35=111", "76+35=110", "75+35=111")))
    assert all(right[0] > one[0] + 1 for one in wrong)
    assert [one[1] for one in wrong] == [False, False]
    assert measure(lm, ("What is 76+35?", "76+35=111"))[0] == pytest.approx(right)
    # An empty context is none: nothing need stand before what is read from both sides.
    assert measure(lm, ("", "What"))[0][0] < 0


def test_what_is_over_the_model_s_context_is_refused_and_not_cut() -> None:
    with pytest.raises(ConfigError, match="over the model's context of 256 tokens"):
        ask(model(), ("What is 76+35?" * 40, {"max_gen_toks": 8}))
    with pytest.raises(ConfigError, match="over the model's context of 256 tokens; take fewer worked examples"):
        measure(model(), ("What is 76+35?" * 40, "76"))


def test_perplexity_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="loglikelihood_rolling: .* no perplexity"):
        model().loglikelihood_rolling([])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--model_args", "stratgy=said", "--tasks", "sums"], "unknown argument 'stratgy'. Did you mean 'strategy'?"),
        (["--model_args", "strategy=sayd", "--tasks", "sums"], "Did you mean 'said'?"),
        (["--model_args", "mc_num=0", "--tasks", "sums"], "mc_num should be a number of at least 1, got 0"),
        pytest.param(["--tasks", "sumz"], "unknown task 'sumz'. Did you mean 'sums'?", marks=pytest.mark.slow),
        (["--tasks", "sums", "--log_samples"], "--output_path"),
        ([], "no task is named; say which: --tasks gsm8k"),
        pytest.param(["--tasks", "unsafe"], "Attempted to run task: unsafe", marks=pytest.mark.slow),
    ],
)
def test_mistakes_are_one_clear_line(
    folder: Path, line: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lm-eval", *line, "--include_path", str(folder), "--limit", "1"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert said in error


def test_without_the_harness_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dllm_decode.tasks.harness.needs.find_spec", lambda name: None)
    for line in (["lm-eval", "--tasks", "sums"], ["eval", "--task", "lm-eval:sums"]):
        assert main(line) == 2
        assert "pip install 'dllm-decode[lm-eval]'" in capsys.readouterr().err

"""From a file to a report: a checkpoint in shards from the disk, and the oracle through evaluation, search and comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.evaluate.executors import InProcess
from dllm_decode.plugins.registry import load_registry
from dllm_decode.reproduce.comparison import compare
from dllm_decode.reproduce.page import page
from dllm_decode.reproduce.plan import plan
from dllm_decode.testing.byte_tokenizer import CHAT_TEMPLATE
from dllm_decode.testing.checkpoints import random_tensors, small_config, write_checkpoint, write_tokenizer
from dllm_decode.testing.oracle import Doubt, oracle
from dllm_search import tune

HASTY = (Doubt(0, until=1),)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 is {n + 1}.\n#### {n + 1}"} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.mark.slow
def test_a_checkpoint_in_shards_goes_all_the_way_from_the_disk_to_the_report(
    tmp_path: Path, rows: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLLM_DECODE_PRESETS", str(tmp_path / "presets"))
    folder = tmp_path / "LLaDA-8B-Instruct"
    config = small_config(max_sequence_length=512)
    write_checkpoint(folder, config, random_tensors(config), shards=3)
    write_tokenizer(folder)
    assert len(list(folder.glob("model-*-of-00003.safetensors"))) == 3
    assert "<assistant>" in CHAT_TEMPLATE

    common = ["--task", "gsm8k", "--model", str(folder), "--data", str(rows), "--device", "cpu"]
    sizes = ["--limit", "6"]
    assert main(["eval", *common, *sizes, "--strategy", "said/gsm8k", "--gen-length", "32", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["chat"], record["n"], record["gen_length"]) == ("template", 6, 32)
    assert record["strategy_name"] == "said/gsm8k"

    search = ["--trials", "4", "--examples", "6", "--verify-examples", "6", "--test-examples", "6"]
    out = tmp_path / "search"
    assert main(["search", "run", *common, *search, "--out", str(out), "--objective", "constrained"]) == 0
    assert (out / "report.html").is_file() and (out / "strategy.yaml").is_file()
    capsys.readouterr()

    assert main(["reproduce", "said", *common, *sizes, "--gen-length", "32", "--estimate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hours"] > 0
    assert main(["reproduce", "said", *common, *sizes, "--gen-length", "32", "--out", str(tmp_path / "out"), "--json"]) == 0
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert [row["setting"] for row in task["rows"]] == [
        "llada/gsm8k", "said/gsm8k", "said-block/gsm8k", "fast-dllm/gsm8k", None,
    ]  # fmt: skip
    assert task["rows"][-1]["label"] == "tuned"
    assert [row["record"]["gen_length"] for row in task["rows"]] == [32] * 5
    assert "LLaDA-8B-Instruct" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_search_with_the_oracle_ends_in_a_strategy_that_is_as_right_and_cheaper(rows: Path, tmp_path: Path) -> None:
    task = load_registry().task("gsm8k").over(rows)
    task.gen_length = 32
    examples = [*task.examples("tune"), *task.examples("test")]
    lm = oracle(examples, [HASTY] * len(examples))
    found = tune(
        lm, task, trials=25, examples=12, verify_examples=12, test_examples=12, objective="constrained", max_drop=30.0,
        out=tmp_path / "out", cache=False,
    )  # fmt: skip
    assert found.report.chosen.score.accuracy == 1.0
    assert found.report.chosen.score.forward_passes < 32
    assert (tmp_path / "out" / "report.html").is_file()


FILES = {
    "gsm8k": "gsm8k_test.jsonl",
    "math500": "math500.json",
    "arc-challenge": "arc_challenge_test_llmadapters.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_comparison_on_fifty_real_examples_is_what_was_planned(data_folder: Path, name: str) -> None:
    task = load_registry().task(name)
    path = data_folder / FILES[name]
    examples = task.load(path)[:50]
    assert all(len(one.reference.encode()) < 64 for one in examples)
    doubts = [HASTY if place % 5 == 0 else () for place in range(50)]
    lm = oracle(examples, doubts)
    lines, notes = plan("said", InProcess(lm).model, name, task.gen_length, 64)
    found = compare(InProcess(lm), task, lines, data=path, limit=50, cache=False, run_programs=True, notes=notes)
    rows = {row.line.label: row for row in found.rows}
    assert rows["LLaDA's rule"].done.record.accuracy == rows["Fast-dLLM"].done.record.accuracy == 1.0
    assert rows["SAID"].done.record.accuracy == pytest.approx(0.8)
    assert (rows["SAID"].against.gained, rows["SAID"].against.lost) == (0, 10)  # type: ignore[union-attr]
    assert rows["Fast-dLLM"].done.record.forward_passes == pytest.approx(2 + 10 / 50)
    assert "SAID" in page("said", "oracle", [found])

"""A comparison: every strategy on the same examples, held against the first, beside what is published."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.executors import InProcess, Job
from dllm_decode.plugins.registry import load_registry
from dllm_decode.reproduce.comparison import Comparison, compare
from dllm_decode.reproduce.page import COLUMNS, cells, page, to_dict
from dllm_decode.reproduce.plan import paper_methods, paper_tasks, plan
from dllm_decode.strategy.presets import Preset, save_preset
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.oracle import Doubt, oracle

HASTY = (Doubt(0, until=1),)
"""Right for who decides the least sure last; SAID decides column 0 before column 1."""


@pytest.fixture
def gsm8k(tmp_path: Path) -> Path:
    path = tmp_path / "gsm8k.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": f"{n} + 1 is {n + 1}.\n#### {n + 1}"} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def no_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    monkeypatch.setenv("DLLM_DECODE_PRESETS", str(folder))
    return folder


def compared(path: Path, gen_length: int | None, **options: Any) -> Comparison:
    task = load_registry().task("gsm8k")
    examples = task.load(path)
    lm = oracle(examples, [HASTY] * 2 + [()] * 4)
    lines, notes = plan("said", InProcess(lm).model, "gsm8k", task.gen_length, gen_length)
    return compare(InProcess(lm), task, lines, data=path, cache=False, notes=notes, **options)


def test_the_strategies_are_those_published_for_the_task() -> None:
    class Known:
        name, fingerprint = "GSAI-ML/LLaDA-8B-Instruct", "x"

    lines, notes = plan("said", Known(), "gsm8k", 256)
    named = [line.setting.name if line.setting else None for line in lines]
    assert named == ["llada/gsm8k", "said/gsm8k", "said-block/gsm8k", "fast-dllm/gsm8k"]
    assert [line.strategy.gen_length for line in lines] == [512, 512, 256, 256]
    assert lines[2].note == "published for LLaDA-1.5"
    assert len(notes) == 1 and "there is no tuned preset for model" in notes[0]


def test_a_model_s_own_settings_come_first() -> None:
    class Known:
        name, fingerprint = "/models/LLaDA-1.5", "x"

    lines, _ = plan("said", Known(), "gsm8k", 256)
    assert [line.setting.name for line in lines[:3] if line.setting] == [
        "llada-block/gsm8k/1.5-block16", "said/gsm8k", "said-block/gsm8k",
    ]  # fmt: skip
    assert lines[2].note == ""


def test_one_length_for_all_keeps_the_published_shares_of_steps() -> None:
    class Known:
        name, fingerprint = "tiny", "x"

    lines, _ = plan("said", Known(), "gsm8k", 256, 64)
    assert [(line.strategy.gen_length, line.strategy.steps) for line in lines[:4]] == [
        (64, 64), (64, 32), (64, 16), (64, None),
    ]  # fmt: skip
    assert "at 64 tokens instead of 512" in lines[1].note


@pytest.mark.parametrize("length", [16, 24, 40, 64, 256])
def test_a_task_without_settings_gets_recipes_that_fit_it(length: int) -> None:
    class Known:
        name, fingerprint = "other", "x"

    lines, _ = plan("said", Known(), "mine", length)
    for line in lines:
        assert line.strategy.check().gen_length == length
        assert "no setting is published for mine" in line.note


def test_every_row_is_what_the_oracle_was_told(gsm8k: Path) -> None:
    found = compared(gsm8k, 64)
    assert [(row.done.record.accuracy, row.done.record.forward_passes) for row in found.rows] == [
        (1.0, 64), (pytest.approx(4 / 6), 33), (pytest.approx(4 / 6), 16), (1.0, pytest.approx(2 + 2 / 6)),
    ]  # fmt: skip
    said = found.rows[1]
    assert said.against is not None
    assert (said.against.gained, said.against.lost, said.against.n) == (0, 2, 6)
    assert said.against.interval[0] < -2 / 6 < said.against.interval[1]
    assert said.fewer == pytest.approx(64 / 33)
    assert found.rows[0].against is None


def test_plain_data_and_cells_say_the_same(gsm8k: Path) -> None:
    found = compared(gsm8k, 64)
    data = json.loads(json.dumps(to_dict("said", "oracle", [found]), allow_nan=False))
    (task,) = data["tasks"]
    said = task["rows"][1]
    assert said["label"] == "SAID" and said["setting"] == "said/gsm8k"
    assert said["published_accuracy"] is None and said["published_for"] == "LLaDA-8B-Instruct"
    assert task["rows"][0]["published_accuracy"] == 68.8
    assert task["rows"][0]["published_source"] == "ML-GSAI/LLaDA: EVAL.md"
    speeds = said["tokens_per_second"]
    assert speeds["positions"] == pytest.approx(6 * 64 / said["seconds"])
    assert speeds["positions"] > speeds["up_to_eos"] == speeds["visible"] > 0
    assert said["times_faster"] == pytest.approx(task["rows"][0]["seconds"] / said["seconds"])
    shown = dict(zip(COLUMNS, cells(found.rows[1]), strict=True))
    assert shown["strategy"] == "SAID · said/gsm8k"
    assert shown["accuracy"].startswith("66.7 %") and shown["difference (95 %)"].startswith("-33.3 (")
    assert (shown["forwards"], shown["fewer"], shown["published"]) == ("33.0", "1.94×", "–")


def test_the_page_stands_alone_and_holds_every_row(gsm8k: Path) -> None:
    found = compared(gsm8k, 64)
    html = page("said", "a <model>", [found])
    assert "said with a &lt;model&gt;" in html
    html = unescape(html)
    for row in found.rows:
        assert all(cell in html for cell in cells(row))
    assert "http" not in html.split("Run record")[0]
    assert "SAID: published for LLaDA-8B-Instruct; at 64 tokens instead of 512" in html


def test_a_tuned_strategy_is_the_last_row(gsm8k: Path, no_presets: Path) -> None:
    save_preset(Preset("oracle", "elsewhere", "gsm8k", 64, 20.0, Strategy.load("fast-dllm", name="mine")))
    found = compared(gsm8k, 64)
    assert [row.line.label for row in found.rows][-1] == "tuned"
    assert found.rows[-1].done.record.strategy.name == "mine"


def test_a_tuned_strategy_of_another_task_is_taken_at_this_task_s_length(no_presets: Path) -> None:
    class Known:
        name, fingerprint = "oracle", "x"

    mine = Strategy.load("fast-dllm", gen_length=16, name="mine", **{"block.length": 8})
    save_preset(Preset("oracle", "x", "line", 16, 20.0, mine))
    lines, _ = plan("said", Known(), "gsm8k", 256)
    assert lines[-1].strategy.gen_length == 256
    assert "no preset for task 'gsm8k'" in lines[-1].note


def test_comparisons_have_names_and_tasks() -> None:
    assert paper_tasks("said", ["line", "gsm8k", "math", "math500"]) == ["gsm8k", "math"]
    with pytest.raises(ConfigError, match="said"):
        paper_methods("siad")


def test_the_command_prints_writes_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    command = ["reproduce", "said", "--task", "line", "--task", "facts", "--limit", "4", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("SAID-block") == 4  # two tables a task
    assert "no setting is published for line" in printed.err
    assert "<h2>facts</h2>" in (tmp_path / "out" / "report.html").read_text()
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in again["tasks"][0]["rows"]] == [
        "LLaDA's rule", "SAID", "SAID-block", "Fast-dLLM", "tuned",
    ]  # fmt: skip
    assert {row["record"]["resumed"] for task in again["tasks"] for row in task["rows"]} == {4}
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    for old, new in zip(written["tasks"], again["tasks"], strict=True):
        assert [row["accuracy"] for row in old["rows"]] == [row["accuracy"] for row in new["rows"]]


def test_files_belong_to_tasks_one_by_one(gsm8k: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "said", "--data", str(gsm8k)]) == 2
    assert "--data: should be one file for each --task, got 1 for 0" in capsys.readouterr().err
    assert main(["reproduce", "paper", "--task", "line"]) == 2
    assert "unknown comparison" in capsys.readouterr().err
    assert main(["reproduce", "said", "--task", "code", "--limit", "1"]) == 2
    assert "--run-programs" in capsys.readouterr().err


def test_what_it_would_cost_is_said_and_nothing_is_decoded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(cache))
    common = ["--task", "line", "--limit", "10", "--batch-size", "4", "--device", "cpu", "--estimate", "--json"]
    assert main(["reproduce", "said", *common]) == 0
    told = json.loads(capsys.readouterr().out)
    first, said, *_ = told["estimates"]
    assert (first["examples"], first["batch_size"], first["forwards"]) == (10, 4, 16)
    assert said["forwards"] < 16
    assert first["hours"] == pytest.approx(3 * 16 * first["step_seconds"] / 3600)
    assert told["hours"] == pytest.approx(sum(one["hours"] for one in told["estimates"]))
    assert main(["eval", "--strategy", "said", *common]) == 0
    (one,) = json.loads(capsys.readouterr().out)["estimates"]
    assert one["name"] == "line, said" and one["step_seconds"] > 0
    assert not list(cache.rglob("*.jsonl"))


@pytest.mark.slow
def test_workers_find_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    command = ["reproduce", "said", "--task", "line", "--limit", "6", "--device", "cpu", "--no-cache", "--json"]
    found = []
    for workers in ([], ["--workers", "2"]):
        assert main([*command, *workers]) == 0
        (task,) = json.loads(capsys.readouterr().out)["tasks"]
        found.append([(row["accuracy"], row["forward_passes"]) for row in task["rows"]])
    assert found[0] == found[1]


def test_a_step_is_measured_on_the_longest_prompts(gsm8k: Path) -> None:
    from dllm_decode.evaluate.estimate import MEASURED, estimate

    task = load_registry().task("gsm8k")
    examples = tuple(task.load(gsm8k))
    lm = oracle(examples)
    job = Job(Strategy.load("fast-dllm", gen_length=64), task, examples, tuple(range(6)), batch_size=4)
    found = estimate(InProcess(lm), job)
    assert lm.denoiser.calls == 2 * MEASURED  # type: ignore[attr-defined]
    assert (found.examples, found.batch_size, found.batches, found.forwards) == (6, 4, 2, 64)
    assert "2 batches of 4 x at most 64 forwards" in str(found)

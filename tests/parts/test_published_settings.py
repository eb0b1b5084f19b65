"""Published settings: each is what its source says, and is a strategy that fits its length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.strategy.settings import UNSAID, published_settings, settings_for
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.benchmarks.listed import Gsm8k
from dllm_decode.testing.oracle import oracle

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT.parent / "shared" / "benchmarks" / "settings.json"
METHODS = {"llada-baseline": "llada", "dream-baseline": "dream"}
TASKS = {"ARC-c": "arc-challenge", "mmlu_pro": "mmlu-pro", "(readme example)": "readme"}
CACHES = {"prefix cache": "prefix", "dual cache": "dual", "cache (README does not say prefix or dual)": UNSAID}
SAME = ("model", "gen_length", "steps", "threshold", "easy_steps", "hard_steps", "rec_steps", "alg")


def test_every_setting_is_one_that_was_recorded() -> None:
    if not RECORDED.is_file():
        pytest.skip("the recorded settings are not here")
    rows = [row for row in json.loads(RECORDED.read_text()) if row["method"] != "dream-likelihood"]
    sources = {row["source"] for row in rows}
    for setting in published_settings().values():
        (row, *_) = [
            row
            for row in rows
            if row["source"] == setting.source
            and all(row.get(name) == getattr(setting, name) for name in SAME)
            and METHODS.get(row["method"], row["method"]) == setting.method
            and TASKS.get(row["task"], row["task"]) == setting.task
            and CACHES.get(row.get("cache") or "") == setting.cache
            and row["prompt_shape"] == setting.shape
        ]
        assert row["published_accuracy"] == setting.accuracy
        assert row["temperature"] == setting.temperature
        assert bool(row.get("logits_eos_inf")) == setting.forbid_eos
        assert bool(row.get("confidence_eos_eot_inf")) == setting.ignore_ends
        assert row.get("top_p") in (setting.top_p, 1)
        assert row.get("num_stages") == setting.stages
        if setting.block_length is None:
            assert row["block_length"] in (None, setting.gen_length)
        else:
            assert row["block_length"] == setting.block_length
    said = [source for one in published_settings().values() for source in (one.source, *one.also)]
    assert set(said) == sources
    assert len(said) == len(rows)


@pytest.mark.parametrize("name", published_settings())
def test_every_setting_is_a_strategy_of_its_length_and_steps(name: str) -> None:
    setting = published_settings()[name]
    if setting.cache == UNSAID:
        with pytest.raises(ConfigError, match="does not say which cache"):
            Strategy.load(name)
        return
    strategy = Strategy.load(name).check()
    assert (strategy.name, strategy.gen_length) == (name, setting.gen_length)
    assert Strategy.from_yaml(strategy.to_yaml()) == strategy
    forwards = strategy.max_forwards()
    if setting.method == "said":
        assert setting.hard_steps is not None
        assert forwards <= setting.steps + 1 + setting.hard_steps
    elif setting.threshold is not None:
        assert forwards == setting.gen_length
    else:
        assert forwards == setting.steps


def test_the_flags_and_thresholds_of_a_source_are_parts_of_the_strategy() -> None:
    mbpp = Strategy.load("said/mbpp").to_dict()
    assert (mbpp["layering"]["detail"]["threshold"], mbpp["layering"]["detail"]["hard_steps"]) == (0.7, 8)
    assert mbpp["confidence"]["ignore_ends"] is True
    assert [part["name"] for part in Strategy.load("llada/humaneval").to_dict()["logits"]] == ["forbid-eos"]
    assert Strategy.load("llada-block/gsm8k").to_dict()["block"] == {"name": "fixed", "length": 8}
    math = Strategy.load("said-block/math")
    assert (math.block.length, math.steps, math.gen_length) == (128, 256, 1024)  # type: ignore[attr-defined]
    dream = Strategy.load("dream/mmlu-pro")
    assert dream.to_dict()["logits"] == [{"name": "temper", "temperature": 0.1}, {"name": "top-p", "p": 0.9}]
    assert dream.temperature == 1.0


def test_settings_of_the_model_come_first() -> None:
    assert settings_for("gsm8k", "llada-block", "GSAI-ML/LLaDA-1.5")[0].name == "llada-block/gsm8k/1.5-block16"
    assert settings_for("gsm8k", "llada-block", "tiny")[0].name == "llada-block/gsm8k"
    assert settings_for("line", "said") == []


def test_a_name_that_is_nearly_a_setting_is_told_which() -> None:
    with pytest.raises(ConfigError, match="a published setting\\? said/gsm8k"):
        Strategy.load("said/gsm9k")


def test_a_file_of_ones_own_may_have_any_name_that_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("said").mkdir()
    Path("said/mine").write_text(Strategy.load("said").to_yaml())
    assert Strategy.load("said/mine").digest() == Strategy.load("said").digest()


def test_an_evaluation_keeps_the_published_length(tmp_path: Path) -> None:
    task = Gsm8k()
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "What is 1 + 1?", "answer": "#### 2"}\n')
    examples: list[Example] = task.load(path)
    done = evaluate(oracle(examples), task, "said/gsm8k", data=path, cache=False)
    assert done.record.strategy.gen_length == 512 > task.gen_length
    assert (done.record.accuracy, done.record.forward_passes) == (1.0, 257)
    assert done.record.notes == ()


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--task", "gsm8k", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["settings"]
    assert {one["task"] for one in listed} == {"gsm8k"}
    assert "said/gsm8k" in [one["name"] for one in listed]
    assert main(["settings"]) == 0
    assert "said-block/math" in capsys.readouterr().out
    assert main(["show", "said-block/math"]) == 0
    assert "gen_length: 1024" in capsys.readouterr().out

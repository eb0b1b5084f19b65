"""Presets: a set keyed by model and task, the one that fits, what a new task starts from, and functions as tasks."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.model import DiffusionLM
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.presets import (
    Preset,
    load_presets,
    nearest_presets,
    presets_folder,
    save_preset,
)
from dllm_decode.strategy.resolve import resolve
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.function_task import function_task
from dllm_search.space.presets import starting_points
from dllm_search.tuning import tune_all

FEW = {"trials": 2, "examples": 4, "verify_examples": 4, "test_examples": 4}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    return DiffusionLM.from_pretrained(write_checkpoint(tmp_path_factory.mktemp("presets") / "model"))


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DLLM_DECODE_PRESETS", str(tmp_path / "presets"))


def preset(lm: DiffusionLM, task: str, gen_length: int, prompt: float, **changes: str) -> Preset:
    strategy = Strategy.load("llada", gen_length=gen_length, steps=gen_length // 4)
    strategy = strategy.model_copy(update={"name": f"tuned-{task}"})
    own = {"model": lm.name, "fingerprint": lm.fingerprint} | changes
    return Preset(task=task, gen_length=gen_length, prompt_characters=prompt, strategy=strategy, **own)


def test_a_preset_is_written_and_read_back_as_it_was(lm: DiffusionLM) -> None:
    written = preset(lm, "line", 16, 40.0)
    path = save_preset(written)
    assert path.name == "line.yaml" and path.parent.name == lm.fingerprint
    assert load_presets() == [written]
    save_preset(preset(lm, "line", 16, 50.0))
    assert [one.prompt_characters for one in load_presets()] == [50.0]


def test_the_nearest_is_of_the_same_weights_then_the_same_task_then_alike_in_lengths(lm: DiffusionLM) -> None:
    strangers = {"fingerprint": "0" * 16, "model": "other"}
    known = [
        preset(lm, "own", 64, 100, **strangers),
        preset(lm, "far", 256, 100),
        preset(lm, "near", 64, 150),
        preset(lm, "retrained", 64, 100, fingerprint="1" * 16),
    ]

    def order(task: str) -> list[str]:
        found = nearest_presets(known, lm.fingerprint, lm.name, task, 64, 100.0)
        return [one.task for one in found]

    assert order("new") == ["near", "far", "retrained", "own"]
    assert order("far")[0] == "far"


def test_evaluation_and_generation_take_the_preset_that_fits(lm: DiffusionLM) -> None:
    save_preset(preset(lm, "line", 16, 40.0))
    save_preset(preset(lm, "square", 24, 40.0))
    done = evaluate(lm, "line", "tuned", limit=2, cache=False)
    assert done.record.strategy.steps == 4 and done.record.notes == ("tuned: the preset of task line",)
    other = evaluate(lm, "facts", "tuned", limit=2, cache=False)
    assert "no preset for task 'facts'" in other.record.notes[0]
    assert lm.generate(["Write."], strategy="tuned", gen_length=24).strategy.steps == 6
    ((_, streamed),) = lm.stream(["Write."], strategy="tuned", gen_length=24)
    assert streamed.strategy.steps == 6
    filled = lm.infill(["One [MASK] here.", "Two [MASK] [MASK]."], strategy="tuned", steps=1)
    assert filled.strategy.name == "tuned-line" and not (filled.tokens == lm.special.mask).any()


def test_tuned_is_no_strategy_without_a_model() -> None:
    with pytest.raises(ConfigError, match="'tuned' is the preset that fits a model.*--strategy tuned"):
        Strategy.load("tuned")


def test_changes_are_made_to_the_preset(lm: DiffusionLM) -> None:
    save_preset(preset(lm, "line", 16, 40.0))
    found = resolve("tuned", lm, changes={"steps": 2}, task="line")
    assert (found.strategy.steps, found.note) == (2, "tuned: the preset of task line")
    assert resolve("llada", lm, changes={"steps": 2}).note == ""


def test_without_a_preset_the_way_to_one_is_said(lm: DiffusionLM) -> None:
    with pytest.raises(ConfigError, match="no tuned preset for model .*dllm-decode search run --task TASK"):
        resolve("tuned", lm, task="line")


def test_a_file_that_is_no_preset_is_named(lm: DiffusionLM) -> None:
    save_preset(preset(lm, "line", 16, 40.0)).write_text("just text\n")
    with pytest.raises(ConfigError, match="line.yaml is no preset"):
        load_presets()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("task: line", "task: line\ntask: facts", "key 'task' stands twice"),
        ("gen_length: 16", "gen_length: true", "gen_length should be a whole number above 0, got True"),
        ("gen_length: 16", "gen_length: 0", "gen_length should be a whole number above 0, got 0"),
        ("prompt_characters: 40.0", "prompt_characters: .nan", "prompt_characters should be a number from 0 on"),
        ("prompt_characters: 40.0", "found_by: me", "found_by"),
        ("task: line", "task: [line]", "task should be a text"),
        ("task: line", "task: " + "[" * 50_000, "nested more than 40 levels deep"),
        ("task: line", "\x00", "is no preset"),
    ],
)
def test_a_preset_is_read_with_the_care_of_a_strategy(lm: DiffusionLM, old: str, new: str, said: str) -> None:
    file = save_preset(preset(lm, "line", 16, 40.0))
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"line.yaml is no preset: .*remove it") as caught:
        load_presets()
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_the_command_line_takes_tuned_as_a_strategy(
    lm: DiffusionLM, capsys: pytest.CaptureFixture[str]
) -> None:
    save_preset(preset(lm, "line", 16, 40.0))
    model = ["--model", str(lm.folder), "--strategy", "tuned", "--json"]
    assert main(["eval", "--task", "line", "--limit", "2", *model]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["strategy_name"] == "tuned-line" and "preset of task line" in captured.err
    assert main(["generate", "Write one line.", "--gen-length", "16", *model]) == 0
    assert json.loads(capsys.readouterr().out)["strategy_name"] == "tuned-line"


def test_several_tasks_make_a_set_of_presets_and_later_ones_start_from_earlier_ones(
    lm: DiffusionLM, tmp_path: Path
) -> None:
    save_preset(preset(lm, "old", 16, 40.0))
    results = tune_all(lm, ["line", "facts"], out=tmp_path / "out", **FEW)
    assert {one.task for one in load_presets()} == {"old", "line", "facts"}
    assert (tmp_path / "out" / "facts" / "report.json").exists()
    assert results["line"].preset is not None
    labels = [trial.user_attrs.get("label") for trial in results["line"].study.trials]
    assert labels[0].startswith("llada") and labels[1] == "preset of old"
    begun = [trial.user_attrs.get("label") for trial in results["facts"].study.get_trials(deepcopy=False)]
    assert any(label in ("preset of old", "preset of line") for label in begun)
    with pytest.raises(ConfigError, match="given more than once: line"):
        tune_all(lm, ["line", "line"], **FEW)


def test_a_preset_starts_a_longer_task_with_steps_in_proportion(lm: DiffusionLM) -> None:
    save_preset(preset(lm, "short", 8, 40.0))
    (found,) = starting_points(lm, load_registry().task("line"), presets_folder())
    assert (found.gen_length, found.steps, found.name) == (16, 4, "preset of short")


def polite(prompt: str, answer: str) -> bool:
    return len(prompt + answer) % 2 == 0


def test_a_function_is_a_task(lm: DiffusionLM) -> None:
    prompts = [f"Say number {n}." for n in range(10)]
    result = tune(lm, polite, prompts=prompts, gen_length=8, cache=False, **FEW)
    assert result.report.task.startswith("polite-") and result.strategy.gen_length == 8
    task = function_task(polite, prompts, 8)
    assert [e.prompt for e in task.examples("tune")] == prompts[0::2]
    assert [e.prompt for e in task.examples("test")] == prompts[1::2]
    assert task.score(task.examples("tune")[0], "") == polite(prompts[0], "")


def test_a_judge_that_changes_is_another_task_and_poor_prompts_are_refused() -> None:
    prompts = ["a", "b"]
    one, other = (lambda prompt, answer: True), (lambda prompt, answer: False)
    assert function_task(one, prompts).name != function_task(other, prompts).name
    with pytest.raises(ConfigError, match="at least two, all different"):
        function_task(one, ["a", "a"])
    with pytest.raises(ConfigError, match="gen_length: should be at least 1"):
        function_task(one, prompts, gen_length=0)
    with pytest.raises(ConfigError, match="a function \\(prompt, answer\\)"):
        tune(task=3)  # type: ignore[arg-type]


def test_time_is_a_cost_of_a_search_on_a_real_model(lm: DiffusionLM) -> None:
    result = tune(lm, "line", cost="seconds", objective="constrained", max_drop=50.0, **{**FEW, "trials": 3})
    assert result.study.directions == [optuna.study.StudyDirection.MINIMIZE]
    cost = result.report.record["cost"]
    assert cost["of"] == "seconds" and cost["batch_size"] == 1 and cost["chosen"]["seconds"] > 0

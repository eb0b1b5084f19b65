"""The tuned strategies that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dllm_decode.cli import main
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.model import DiffusionLM
from dllm_decode.strategy.presets import SHIPPED, Preset, load_presets, save_preset
from dllm_decode.strategy.resolve import resolve
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks import TASKS


@pytest.fixture(scope="module")
def tiny() -> DiffusionLM:
    return DiffusionLM.from_pretrained("tiny", device="cpu")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLLM_DECODE_PRESETS", str(tmp_path))


@pytest.mark.parametrize("task", [task.name for task in TASKS if "generated" in task.__module__])
def test_every_task_has_a_tuned_strategy_that_serves_tiny(tiny: DiffusionLM, task: str) -> None:
    found = resolve("tuned", tiny, task=task)
    assert found.strategy.name == f"tuned-{task}"
    assert found.note == f"tuned: the preset of task {task}"
    done = evaluate(tiny, task, "tuned", limit=8, cache=False, run_programs=True)
    # LLaDA's rule takes one a token; the least saving measured is half of them, on 500 examples.
    assert done.record.forward_passes < 0.7 * done.record.strategy.gen_length
    assert done.record.accuracy > 0.3


def test_they_are_what_was_measured(root: Path, tiny: DiffusionLM) -> None:
    measured = json.loads((root / "benchmarks/results/tuned.json").read_text())
    shipped = {preset.task: preset for preset in load_presets(SHIPPED)}
    assert set(shipped) == set(measured["tasks"])
    for name, preset in shipped.items():
        assert preset.strategy.digest() == Strategy.parse(measured["tasks"][name]["chosen"]).digest()
        assert preset.fingerprint == measured["model_fingerprint"] == tiny.fingerprint


def test_a_preset_of_ones_own_comes_before_the_package_s(tiny: DiffusionLM) -> None:
    (line,) = [preset for preset in load_presets(SHIPPED) if preset.task == "line"]
    mine = Strategy.load("said", gen_length=16, name="mine")
    save_preset(Preset(line.model, line.fingerprint, "line", 16, line.prompt_characters, mine))
    assert resolve("tuned", tiny, task="line").strategy.name == "mine"
    assert resolve("tuned", tiny, task="facts").strategy.name == "tuned-facts"


def test_the_command_needs_no_search_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--task", "line", "--strategy", "tuned", "--limit", "2", "--json", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["strategy_name"] == "tuned-line"
    assert "the preset of task line" in captured.err

"""What a search says it would cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dllm_decode.cli import main


def test_a_search_says_its_cost_and_begins_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["search", "run", "--task", "line", "--trials", "5", "--examples", "10", "--batch-size", "10"]
    assert main([*command, "--device", "cpu", "--estimate", "--json"]) == 0
    told = capsys.readouterr()
    (one,) = json.loads(told.out)["estimates"]
    assert (one["examples"], one["forwards"], one["batch_size"]) == (50, 16, 10)
    assert one["hours"] == pytest.approx(5 * 16 * one["step_seconds"] / 3600)
    assert "verification and report come on top" in told.err
    assert not list(tmp_path.iterdir())

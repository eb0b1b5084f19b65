"""A search whose examples are decoded by Ray's workers tries, finds and keeps what one process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from dllm_decode.errors import ConfigError
from dllm_decode.model import DiffusionLM
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from tests.support.random_model import RandomModel

pytest.importorskip("ray")
FEW: dict[str, Any] = {"trials": 4, "examples": 8, "verify_examples": 8, "test_examples": 8, "batch_size": 4, "generation": 2}


def trials_of(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What a study says of its trials, apart from when."""
    said = ("slot", "digest", "label", "reason", "outcomes")
    return [
        (trial.state, trial.params, trial.values, *(trial.user_attrs.get(name) for name in said))
        for trial in study.get_trials(deepcopy=False)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


def kill_a_worker() -> None:
    """Kill the first worker that holds a model, with SIGKILL, once there is one."""
    for _ in range(600):
        shown = subprocess.run(["pgrep", "-f", "ray::_Worker"], capture_output=True, text=True, check=False)
        if shown.stdout.split():
            os.kill(int(shown.stdout.split()[0]), signal.SIGKILL)
            return
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_two_workers_of_which_one_is_killed_make_the_study_of_one_process(folder: Path, tmp_path: Path) -> None:
    alone = tune(folder, "line", cache=tmp_path / "alone", **FEW)
    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    shared = tune(folder, "line", cache=tmp_path / "shared", workers=2, **FEW)
    killer.join()
    assert trials_of(shared.study) == trials_of(alone.study)
    assert shared.strategy.digest() == alone.strategy.digest()
    assert shared.report.chosen.score == alone.report.chosen.score


def test_workers_need_a_model_that_lies_on_a_disk() -> None:
    with pytest.raises(ConfigError, match="workers: .* was made in this process"):
        tune(DiffusionLM(RandomModel()), "line", workers=2, **FEW)

"""A search whose examples are decoded by Ray's workers tries, finds and keeps what one process does, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from dllm_decode.errors import ConfigError
from dllm_decode.model import DiffusionLM
from dllm_decode.testing.random_checkpoint import write_checkpoint
from dllm_search import tune
from dllm_search.trials.study import open_study
from dllm_search.tuning import TuneResult
from tests.support.made_up_study import until
from tests.support.postgres import Server, UnavailableError
from tests.support.random_model import RandomModel
from tests.support.ray_nodes import two_nodes as two_nodes
from tests.support.ray_processes import kill_a_worker, workers

ray = pytest.importorskip("ray")
slow = pytest.mark.slow
TRIALS = 10
FEW: dict[str, Any] = {
    "trials": TRIALS,
    "examples": 8,
    "verify_examples": 8,
    "test_examples": 8,
    "batch_size": 4,
    "generation": 2,
}


def trials_of(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What a study says of its trials, apart from when."""
    said = ("slot", "digest", "label", "reason", "outcomes")
    return [
        (trial.state, trial.params, trial.values, *(trial.user_attrs.get(name) for name in said))
        for trial in study.get_trials(deepcopy=False)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("search") / "model")


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    """What one process comes to."""
    return tune(folder, "line", cache=tmp_path_factory.mktemp("alone"), **FEW)


def assert_same(shared: TuneResult, alone: TuneResult) -> None:
    assert trials_of(shared.study) == trials_of(alone.study)
    assert shared.strategy.digest() == alone.strategy.digest()
    assert shared.report.chosen.score == alone.report.chosen.score


@slow
def test_two_workers_of_which_one_is_killed_make_the_study_of_one_process(
    folder: Path, alone: TuneResult, tmp_path: Path
) -> None:
    killer = threading.Thread(target=kill_a_worker, args=[os.getpid()])
    killer.start()
    shared = tune(folder, "line", cache=tmp_path, workers=2, **FEW)
    killer.join()
    assert_same(shared, alone)


@slow
def test_a_search_goes_on_to_the_same_end_when_a_node_is_removed_in_the_middle(
    folder: Path, alone: TuneResult, two_nodes: Any, tmp_path: Path
) -> None:
    (second,) = two_nodes.worker_nodes
    seen: list[str] = []

    def remove_once(line: str) -> None:
        seen.append(line)
        if len(seen) == 2:
            two_nodes.remove_node(second, allow_graceful=False)

    shared = tune(folder, "line", cache=tmp_path, workers=2, ray_address=two_nodes.address, say=remove_once, **FEW)
    assert not two_nodes.worker_nodes
    assert len(seen) > 2
    assert_same(shared, alone)


class Driver:
    """`search run` with two workers, in a process of its own."""

    def __init__(self, folder: Path, out: Path, storage: str | Path, ray_address: str | None = None) -> None:
        """Start it; without an address it starts a Ray of its own."""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in FEW.items()]
        command = ["search", "run", "--task=line", f"--model={folder}", "--study=shared", "--no-presets", *options]
        if ray_address is not None:
            command.append(f"--ray-address={ray_address}")
        # Whose children the workers are.
        self.above = os.getpid() if ray_address else None
        self.log = out / "log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dllm_decode", *command, f"--storage={storage}", f"--out={out}", "--workers=2"],
                env={**os.environ, "DLLM_DECODE_CACHE": str(out / "cache")},
                stdout=log,
                stderr=log,
            )

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something while it runs."""
        # Looking on takes time too, from everybody.
        until(lambda: condition() or self.process.poll() is not None, seconds=300, pause=0.1)
        assert self.process.poll() is None, self.log.read_text()

    def kill(self) -> None:
        """End it by what no program can catch, and see that its workers leave the device to the next one."""
        holding = workers(self.above or self.process.pid)
        assert holding
        self.process.kill()
        self.process.wait()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in holding), pause=0.2)

    def end(self) -> None:
        """Wait until it is done."""
        assert self.process.wait(300) == 0, self.log.read_text()


def written(storage: str | Path) -> int:
    """Count the trials of a study that may be about to begin."""
    if isinstance(storage, Path) and not storage.exists():
        return 0
    try:
        return len(open_study(storage, "shared").trials)
    except ConfigError:
        return 0


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")
def test_a_driver_killed_while_workers_decode_and_started_again_makes_the_same_study(
    folder: Path, alone: TuneResult, tmp_path: Path
) -> None:
    journal = tmp_path / "study.journal"
    first = Driver(folder, tmp_path, journal)
    first.until(lambda: written(journal) >= 2)
    first.kill()
    assert 2 <= written(journal) < TRIALS
    Driver(folder, tmp_path, journal).end()
    assert trials_of(open_study(journal, "shared")) == trials_of(alone.study)


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed: pip install '.[dev]'")
    try:
        started = Server()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    yield started
    started.close()


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes by /proc")
def test_in_a_cluster_and_a_database_with_worker_driver_and_database_killed_it_is_the_same_study_too(
    server: Server, two_nodes: Any, folder: Path, alone: TuneResult, tmp_path: Path
) -> None:
    open_study(server.url, "tables", {})  # makes the tables, so that looking on does not race with the driver
    first = Driver(folder, tmp_path, server.url, two_nodes.address)
    kill_a_worker(os.getpid())
    first.until(lambda: written(server.url) >= 1)
    first.kill()
    before = written(server.url)
    second = Driver(folder, tmp_path, server.url, two_nodes.address)
    second.until(lambda: written(server.url) > before)
    assert written(server.url) < TRIALS
    server.stop()
    server.start()
    second.end()
    assert trials_of(open_study(server.url, "shared")) == trials_of(alone.study)


def test_workers_need_a_model_that_lies_on_a_disk() -> None:
    with pytest.raises(ConfigError, match="workers: .* was made in this process"):
        tune(DiffusionLM(RandomModel()), "line", workers=2, **FEW)

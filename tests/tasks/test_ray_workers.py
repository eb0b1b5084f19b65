"""What workers are given and what is asked of them: room in the cluster, the driver's plugins, the driver's model."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllm_decode.errors import ConfigError
from dllm_decode.evaluate import ray_cluster
from dllm_decode.evaluate.choose import choose_examples
from dllm_decode.evaluate.executors import Job
from dllm_decode.evaluate.ray_cluster import LOOPBACK
from dllm_decode.evaluate.ray_executor import RayExecutor
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from tests.support.ray_processes import below, kill_a_worker

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture
def four_cpus() -> Iterator[None]:
    """A Ray of four CPUs on this machine, to which executors of this process connect."""
    ray.init(
        address="local",
        num_cpus=4,
        _node_ip_address=LOOPBACK,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("ray") / "model")


class Holder:
    """Somebody else in the cluster, who holds CPUs."""

    def here(self) -> bool:
        """Say so."""
        return True


def hold(cpus: int) -> Any:
    holder = ray.remote(Holder).options(num_cpus=cpus).remote()
    assert ray.get(holder.here.remote())
    return holder


def job(scheduler: str = "even") -> Job:
    task = load_registry().task("line")
    chosen = choose_examples(task, "test", None, 4, None)
    resolved = Strategy.load("llada", gen_length=task.gen_length).override({"scheduler": {"name": scheduler}})
    return Job(resolved, task, chosen.examples, chosen.places, batch_size=2)


def test_workers_take_the_cpus_that_others_leave_and_say_what_is_missing(
    four_cpus: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "GIVEN_BACK", 2.0)
    other = hold(2)
    # Two CPUs each if nobody else were there; one each is left.
    with RayExecutor(str(folder), 2) as executor:
        assert sum(len(part.numbers) for part in executor.outcomes(job())) == 4
        begun = time.monotonic()
        with pytest.raises(
            ConfigError,
            match="no room for 3: each needs a CPU, and 0 of 4 CPUs are free; others hold the rest: ask for fewer",
        ):
            RayExecutor(str(folder), 3)
        assert time.monotonic() - begun < 30
    with pytest.raises(ConfigError, match="no room for 3: .* 2 of 4 CPUs are free"):
        RayExecutor(str(folder), 3)
    ray.kill(other)
    # What is given back a moment later is waited for.
    monkeypatch.setattr(ray_cluster, "GIVEN_BACK", 10.0)
    RayExecutor(str(folder), 3).close()


PLUGIN = '''
from typing import Literal

from dllm_decode.plugin import SchedulerConfig, best_open, hookimpl


class Steady(SchedulerConfig):
    name: Literal["steady"] = "steady"

    def select(self, view, proposal):
        return best_open(proposal.score, view.open)


@hookimpl
def dllm_scheduler():
    return [Steady]
'''


def install(place: Path, version: str) -> None:
    """Install a plugin, in place of an earlier version of it."""
    for old in place.glob("*.dist-info"):
        shutil.rmtree(old)
    (place / "steady_plugin.py").write_text(PLUGIN)
    info = place / f"steady_plugin-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: steady-plugin\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[dllm_decode]\nsteady = steady_plugin\n")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place that this process and its workers find plugins in; one is there, in version 1.0."""
    place = tmp_path / "plugins"
    place.mkdir()
    install(place, "1.0")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *sys.path]))
    monkeypatch.setenv("DLLM_DECODE_PLUGINS", "steady")
    load_registry.cache_clear()
    yield place
    load_registry.cache_clear()


def test_a_worker_with_another_version_of_a_plugin_is_refused(plugins: Path, folder: Path) -> None:
    mine = job("steady")
    with RayExecutor(str(folder), 1) as executor:
        assert sum(len(part.numbers) for part in executor.outcomes(mine)) == 4
        install(plugins, "2.0")
        kill_a_worker(os.getpid())  # Ray starts it anew, and it finds what is there now
        with pytest.raises(ConfigError) as refused:
            list(executor.outcomes(mine))
        assert "scheduler 'steady' comes from plugin 'steady' of steady-plugin 2.0" in str(refused.value)
        assert "for the driver from plugin 'steady' of steady-plugin 1.0; install the same" in str(refused.value)
        assert sum(len(part.numbers) for part in executor.outcomes(job())) == 4  # needs no plugin
        shutil.rmtree(next(plugins.glob("*.dist-info")))
        kill_a_worker(os.getpid())
        with pytest.raises(ConfigError, match="scheduler 'steady' comes from nowhere, for the driver from"):
            list(executor.outcomes(mine))
    assert not [title for title in below(os.getpid()).values() if title.startswith("ray::")]


def test_a_worker_with_another_checkpoint_of_the_same_name_is_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    with RayExecutor(str(folder), 1) as executor:
        assert sum(len(part.numbers) for part in executor.outcomes(job())) == 4
        os.utime(folder / "model.safetensors", (1, 1))  # copied at another time
        kill_a_worker(os.getpid())
        assert sum(len(part.numbers) for part in executor.outcomes(job())) == 4
        write_checkpoint(folder, initializer_range=0.25)
        kill_a_worker(os.getpid())
        with pytest.raises(ConfigError, match="is another checkpoint .* put the same one on every machine"):
            list(executor.outcomes(job()))

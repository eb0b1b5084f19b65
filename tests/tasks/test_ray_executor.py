"""Evaluation by workers: the same outcomes as one process, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dllm_decode.cli import main
from dllm_decode.errors import ConfigError, ModelError
from dllm_decode.evaluate.choose import choose_examples
from dllm_decode.evaluate.evaluate import evaluate
from dllm_decode.evaluate.executors import InProcess, Job
from dllm_decode.evaluate.outcomes import Outcome
from dllm_decode.evaluate.ray_cluster import LOOPBACK, share
from dllm_decode.evaluate.ray_executor import RayExecutor
from dllm_decode.model import DiffusionLM
from dllm_decode.plugins.registry import load_registry
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.random_checkpoint import write_checkpoint
from tests.support.made_up_study import until
from tests.support.ray_nodes import two_nodes as two_nodes
from tests.support.slow_task import SlowSquare

ray = pytest.importorskip("ray")

NOISY = Strategy.load("llada", steps=4, temperature=1.0)
LIMIT, BATCH = 24, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("ray") / "model")


@pytest.fixture(scope="module")
def alone(folder: Path) -> list[Outcome]:
    """What one process comes to."""
    lm = DiffusionLM.from_pretrained(folder)
    done = evaluate(lm, SlowSquare(), NOISY, limit=LIMIT, batch_size=BATCH, seed=3, cache=False)
    return plain(done.outcomes)


def plain(outcomes: tuple[Outcome, ...]) -> list[Outcome]:
    """Leave out what depends on how examples were batched, and on the clock."""
    return [replace(one, seconds=0.0, model_calls=0.0) for one in outcomes]


@pytest.fixture
def workers(folder: Path) -> Iterator[RayExecutor]:
    with RayExecutor(str(folder), 2) as executor:
        yield executor


def pids(executor: RayExecutor) -> list[int]:
    """Return the workers' processes; none while one of them is not there."""
    try:
        return ray.get([worker.__ray_call__.remote(lambda _: os.getpid()) for worker in executor._workers])
    except ray.exceptions.RayActorError:
        return []


@pytest.mark.slow
def test_two_workers_come_to_what_one_process_does(
    workers: RayExecutor, alone: list[Outcome], folder: Path, tmp_path: Path
) -> None:
    given = {"limit": LIMIT, "batch_size": BATCH, "seed": 3, "cache": tmp_path, "executor": workers}
    done = evaluate(None, SlowSquare(), NOISY, **given)
    assert plain(done.outcomes) == alone
    assert done.record.model == str(folder) and done.record.device == "cpu"
    assert done.record.model_fingerprint == DiffusionLM.from_pretrained(folder).fingerprint
    assert len(set(pids(workers))) == 2
    assert evaluate(None, SlowSquare(), NOISY, **given).record.resumed == LIMIT
    assert all(key.startswith(f"node:{LOOPBACK}") for key in ray.cluster_resources() if key[5:6].isdigit())


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_and_repeats_nothing(
    workers: RayExecutor, alone: list[Outcome], tmp_path: Path
) -> None:
    victim, _ = pids(workers)
    seen: list[int] = []

    def kill_once(done: int, total: int, correct: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            os.kill(victim, signal.SIGKILL)

    done = evaluate(
        None,
        SlowSquare(),
        NOISY,
        limit=LIMIT,
        batch_size=BATCH,
        seed=3,
        cache=tmp_path,
        progress=kill_once,
        executor=workers,
    )
    assert plain(done.outcomes) == alone
    assert seen == list(range(0, LIMIT + 1, BATCH))
    (kept,) = tmp_path.iterdir()
    names = [json.loads(line)["example"] for line in kept.read_text().splitlines()[1:]]
    assert len(names) == len(set(names)) == LIMIT
    assert not Path(f"/proc/{victim}").exists()


@pytest.mark.slow
def test_a_node_removed_in_the_middle_loses_and_repeats_nothing(
    two_nodes: Any, folder: Path, alone: list[Outcome]
) -> None:
    (second,) = two_nodes.worker_nodes
    seen: list[int] = []

    def remove_once(done: int, total: int, correct: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            two_nodes.remove_node(second, allow_graceful=False)

    with RayExecutor(str(folder), 2, address=two_nodes.address) as executor:
        options = {"limit": LIMIT, "batch_size": BATCH, "seed": 3, "cache": False}
        done = evaluate(None, SlowSquare(), NOISY, **options, progress=remove_once, executor=executor)
        assert plain(done.outcomes) == alone
        assert seen == list(range(0, LIMIT + 1, BATCH))
        # An answer too large for a message lies on the machine that gave it, and is lost with it.
        two_nodes.add_node(num_cpus=1, node_ip_address=LOOPBACK)
        until(lambda: len(set(pids(executor))) == 2)
        chosen = choose_examples(SlowSquare(), "test", None, 6, None)
        large = tuple(replace(example, id=f"{n}" * 200_000) for n, example in enumerate(chosen.examples))
        parts = executor.outcomes(Job(NOISY, SlowSquare(), large, chosen.places, batch_size=1))
        numbers = [*next(parts).numbers]
        time.sleep(3)
        two_nodes.remove_node(*two_nodes.worker_nodes, allow_graceful=False)
        numbers += [number for part in parts for number in part.numbers]
        assert sorted(numbers) == list(range(6))


@pytest.mark.slow
def test_the_command_line_takes_workers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["eval", "--task", "square", "--model", str(folder), "--limit", "6", "--batch-size", "2", "--json"]
    records = []
    for more in (["--no-cache"], ["--no-cache", "--workers", "2"]):
        assert main([*given, *more]) == 0
        records.append(json.loads(capsys.readouterr().out))
    for name in ("n", "accuracy", "forward_passes", "tokens", "model_fingerprint", "strategy_digest"):
        assert records[0][name] == records[1][name]
    assert not ray.is_initialized()


@pytest.mark.slow
def test_what_a_worker_cannot_do_is_said_as_in_one_process(workers: RayExecutor) -> None:
    job = Job(NOISY.override({"gen_length": 300}), SlowSquare(), *_two_examples())
    with pytest.raises(ConfigError, match="over the model's context"):
        list(workers.outcomes(job))
    workers.close()
    with pytest.raises(ConfigError, match="closed"):
        list(workers.outcomes(job))


@pytest.mark.slow
def test_a_model_that_workers_cannot_load_is_said_as_in_one_process(tmp_path: Path) -> None:
    with RayExecutor(str(tmp_path / "nothing"), 1) as executor:
        with pytest.raises(ModelError, match="nothing"):
            _ = executor.model
        with pytest.raises(ModelError, match="nothing"):
            list(executor.outcomes(Job(NOISY, SlowSquare(), *_two_examples())))


def _two_examples() -> tuple[tuple, tuple]:
    chosen = choose_examples(SlowSquare(), "test", None, 2, None)
    return chosen.examples, chosen.places


def test_an_example_keeps_its_row_id_whatever_the_cut(folder: Path) -> None:
    executor = InProcess(DiffusionLM.from_pretrained(folder))
    task = load_registry().task("line")
    chosen = choose_examples(task, "test", None, 6, None)
    whole = Job(NOISY, task, chosen.examples, chosen.places, seed=1, batch_size=6)
    texts = {n: o.text for part in executor.outcomes(whole) for n, o in zip(part.numbers, part.outcomes, strict=True)}
    some = replace(whole, examples=chosen.examples[3:5], places=chosen.places[3:5])
    (part,) = executor.outcomes(some)
    assert {n + 3: o.text for n, o in zip(part.numbers, part.outcomes, strict=True)} == {n: texts[n] for n in (3, 4)}


def test_workers_share_the_cpus_and_take_a_gpu_each_where_there_are_any() -> None:
    def node(**resources: float) -> dict:
        return {"Alive": True, "Resources": resources}

    assert share([node(CPU=8.0)], 2, None) == {"CPU": 4}
    assert share([node(CPU=4.0), node(CPU=4.0), node(CPU=4.0)], 2, None) == {"CPU": 4}
    assert share([node(CPU=8.0, GPU=2.0)], 2, None) == {"GPU": 1, "CPU": 1}
    assert share([node(CPU=8.0, GPU=2.0)], 8, "cpu") == {"CPU": 1}
    with pytest.raises(ConfigError, match="3 are more than the 2 GPUs there are; ask for fewer, or use --device"):
        share([node(CPU=8.0, GPU=2.0)], 3, None)
    with pytest.raises(ConfigError, match="9 are more than the 8 CPUs"):
        share([node(CPU=8.0)], 9, None)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["eval", "--task", "square", "--workers", "2"]) == 2
    assert "pip install 'dllm-decode[ray]'" in capsys.readouterr().err
    assert main(["eval", "--task", "square", "--ray-address", "auto"]) == 2
    assert "--workers N" in capsys.readouterr().err

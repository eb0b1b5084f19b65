"""The loops that the engine is timed beside decode what it decodes, and pay for what the released loops pay for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.lib import measuring
from benchmarks.lib.measuring import Counted, forward_of
from benchmarks.loops import cached as loops_cached
from benchmarks.loops import released as loops
from benchmarks.speed import released
from dllm_decode import DiffusionLM
from dllm_decode.testing.checkpoints import write_small_model

CASES = {case.name: case for case in released.CASES}


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    """A small LLaDA checkpoint in float64, where equal means equal."""
    folder = write_small_model(tmp_path_factory.mktemp("loops"), max_sequence_length=256)
    return DiffusionLM.from_pretrained(folder, dtype="float64")


def prompts(rows: int = 2) -> Tensor:
    """(rows, 9) int64 tokens."""
    return torch.randint(0, 256, (rows, 9), generator=torch.Generator().manual_seed(0))


def block(length: int) -> dict[str, Any]:
    return {"name": "fixed", "length": length}


@pytest.mark.parametrize("name", CASES)
def test_every_case_decodes_the_same_in_the_engine_and_in_the_loop(lm: DiffusionLM, name: str) -> None:
    pair = CASES[name].pair(lm, prompts())
    with torch.inference_mode():
        assert torch.equal(pair.engine().canvas, pair.loop())


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("length", [4, 5, 10])
def test_the_dual_cache_loop_decodes_what_the_engine_decodes_with_a_dual_cache(
    lm: DiffusionLM, threshold: float, length: int
) -> None:
    options: dict[str, Any] = {"block": block(length), "scheduler.threshold": threshold, "cache": "dual"}
    out = lm.generate(prompts(3), "fast-dllm", gen_length=20, **options)
    forward = Counted(loops_cached.cached_forward_of(lm))
    with torch.inference_mode():
        tokens = loops_cached.fast_dllm_dual(
            forward,
            prompts(3),
            gen_length=20,
            block_length=length,
            threshold=threshold,
            mask_id=lm.special.mask,
        )
    assert torch.equal(out.canvas, tokens)
    assert out.model_calls <= forward.calls


def test_the_dual_cache_loop_pays_for_a_block_that_its_first_forward_has_finished(lm: DiffusionLM) -> None:
    sizes = []

    def watched(tokens: Tensor, cache: loops_cached.BlockCache) -> Tensor:
        sizes.append(tokens.shape[1])
        return forward(tokens, cache)

    forward = loops_cached.cached_forward_of(lm)
    with torch.inference_mode():
        loops_cached.fast_dllm_dual(
            watched, prompts(), gen_length=12, block_length=4, threshold=1e-6, mask_id=lm.special.mask
        )
    out = lm.generate(
        prompts(), "fast-dllm", gen_length=12, cache="dual", block=block(4), **{"scheduler.threshold": 1e-6}
    )
    assert sizes == [21, 4] * 3
    assert out.model_calls == 3


def test_63_of_the_128_calls_of_the_block_wise_loop_commit_nothing(lm: DiffusionLM) -> None:
    seen = []

    def watched(tokens: Tensor) -> Tensor:
        seen.append(tokens.clone())
        return forward(tokens)

    forward = forward_of(lm)
    with torch.inference_mode():
        last = loops.said_block(
            watched,
            prompts(),
            gen_length=128,
            block_length=128,
            steps=128,
            stage_count=3,
            rec_steps=2,
            mask_id=lm.special.mask,
        )
    idle = [torch.equal(before, after) for before, after in zip(seen, [*seen[1:], last], strict=True)]
    assert len(idle) == 128
    assert sum(idle) == 63
    assert not (last == lm.special.mask).any()


def test_the_engine_skips_the_calls_that_commit_nothing(lm: DiffusionLM) -> None:
    assert CASES["said-block"].pair(lm, prompts()).engine().model_calls == 128 - 63


def test_a_proposal_leaves_the_logits_as_they_were(lm: DiffusionLM) -> None:
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    logits[0, 1, 4] = 9.0
    before = logits.clone()
    choice, probability = loops.propose(logits, mask_id=4)
    assert torch.equal(logits, before)
    assert not (choice == 4).any()
    assert probability[0, 1] == before.double().softmax(-1)[0, 1, choice[0, 1]]


def test_the_benchmark_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "released.json"
    released.main(["--only", "said", "--repeats", "2", "--batch", "1", "--json", str(file)])
    written = json.loads(file.read_text())
    (row,) = written["results"]
    low, high = row["ratio_spread"]
    assert (row["case"], row["batch"], row["target"], row["differing_tokens"]) == ("said", 1, 0.92, 0)
    assert 0 < low <= row["ratio"] <= high
    assert 0 < row["model_calls"] <= row["loop_model_calls"]
    assert 2 <= row["repeats"] <= 20 and written["threads"] == torch.get_num_threads()
    assert {"device", "versions", "date"} <= written.keys()
    assert "said" in capsys.readouterr().out


@pytest.mark.skipif(not measuring.STATUS.is_file(), reason="needs Linux's account of a process")
def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it(root: Path) -> None:
    size = 1 << 30
    held = torch.ones(size, dtype=torch.uint8)
    assert measuring.peak_memory() >= measuring.resident_memory() >= held.nbytes
    command = [sys.executable, "-c", "from benchmarks.lib.measuring import peak_memory; print(peak_memory())"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < size

"""On a GPU: nothing waits for the host where the schedule is known, and the GPU's paths decode what the CPU's do.

Skipped where there is none; what these paths compute is tested on the CPU elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dllm_decode import DiffusionLM
from dllm_decode.decoding.loop import Decode
from dllm_decode.forward import statistics_kernel
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.checkpoints import write_small_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

PROMPTS = [[5] * length + [9 + length] for length in (1, 8, 3, 12, 2)]
SAME_LENGTH = [[5, 6, 7 + row] for row in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LLaDA checkpoint."""
    return write_small_model(tmp_path_factory.mktemp("gpu"))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make every wait of the host for the device an error, from the first forward to the last commit."""
    questions = Decode.questions

    def strictly(run: Decode) -> Any:
        verify = run.contract.verify

        def relaxed() -> None:
            torch.cuda.set_sync_debug_mode("default")  # the last commit is made; what follows is the end's one look
            verify()

        monkeypatch.setattr(run.contract, "verify", relaxed)
        torch.cuda.set_sync_debug_mode("error")
        return questions(run)

    monkeypatch.setattr(Decode, "questions", strictly)
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("llada", {"steps": 5}),
        ("llada", {"steps": 5, "confidence": "random", "temperature": 0.7}),
        ("llada", {"block": {"name": "fixed", "length": 4}, "cache": "dual"}),
        ("llada", {"steps": 5, "logits": ["guidance", "forbid-eos"]}),
        ("said-block", {"steps": 9, "block": {"name": "fixed", "length": 4}}),
    ],
)
def test_a_schedule_known_in_advance_never_waits(
    folder: Path, watched: None, recipe: str, changes: dict[str, Any]
) -> None:
    lm = DiffusionLM.from_pretrained(folder, device="cuda", dtype="float32")
    strategy = Strategy.load(recipe).override({"gen_length": 12, **changes})
    assert lm.generate(SAME_LENGTH, strategy).tokens.shape == (4, 12)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("llada", {"steps": 4}),
        ("said", {"steps": 4}),
        ("fast-dllm", {"block.length": 4, "scheduler.threshold": 0.2}),
        ("fast-dllm", {"block.length": 4, "scheduler.threshold": 0.2, "cache": "dual"}),
        ("entropy-bounded", {"block": {"name": "fixed", "length": 6}}),
    ],
)
def test_the_gpu_decodes_what_the_cpu_decodes(
    folder: Path, recipe: str, changes: dict[str, Any], compile: bool
) -> None:
    strategy = Strategy.load(recipe).override({"gen_length": 12, **changes})
    here = DiffusionLM.from_pretrained(folder, device="cpu", dtype="float64")
    there = DiffusionLM.from_pretrained(folder, device="cuda", dtype="float64", compile=compile)
    for batch_size in (5, 2):
        expected = here.generate(PROMPTS, strategy, batch_size=batch_size)
        found = there.generate(PROMPTS, strategy, batch_size=batch_size)
        assert torch.equal(found.tokens.cpu(), expected.tokens)
        assert torch.equal(found.forward_passes.cpu(), expected.forward_passes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_kernel_serves_this_gpu(dtype: torch.dtype) -> None:
    pytest.importorskip("triton")
    logits = torch.zeros(2, 3, 40, dtype=dtype, device="cuda")
    assert statistics_kernel.serves(logits, {"entropy", "second"}, 0.0)

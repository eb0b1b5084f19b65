"""The training script: a toy learns, a resumed run is exact, and what is exported is what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dllm_decode.tasks.generated.square import SquareTask
from training import tokenizer as tokenizers_
from training.data import draw_batch, make_pool
from training.evaluate import decode
from training.export import export
from training.optimizer import orthogonalise
from training.train import Trainer

TOY = {
    "seed": 1,
    "shape": {"width": 32, "layers": 2, "heads": 2, "hidden": 64},
    "pool_size": 2000,
    "tokens_per_batch": 1024,
    "matrix_rate": 0.02,
    "vector_rate": 0.01,
    "decay": 0.01,
    "warmup_steps": 5,
    "total_steps": 60,
    "average_horizon": 0.9,
    "revealed_tail": 0.25,
    "tail_weight": 0.2,
    "log_every": 20,
    "evaluate_seconds": 1e9,
    "evaluate_examples": 4,
    "phases": [{"from_step": 0, "rate": [1, 0], "inverse_ratio": 0.0, "mix": {"code": 1}}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy's plan and its tokenizer."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "plan.json").write_text(json.dumps(TOY))
    (folder / "whole").mkdir()
    tokenizers_.save(tokenizers_.build(tokenizers_.corpus(500, 1)), folder / "whole")
    return folder


def _trainer(run: Path, name: str) -> Trainer:
    out = run / name
    out.mkdir(exist_ok=True)
    (out / "tokenizer.json").write_text((run / "whole" / "tokenizer.json").read_text())
    return Trainer(run / "plan.json", out, compiled=False)


@pytest.fixture(scope="module")
def whole(run: Path) -> Trainer:
    """The toy trained in one go."""
    trainer = _trainer(run, "whole")
    trainer.run()
    return trainer


def test_a_toys_loss_falls(run: Path, whole: Trainer) -> None:
    records = [json.loads(line) for line in (run / "whole" / "log.jsonl").read_text().splitlines()]
    losses = [record["losses"]["code"] for record in records if record["kind"] == "loss"]
    assert len(losses) == 3
    assert losses[-1] < 0.7 * losses[0]
    assert records[-1]["cpu_hours"] > 0


def test_a_resumed_run_ends_in_the_same_weights(run: Path, whole: Trainer) -> None:
    _trainer(run, "halves").run(until=25)
    resumed = _trainer(run, "halves")
    assert resumed.step == 25
    resumed.run()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_an_export_holds_the_averaged_weights_in_bfloat16_under_lladas_names(
    run: Path, whole: Trainer
) -> None:
    folder = run / "export"
    export(whole.average, folder, mask=whole.mask, end=whole.end)
    tensors = load_file(folder / "model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    gate = tensors["model.transformer.blocks.1.ff_proj.weight"]
    assert torch.equal(gate, whole.average.gate_up[1, 0].bfloat16())
    configuration = json.loads((folder / "config.json").read_text())
    assert configuration["model_type"] == "llada" and configuration["mask_token_id"] == whole.mask
    assert not list(folder.glob("*.partial"))


def test_a_batch_masks_answers_only_at_ratios_spread_over_the_rows(whole: Trainer) -> None:
    task = SquareTask()
    pool = make_pool(task, whole.tokenizer, 300, 1, whole.end)
    batch = draw_batch(
        pool,
        np.random.default_rng(0),
        tokens_per_batch=64 * 49,
        mask=whole.mask,
        inverse_ratio=0.0,
        revealed_tail=0.0,
        tail_weight=1.0,
    )
    prompt, answer = batch.tokens[:, : -task.gen_length], batch.tokens[:, -task.gen_length :]
    assert not (prompt == whole.mask).any()
    masked = answer == whole.mask
    assert np.array_equal(masked, batch.weights > 0)
    assert np.array_equal(answer[~masked], batch.targets[~masked])
    shares = np.sort(masked.mean(axis=1))
    assert np.abs(shares - (np.arange(len(shares)) + 0.5) / len(shares)).mean() < 0.1
    assert batch.weights.sum() == pytest.approx(1.0, abs=1e-4)


def test_orthogonalising_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 48, 24, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5 and values.max() < 1.5


def test_the_plain_loop_commits_the_surest_positions_first_block_by_block() -> None:
    sure = torch.tensor([0.2, 0.9, 0.5, 0.7])
    order: list[int] = []

    def forward(tokens: torch.Tensor, valid: torch.Tensor, length: int) -> torch.Tensor:
        order.append(int((tokens[0, -length:] != 9).sum()))
        logits = torch.zeros(1, length, 10)
        logits[0, :, 9] = 50.0
        for column in range(length):
            logits[0, column, column + 1] = 5 * sure[column]
        return logits

    canvas = torch.tensor([[0, 9, 9, 9, 9]])
    answer = decode(forward, canvas, canvas > -1, length=4, steps=4, block=2, mask=9)
    assert answer.tolist() == [[1, 2, 3, 4]]
    assert order == [0, 1, 2, 3]

"""Processors of samplers keep what Dream's released code keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dllm_decode.model import DiffusionLM
from dllm_decode.testing import SPECIAL, VOCABULARY, ScriptedDenoiser
from dllm_strategies.nucleus import Temper, TopK, TopP


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([[probabilities]]).log()


def kept(logits: Tensor) -> list[int]:
    return [int(place) for place in torch.isfinite(logits[0, 0]).nonzero()[:, 0]]


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.35, [1]), (0.45, [1, 3]), (0.75, [1, 2, 3]), (0.05, [1]), (0.999, [0, 1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_token_that_passes_p_and_never_none(p: float, expected: list[int]) -> None:
    given = logits_of(0.1, 0.4, 0.2, 0.3)
    assert kept(TopP(p=p).process(given.clone(), None, SPECIAL)) == expected


def test_top_k_keeps_ties_and_no_more_than_there_are() -> None:
    given = logits_of(0.3, 0.3, 0.3, 0.1)
    assert kept(TopK(k=1).process(given.clone(), None, SPECIAL)) == [0, 1, 2]
    assert kept(TopK(k=99).process(given.clone(), None, SPECIAL)) == [0, 1, 2, 3]


def test_every_position_is_cut_by_itself() -> None:
    given = torch.randn(3, 5, 40, generator=torch.Generator().manual_seed(0))
    together = TopP(p=0.6).process(given.clone(), None, SPECIAL)
    for row in range(3):
        for column in range(5):
            alone = given[row, column].softmax(-1).sort(descending=True, stable=True)
            count = int((alone.values.cumsum(0) <= 0.6).sum()) + 1
            assert set(alone.indices[:count].tolist()) == set(torch.isfinite(together[row, column]).nonzero()[:, 0].tolist())


def test_tempered_draws_follow_the_tempered_and_cut_distribution() -> None:
    rows, share = 4000, torch.zeros(VOCABULARY)
    share[3:6] = torch.tensor([0.5, 0.3, 0.2])
    table = share.clamp(min=1e-9).log().expand(1, VOCABULARY)
    lm = DiffusionLM(ScriptedDenoiser(table))
    parts = [{"name": "temper", "temperature": 0.5}, {"name": "top-p", "p": 0.8}]
    done = lm.generate([[7]] * rows, "dream", gen_length=1, steps=1, temperature=1.0, logits=parts, batch_size=500)
    drawn = torch.bincount(done.tokens[:, -1], minlength=VOCABULARY) / rows
    # Squares 25 : 9 : 4 of 38; the second passes 0.8, so 25 : 9 are left.
    assert drawn[3].item() == pytest.approx(25 / 34, abs=0.025)
    assert drawn[4].item() == pytest.approx(9 / 34, abs=0.025)
    assert drawn[5].item() == 0


def test_temper_divides() -> None:
    assert torch.equal(Temper(temperature=0.5).process(torch.ones(1, 1, 3), None, SPECIAL), torch.full((1, 1, 3), 2.0))

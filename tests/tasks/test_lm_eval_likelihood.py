"""LLaDA's Monte-Carlo likelihood beside sums over all masks, on models small enough to enumerate."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.harness.likelihood import Pair, draw_masks, likelihoods
from dllm_decode.model import DiffusionLM
from dllm_decode.testing.checkpoints import write_small_model

SYMBOLS, MASK = 3, 3


class Table:
    """A denoiser that knows the joint probability of every text of four symbols, and answers with exact conditionals."""

    special = SpecialTokens(mask=MASK)
    vocab_size = SYMBOLS + 1
    max_length = 4

    def __init__(self, seed: int) -> None:
        logits = 2 * torch.randn((SYMBOLS,) * 4, generator=torch.Generator().manual_seed(seed))
        self.joint = logits.double().flatten().softmax(0).view(logits.shape)
        self.rows = 0

    def logits(self, inputs: ModelInputs) -> Tensor:
        self.rows += len(inputs.tokens)
        return torch.stack([self._row(row.tolist()) for row in inputs.tokens])[:, inputs.window]

    def _row(self, row: list[int]) -> Tensor:
        out = torch.full((len(row), self.vocab_size), -math.inf)
        known = self.joint[tuple(slice(None) if token == MASK else slice(token, token + 1) for token in row)]
        for place in range(len(row)):
            others = [other for other in range(len(row)) if other != place]
            out[place, : known.shape[place]] = known.sum(others).log()
        return out


def exact(lm: DiffusionLM, pair: Pair) -> tuple[float, float]:
    """Return mean and standard deviation of one draw's value, by a sum over all masks with their probabilities."""
    length = len(pair.answer)
    total = squares = 0.0
    for masked in range(1, length + 1):
        for places in itertools.combinations(range(length), masked):
            tokens = [*pair.prompt, *pair.answer]
            for place in places:
                tokens[len(pair.prompt) + place] = lm.special.mask
            logits = lm.denoiser.logits(ModelInputs(torch.tensor([tokens]), None, slice(0, len(tokens))))[0]
            logs = logits.double().log_softmax(-1)
            value = length / masked * sum(float(logs[len(pair.prompt) + p, pair.answer[p]]) for p in places)
            chance = 1 / length / math.comb(length, masked)
            total += chance * value
            squares += chance * value**2
    return total, math.sqrt(squares - total**2)


def test_the_sum_over_all_masks_is_the_log_likelihood_where_the_model_knows_the_joint_probability() -> None:
    table = Table(seed=1)
    conditional = table.joint[0] / table.joint[0].sum()
    for answer in itertools.product(range(SYMBOLS), repeat=3):
        mean, _ = exact(DiffusionLM(table), Pair((0,), answer, 0))
        assert mean == pytest.approx(float(conditional[answer].log()), abs=1e-5)


def test_the_estimate_lies_within_its_error_of_the_sum_over_all_masks() -> None:
    lm = DiffusionLM(Table(seed=2))
    pairs = [Pair((1,), answer, seed) for seed, answer in enumerate(itertools.product(range(SYMBOLS), repeat=3))]
    draws = 400
    errors = []
    for found in likelihoods(lm, pairs, draws=draws, batch_size=64):
        mean, deviation = exact(lm, pairs[found.number])
        errors.append((found.log - mean) / (deviation / math.sqrt(draws)))
    assert len(errors) == 27
    assert max(map(abs, errors)) < 4
    # Neither too good to be drawn nor off to one side.
    assert max(map(abs, errors)) > 0.05
    assert abs(sum(errors)) / math.sqrt(27) < 3


def test_the_estimate_of_a_real_checkpoint_does_too_and_depends_on_neither_batch_nor_company(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_small_model(tmp_path), device="cpu")
    pairs = [Pair((70, 71, 72), (65, 66, 67, 68), 5), Pair((), (80, 81), 6), Pair((70,) * 9, (90,), 7)]
    found = {one.number: one.log for one in likelihoods(lm, pairs, draws=600, batch_size=7)}
    for number, pair in enumerate(pairs):
        mean, deviation = exact(lm, pair)
        assert abs(found[number] - mean) <= 4 * deviation / math.sqrt(600) + 1e-4
        (alone,) = likelihoods(lm, [pair], draws=600, batch_size=600)
        assert alone.log == pytest.approx(found[number], abs=1e-4)


def test_a_single_token_is_exact_in_one_forward_which_all_choices_share() -> None:
    table = Table(seed=3)
    pairs = [Pair((2, 0, 1), (answer,), answer) for answer in range(SYMBOLS)]
    found = list(likelihoods(DiffusionLM(table), pairs, draws=128, batch_size=8))
    assert table.rows == 1
    assert sum(math.exp(one.log) for one in found) == pytest.approx(1)
    assert [one.top for one in sorted(found, key=lambda one: one.number)].count(True) == 1
    best = max(found, key=lambda one: one.log)
    assert best.top


def test_draws_mask_every_number_of_tokens_and_every_token_equally_often() -> None:
    masks = draw_masks(5, 6000, seed=9)
    counts = masks.sum(1).bincount(minlength=6)
    assert counts[0] == 0
    assert ((counts[1:] - 1200).abs() <= 1).all()
    assert ((masks.double().mean(0) - 0.6).abs() < 0.03).all()


def test_few_draws_are_spread_over_the_numbers_of_tokens() -> None:
    assert sorted(draw_masks(4, 4, seed=3).sum(1).tolist()) == [1, 2, 3, 4]
    seen = {int(draw_masks(4, 1, seed=seed).sum()) for seed in range(40)}
    assert seen == {1, 2, 3, 4}

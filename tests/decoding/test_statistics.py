"""One pass over the vocabulary agrees with plain definitions in float64, whole and in pieces."""

import math

import pytest
import torch
from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.forward import statistics
from dllm_decode.forward.statistics import read_in_pieces, vocabulary_statistics
from tests.support.views import noise_of

MASK, EOS, EOT = 11, 1, 2
SPECIAL = SpecialTokens(mask=MASK, eos=EOS, eot=EOT)


def statistics_in_float64(logits: Tensor) -> dict[str, Tensor]:
    """Compute every statistic from (B, W, V) logits with the plain definitions in float64."""
    logits = logits.double()
    p = logits.softmax(-1)
    allowed = p.clone()
    allowed[..., MASK] = -1.0
    token = allowed.argmax(-1)
    without = logits.clone()
    without[..., [EOS, EOT]] = -math.inf
    top_two = allowed.sort(-1, descending=True).values
    return {
        "token": token,
        "probability": p.gather(-1, token[..., None]).squeeze(-1),
        "content_probability": without.softmax(-1).gather(-1, token[..., None]).squeeze(-1),
        "top_probability": top_two[..., 0],
        "second_probability": top_two[..., 1],
        "entropy": -torch.xlogy(p, p).sum(-1),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0])
def test_statistics_agree_with_float64(dtype: torch.dtype, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(3, 7, 12, generator=generator, dtype=torch.float64) * scale).to(dtype)
    logits[0, 0, EOS] = logits[0].max() + 1  # an EOS proposal, whose content probability is 0
    logits[0, 1, MASK] = logits[0].max() + 1  # a model that favours the mask
    logits[1, 1, MASK] = logits[1].max() + 500  # and one that has never seen anything else
    expected = statistics_in_float64(logits)
    found = vocabulary_statistics(logits.clone(), SPECIAL, {"content", "second", "entropy"})
    if dtype != torch.bfloat16:  # bfloat16 logits tie often, and argmax may take either
        assert torch.equal(found.token, expected["token"])
    assert not (found.token == MASK).any()
    for name in ("probability", "content_probability", "top_probability", "second_probability", "entropy"):
        value = getattr(found, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected[name], rtol=2e-5, atol=2e-6, msg=name)


def test_only_what_is_needed_is_computed() -> None:
    found = vocabulary_statistics(torch.zeros(1, 2, 12), SPECIAL)
    assert found.content_probability is None and found.second_probability is None
    assert found.top_probability is None and found.entropy is None


def test_impossible_tokens_do_not_spoil_the_entropy() -> None:
    logits = torch.full((1, 1, 12), -math.inf)
    logits[..., 4:6] = 3.0
    found = vocabulary_statistics(logits, SPECIAL, {"entropy", "second"})
    assert found.entropy is not None and found.entropy.item() == pytest.approx(math.log(2))
    assert found.token.item() == 4
    assert found.probability.item() == pytest.approx(0.5)


def test_probability_is_read_from_logits_without_noise() -> None:
    logits = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    found = vocabulary_statistics(logits.clone(), SPECIAL, temperature=2.0, keys=noise_of(2, 5).keys())
    expected = logits.double().softmax(-1).gather(-1, found.token[..., None]).squeeze(-1)
    torch.testing.assert_close(found.probability.double(), expected, rtol=2e-5, atol=2e-6)


def test_tokens_at_temperature_follow_the_tempered_softmax() -> None:
    draws, temperature = 40_000, 0.7
    row = torch.randn(12, generator=torch.Generator().manual_seed(2))
    row[MASK] = -math.inf
    found = vocabulary_statistics(
        row.expand(1, draws, 12).clone(), SPECIAL, temperature=temperature, keys=noise_of(1, draws).keys()
    )
    share = torch.bincount(found.token[0], minlength=12) / draws
    expected = (row / temperature).softmax(-1)
    spread = (expected * (1 - expected) / draws).sqrt()
    assert ((share - expected).abs() <= 4.5 * spread + 1e-9).all()


def test_probabilities_of_a_real_vocabulary_are_exact_to_five_digits() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 126_464, generator=generator) * 4
    special = SpecialTokens(mask=126_336, eos=126_081, eot=126_348)
    expected = logits.double().softmax(-1).amax(-1)
    found = vocabulary_statistics(logits.clone(), special)
    assert torch.equal(found.token, logits.argmax(-1))
    torch.testing.assert_close(found.probability.double(), expected, rtol=1e-5, atol=0)


def test_equal_logits_propose_the_smallest_token() -> None:
    logits = torch.zeros(1, 2, 12)
    logits[0, 1, [7, 4, MASK]] = 5.0
    assert vocabulary_statistics(logits, SPECIAL).token.tolist() == [[0, 4]]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_pieces_give_what_the_whole_gives_and_are_never_larger_than_the_bound(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(statistics._ENTRIES, "cpu", 5 * 12 + 3)
    logits = torch.randn(1, 17, 12, generator=torch.Generator().manual_seed(4))
    keys = noise_of(1, 17).keys()
    needs = {"content", "second", "entropy", "distribution"}
    asked: list[int] = []

    def logits_of(part: Tensor) -> Tensor:
        asked.append(part.shape[1])
        return part.clone()

    found = read_in_pieces(logits_of, (logits,), 12, SPECIAL, needs, temperature, keys)
    assert asked == [5, 5, 5, 2]
    whole = vocabulary_statistics(logits.clone(), SPECIAL, needs, temperature, keys)
    for name in whole.__slots__:
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-6, atol=1e-7)

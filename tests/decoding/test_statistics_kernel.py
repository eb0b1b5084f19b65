"""The fused pass over the vocabulary agrees with float64, under Triton's interpreter and, where there is one, on a GPU.

Triton reads TRITON_INTERPRET once, when it is imported, so the interpreter runs in a process of its own: in this one
`serves` must go on saying no on a CPU, or every other test would decode with the kernel.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import sys
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.stats import VocabStats
from dllm_decode.forward import statistics_kernel
from dllm_decode.forward.statistics import vocabulary_statistics

Fused = Callable[..., VocabStats]

MASK, EOS, EOT = 11, 1, 2
SPECIAL = SpecialTokens(mask=MASK, eos=EOS, eot=EOT)
NEEDS = frozenset({"content", "second", "entropy"})
FIELDS = {
    "content": ["content_probability"],
    "second": ["top_probability", "second_probability"],
    "entropy": ["entropy"],
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TWO_BLOCKS = 5000  # more than one block of the kernel, and not a multiple of it

needs_triton = pytest.mark.skipif(statistics_kernel.triton is None, reason="Triton is not installed")
not_interpreted = pytest.mark.skipif(
    "TRITON_INTERPRET" in os.environ, reason="TRITON_INTERPRET is set for this process"
)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Executor]:
    """A process in which Triton interprets its kernels."""
    if statistics_kernel.triton is None:
        pytest.skip("Triton is not installed: pip install triton")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            assert process.submit(os.getenv, "TRITON_INTERPRET").result() == "1"  # starts it
        yield process


def on_gpu(logits: Tensor) -> Tensor:
    """Copy to the GPU, strides included."""
    storage = logits.as_strided((logits.untyped_storage().nbytes() // logits.itemsize,), (1,), 0)
    return storage.cuda().as_strided(logits.shape, logits.stride(), logits.storage_offset())


@pytest.fixture(params=["interpreter", *["cuda"] * torch.cuda.is_available()])
def fused(request: pytest.FixtureRequest) -> Fused:
    """`fused_statistics` of a CPU tensor, computed in one of the places where the kernel runs."""
    if request.param == "cuda":

        def on_this_machine(logits: Tensor, special: SpecialTokens, needs: Collection[str]) -> VocabStats:
            found = statistics_kernel.fused_statistics(on_gpu(logits), special, needs)
            return found.map(lambda value: value.cpu())

        return on_this_machine
    process = request.getfixturevalue("interpreter")
    return lambda *given: process.submit(statistics_kernel.fused_statistics, *given).result()


def in_float64(logits: Tensor, special: SpecialTokens = SPECIAL) -> dict[str, Tensor]:
    """Compute every statistic from (..., V) logits with the plain definitions in float64; ties to the smallest id."""
    logits = logits.double()
    p = logits.softmax(-1)
    candidates = logits.clone()
    candidates[..., special.mask] = -math.inf
    top = candidates.max(-1, keepdim=True).values
    ids = torch.arange(logits.shape[-1])
    token = ids.where(candidates == top, logits.shape[-1]).min(-1).values
    others = candidates.scatter(-1, token[..., None], -math.inf)
    without = logits.clone()
    without[..., list(special.ends)] = -math.inf

    def at(p: Tensor, ids: Tensor) -> Tensor:
        return p.gather(-1, ids[..., None]).squeeze(-1)

    return {
        "token": token,
        "probability": at(p, token),
        "content_probability": at(without.softmax(-1), token),
        "top_probability": at(p, token),
        "second_probability": at(p, others.argmax(-1)),
        "entropy": -torch.xlogy(p, p).sum(-1),
    }


def assert_true(found: VocabStats, logits: Tensor, special: SpecialTokens = SPECIAL) -> None:
    """Compare whatever statistics are there with float64."""
    expected = in_float64(logits, special)
    assert found.token.dtype == torch.int64
    assert torch.equal(found.token, expected["token"])
    for name in ("probability", *itertools.chain(*FIELDS.values())):
        value = getattr(found, name)
        if value is not None:
            assert value.dtype == torch.float32
            atol = 1e-6 if name == "entropy" else 1e-30
            torch.testing.assert_close(
                value.double(),
                expected[name],
                rtol=1e-5,
                atol=atol,
                msg=lambda text, name=name: f"{name}: {text}",
            )


def random_logits(
    *shape: int, dtype: torch.dtype = torch.float32, scale: float = 3.0, seed: int = 0
) -> Tensor:
    """Draw normal logits of a shape (..., V)."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


@pytest.mark.parametrize("vocabulary", [24, 932, TWO_BLOCKS])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_statistics_agree_with_float64(fused: Fused, dtype: torch.dtype, vocabulary: int) -> None:
    logits = random_logits(2, 3, vocabulary, dtype=dtype)
    logits[0, 0, EOS] = logits[0, 0].max() + 1
    logits[0, 1, MASK] = logits[0, 1].max() + 1
    logits[1, 1, MASK] = logits[1, 1].max() + 500
    logits[1, 2] *= 20
    assert_true(fused(logits, SPECIAL, NEEDS), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_vocabulary_of_a_large_model_agrees_with_float64(fused: Fused, dtype: torch.dtype) -> None:
    special = SpecialTokens(mask=126_336, eos=126_081, eot=126_348)
    logits = random_logits(3, 126_464, dtype=dtype, scale=1.0)
    logits[0, 126_463] = 20
    logits[1, special.mask] = 12
    assert_true(fused(logits, special, NEEDS), logits, special)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_statistics_are_those_of_the_operations_of_pytorch(
    fused: Fused, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    logits = random_logits(2, 3, TWO_BLOCKS, dtype=dtype)
    logits[0, 0, EOT] = 30
    logits[1, 1, 100:] = -math.inf
    found = fused(logits, SPECIAL, NEEDS)
    monkeypatch.setattr(statistics_kernel, "serves", lambda *given: False)
    expected = vocabulary_statistics(logits.clone(), SPECIAL, NEEDS)
    assert torch.equal(found.token, expected.token)
    for name in ("probability", *itertools.chain(*FIELDS.values())):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (1,), (2, 3), (1, 3), (3, 1), (0,), (2, 0)])
def test_the_fields_have_the_leading_shape_of_the_logits(fused: Fused, shape: tuple[int, ...]) -> None:
    logits = random_logits(*shape, 24)
    found = fused(logits, SPECIAL, NEEDS)
    assert found.token.shape == found.probability.shape == shape
    for name in itertools.chain(*FIELDS.values()):
        assert getattr(found, name).shape == shape
    if 0 not in shape:
        assert_true(found, logits)


@pytest.mark.parametrize(
    "view",
    [
        lambda base: base[..., 7:939],
        lambda base: base[:, ::2],
        lambda base: base[::2, 1:, ::3],
        lambda base: base.transpose(0, 1),
        lambda base: base[0].t().contiguous().t(),  # a token's logits of all positions side by side
        lambda base: base.transpose(0, 2).contiguous().transpose(0, 2),
        lambda base: base[1:2].expand(2, 4, TWO_BLOCKS),
        lambda base: base[:, 1],
    ],
)
def test_strided_logits_are_read_as_they_lie(fused: Fused, view: Callable[[Tensor], Tensor]) -> None:
    logits = view(random_logits(3, 4, TWO_BLOCKS))
    assert_true(fused(logits, SPECIAL, NEEDS), logits)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logits_are_left_unchanged(fused: Fused, dtype: torch.dtype) -> None:
    logits = random_logits(2, 24, dtype=dtype)
    before = logits.clone()
    fused(logits, SPECIAL, NEEDS)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "ids",
    [(4999, 4097, 5), (4096, 0), (4100, 4, 3), (4, 4100), (5, 4096, 6), range(TWO_BLOCKS)],
    ids=["three", "first lane", "neighbour lane", "same lane", "other lanes", "all"],
)
def test_of_equal_logits_the_smallest_id_is_proposed(fused: Fused, ids: Collection[int]) -> None:
    logits = torch.zeros(1, TWO_BLOCKS)
    logits[0, list(ids)] = 5.0
    found = fused(logits, SPECIAL, {"second"})
    assert found.token.item() == min(ids)
    assert torch.equal(found.second_probability, found.top_probability)
    assert_true(found, logits)


def test_few_different_logits_tie_as_in_a_loop(fused: Fused) -> None:
    logits = torch.randint(3, (20, 40), generator=torch.Generator().manual_seed(0)).float()
    found = fused(logits, SPECIAL, NEEDS)
    for row, token in zip(logits.tolist(), found.token.tolist(), strict=True):
        assert token == max((i for i in range(40) if i != MASK), key=lambda i: (row[i], -i))
    assert_true(found, logits)


@pytest.mark.parametrize("lead", [0.0, 1.0, 60.0, 1e30])
def test_the_mask_is_never_proposed_and_stays_in_the_denominator(fused: Fused, lead: float) -> None:
    logits = random_logits(4, TWO_BLOCKS)
    logits[:, MASK] = logits.amax(-1) + lead
    found = fused(logits, SPECIAL, NEEDS)
    assert not (found.token == MASK).any()
    assert_true(found, logits)


@pytest.mark.parametrize("ends", [(None, None), (EOS, None), (None, EOT), (EOS, EOS), (EOS, EOT)])
def test_the_content_probability_leaves_out_the_ends_there_are(
    fused: Fused, ends: tuple[int | None, int | None]
) -> None:
    special = SpecialTokens(mask=MASK, eos=ends[0], eot=ends[1])
    logits = random_logits(4, 932)
    logits[:2, EOS] = torch.tensor([5.0, 200.0])
    logits[1:3, EOT] = torch.tensor([300.0, 8.0])
    found = fused(logits, special, NEEDS)
    proposes_end = torch.tensor([token in special.ends for token in found.token.tolist()])
    assert torch.equal(found.content_probability == 0, proposes_end)
    assert_true(found, logits, special)


def test_impossible_tokens_do_not_spoil_the_entropy(fused: Fused) -> None:
    logits = torch.full((4, TWO_BLOCKS), -math.inf)
    logits[0, 4:6] = 3.0
    logits[1, 4998:] = 3.0  # nothing is possible in the whole first block
    logits[2, [7, 4500]] = torch.tensor([-1e38, 3e38])
    logits[3, 9] = -700.0
    found = fused(logits, SPECIAL, NEEDS)
    assert found.token.tolist() == [4, 4998, 4500, 9]
    torch.testing.assert_close(found.entropy, torch.tensor([math.log(2), math.log(2), 0.0, 0.0]))
    torch.testing.assert_close(found.probability, torch.tensor([0.5, 0.5, 1.0, 1.0]))
    torch.testing.assert_close(found.second_probability, torch.tensor([0.5, 0.5, 0.0, 0.0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_at_the_smallest_number_are_as_likely_as_each_other(fused: Fused, dtype: torch.dtype) -> None:
    logits = torch.full((1, TWO_BLOCKS), torch.finfo(dtype).min, dtype=dtype)
    found = fused(logits, SPECIAL, NEEDS)
    assert found.token.item() == 0
    assert found.probability.item() == pytest.approx(1 / TWO_BLOCKS, rel=1e-5)
    assert found.entropy.item() == pytest.approx(math.log(TWO_BLOCKS), rel=1e-5)


@pytest.mark.parametrize("where", [0, EOS, MASK, 100, TWO_BLOCKS - 1, slice(None)])
def test_a_logit_that_is_nan_makes_every_probability_of_its_position_nan(fused: Fused, where: Any) -> None:
    logits = random_logits(3, TWO_BLOCKS)
    logits[1, where] = math.nan
    found = fused(logits, SPECIAL, NEEDS)
    for value in (found.probability, found.content_probability, found.second_probability, found.entropy):
        assert value.isnan().tolist() == [False, True, False]
    assert 0 <= found.token[1] < TWO_BLOCKS


@pytest.mark.parametrize("value", [-math.inf, math.inf])
def test_a_position_without_a_possible_token_has_nan_for_a_probability(fused: Fused, value: float) -> None:
    logits = random_logits(3, 24)
    logits[1] = value
    found = fused(logits, SPECIAL, NEEDS)
    for statistic in (found.probability, found.second_probability, found.entropy):
        assert statistic.isnan().tolist() == [False, True, False]
    assert found.content_probability.isnan().tolist() == [False, True, False]
    assert found.token[1] == 0


@pytest.mark.parametrize(
    "needs", [frozenset(some) for count in range(4) for some in itertools.combinations(sorted(NEEDS), count)]
)
def test_only_what_is_needed_is_there_whatever_is_asked_together(fused: Fused, needs: frozenset[str]) -> None:
    logits = random_logits(2, 2, TWO_BLOCKS)
    found = fused(logits, SPECIAL, needs)
    wanted = {name for need in needs for name in FIELDS[need]}
    for name in itertools.chain(*FIELDS.values()):
        assert (getattr(found, name) is not None) == (name in wanted)
    assert found.log_probabilities is None
    assert_true(found, logits)


@pytest.mark.parametrize(
    ("logits", "needs", "temperature", "served"),
    [
        (torch.zeros(2, 3, 24), NEEDS, 0.0, True),
        (torch.zeros(3, 24, dtype=torch.bfloat16), (), 0.0, True),
        (torch.zeros(3, 24, dtype=torch.float16), ["decided"], 0, True),
        (torch.zeros(3, 24, dtype=torch.float64), (), 0.0, False),
        (torch.zeros(3, 24, dtype=torch.int64), (), 0.0, False),
        (torch.zeros(3, 24), {"distribution", "entropy"}, 0.0, False),
        (torch.zeros(3, 24), (), 0.5, False),
        (torch.zeros(2, 2, 3, 24), (), 0.0, False),
    ],
)
def test_what_is_served_depends_on_dtype_needs_temperature_and_shape(
    interpreter: Executor, logits: Tensor, needs: Collection[str], temperature: float, served: bool
) -> None:
    assert interpreter.submit(statistics_kernel.serves, logits, needs, temperature).result() is served


@not_interpreted
def test_nothing_is_served_on_a_cpu_without_the_interpreter() -> None:
    assert not statistics_kernel.serves(torch.zeros(2, 24), (), 0.0)


@needs_triton
@not_interpreted
def test_where_the_kernel_cannot_run_a_warning_says_why_and_nothing_is_served() -> None:
    with pytest.warns(RuntimeWarning, match=r"Triton fails for torch\.float32 on cpu.*results are the same"):
        assert not statistics_kernel._works.__wrapped__(torch.device("cpu"), torch.float32)


def test_without_triton_the_module_imports_and_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)  # makes its import fail
    module = imported_anew()
    assert not module.serves(torch.zeros(2, 24), (), 0.0)


def imported_anew() -> ModuleType:
    """Run the kernel's module a second time, under a name of its own."""
    assert statistics_kernel.__file__ is not None
    spec = importlib.util.spec_from_file_location("kernel_without_triton", statistics_kernel.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

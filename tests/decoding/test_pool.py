"""A batch stays full: rows that end early leave, waiting prompts take their place, and no row notices."""

from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.views import Proposal, StepView
from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.forward import read
from dllm_decode.forward.denoiser import Denoiser
from dllm_decode.generation import batches
from dllm_decode.generation.answers import Generation
from dllm_decode.generation.pool import can_share_forwards
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.strategy.strategy import Strategy
from tests.decoding.test_row_independence import LENGTH, STRATEGIES, composed
from tests.support.compositions import compositions
from tests.support.random_model import SPECIAL, RandomModel, random_llama

PROMPTS = [[5], [7, 3, 9, 4, 8, 12, 6], [3, 3, 10], [15, 6, 7, 8, 9], [4, 4], [20, 21], [9] * 11, [6, 5], [8, 3, 4]]


class Counting(RandomModel):
    """Keeps how many rows every forward has."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def logits(self, inputs: ModelInputs) -> torch.Tensor:
        """Return the logits and remember the rows."""
        self.rows.append(inputs.tokens.shape[0])
        return super().logits(inputs)


def headed() -> BidirectionalLlama:
    """The random Llama behind the package's own adapter, which reads columns of each row's own."""
    return BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))


def strategy_of(name: str) -> Strategy:
    recipe, changes = STRATEGIES[name]
    return Strategy.load(recipe).override({"gen_length": LENGTH, **changes})


def generated(model: Denoiser, strategy: Strategy, batch_size: int, prompts: Any = PROMPTS) -> Generation:
    return DiffusionLM(model).generate(prompts, strategy, seed=5, batch_size=batch_size)


def assert_same(found: Generation, expected: Generation) -> None:
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.forward_passes, expected.forward_passes)


@pytest.mark.parametrize("batch_size", [2, 4, 7])
@pytest.mark.parametrize("name", STRATEGIES)
def test_prompts_in_a_full_batch_decode_as_each_does_alone(name: str, batch_size: int) -> None:
    strategy = strategy_of(name)
    assert_same(generated(RandomModel(), strategy, batch_size), generated(RandomModel(), strategy, 1))


@pytest.mark.parametrize("picking", [0, 10**9])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_model_that_reads_columns_of_each_rows_own_decodes_the_same(
    name: str, picking: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = strategy_of(name)
    monkeypatch.setitem(read.WORTH_PICKING, "cpu", 10**9)
    alone = generated(headed(), strategy, 1)
    monkeypatch.setitem(read.WORTH_PICKING, "cpu", picking)
    for batch_size in (1, 5, len(PROMPTS)):
        assert_same(generated(headed(), strategy, batch_size), alone)


class Beside(ConfidenceConfig):
    """Scores a position by the mean probability of what is undecided in the block, open in the step or not."""

    name: Literal["beside"] = "beside"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"undecided"})

    def propose(self, view: StepView) -> Proposal:
        left = view.canvas.undecided[:, view.block.window] & view.block.where[:, view.block.window]
        probability = view.stats.probability.masked_fill(~left, 0.0)
        mean = probability.sum(1, keepdim=True) / left.sum(1, keepdim=True).clamp_min(1)
        return Proposal(view.stats.token, (probability - mean).abs())


@pytest.mark.parametrize("stop", [[], [{"name": "early-commit", "threshold": 0.3}]])
@pytest.mark.parametrize("scheduler", ["even", {"name": "threshold", "threshold": 0.2}])
@pytest.mark.parametrize("layering", ["single", "scaffold", "grid"])
def test_what_is_undecided_beyond_the_stage_is_read_for_parts_that_ask(
    layering: str, scheduler: Any, stop: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = Strategy.load("llada").override(
        {"gen_length": LENGTH, "steps": 9, "layering": layering, "scheduler": scheduler, "stop": stop}
    )
    strategy = strategy.model_copy(update={"confidence": Beside()})
    decoded = []
    for picking in (0, 10**9):
        monkeypatch.setitem(read.WORTH_PICKING, "cpu", picking)
        decoded.append(generated(headed(), strategy, len(PROMPTS)))
    assert_same(*decoded)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=compositions(), seed=st.integers(0, 1000), headed_model=st.booleans())
def test_any_composition_decodes_in_a_full_batch_as_alone(
    data: dict[str, Any], seed: int, headed_model: bool
) -> None:
    strategy = composed(data)
    lm = DiffusionLM(headed() if headed_model else RandomModel())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(read.WORTH_PICKING, "cpu", 0)
        together = lm.generate(PROMPTS[:6], strategy, seed=seed, batch_size=4)
        assert_same(together, lm.generate(PROMPTS[:6], strategy, seed=seed, batch_size=1))


def test_forwards_stay_full_until_the_prompts_run_out() -> None:
    strategy = strategy_of("threshold with a stop")
    prompts = [[5 + number % 9] * (1 + number % 5) for number in range(60)]
    model = Counting()
    out = generated(model, strategy, 8, prompts)
    paid = int(out.forward_passes.sum())
    assert sum(model.rows) == paid  # nothing is run for a row that has nothing to decide
    assert max(model.rows) <= 8
    full = model.rows[: -len(model.rows) // 4]
    assert sum(full) / len(full) > 7
    assert out.model_calls == len(model.rows) < 1.25 * paid / 8


def test_plain_batches_of_the_same_size_take_more_calls() -> None:
    strategy = strategy_of("threshold")
    prompts = [[5 + number % 9] * (1 + number % 5) for number in range(40)]
    pooled = generated(RandomModel(), strategy, 8, prompts)
    watched = DiffusionLM(RandomModel()).generate(prompts, strategy, seed=5, batch_size=8, trace=True)
    assert_same(pooled, watched)
    assert pooled.model_calls < 0.8 * watched.model_calls


def test_schedules_known_in_advance_are_batched_by_length_without_a_pool() -> None:
    shared = {"llada": False, "said-block": False, "said": False, "adablock": False, "fast-dllm": True, "wino": False}
    shared |= {"multi-block": True, "klass": True, "chlg": False, "edit": False}
    assert {name: can_share_forwards(Strategy.load(name)) for name in shared} == shared
    model = Counting()
    out = generated(model, strategy_of("even counts"), 4)
    assert model.rows == [4] * 6 + [4] * 6 + [1] * 6
    assert out.model_calls == 18


def test_holes_anywhere_are_filled_as_alone() -> None:
    texts = [[5, 23, 7, 23, 23], [23, 9], [4, 4, 4, 23, 6, 23], [23, 23, 23], [8, 23, 3, 3], [7, 23]]
    lm = DiffusionLM(RandomModel())
    strategy = Strategy.load("fast-dllm").override({"scheduler.threshold": 0.3})
    assert_same(
        lm.infill(texts, strategy, seed=2, batch_size=3), lm.infill(texts, strategy, seed=2, batch_size=1)
    )


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_answers_stream_as_they_are_finished_each_once(batch_size: int) -> None:
    lm, strategy = DiffusionLM(RandomModel()), strategy_of("threshold")
    whole = lm.generate(PROMPTS, strategy, seed=5)
    seen: list[int] = []
    calls = 0
    for places, part in lm.stream(PROMPTS, strategy, seed=5, batch_size=batch_size):
        assert torch.equal(part.tokens, whole.tokens[places])
        assert torch.equal(part.forward_passes, whole.forward_passes[places])
        seen += places
        calls += part.model_calls
        part.forward_passes.add_(1)  # the caller's own
    assert sorted(seen) == list(range(len(PROMPTS)))
    assert calls == lm.generate(PROMPTS, strategy, seed=5, batch_size=batch_size).model_calls


@pytest.mark.parametrize(
    ("options", "said"),
    [({"gen_length": 0}, "gen_length"), ({"batch_size": 0}, "batch_size"), ({"row_ids": [1]}, "row_ids")],
)
def test_what_is_wrong_is_refused_before_anything_streams(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DiffusionLM(RandomModel()).stream(PROMPTS, "llada", **options)


def test_a_broken_part_is_named_in_a_full_batch_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    from dllm_strategies.confidence import TopProbability

    def nan(self: Any, view: Any) -> Proposal:
        return Proposal(view.stats.token, view.stats.probability * float("nan"))

    monkeypatch.setattr(TopProbability, "propose", nan)
    with pytest.raises(ContractError, match="NaN score"):
        generated(RandomModel(), strategy_of("threshold"), 4)


def test_watched_rows_are_decoded_in_the_order_they_are_given_in() -> None:
    lm, events = DiffusionLM(RandomModel()), []
    strategy = strategy_of("threshold")
    out = lm.generate(PROMPTS, strategy, seed=5, batch_size=4, trace=True, on_step=events.append)
    assert out.trace is not None
    assert [batch.row_ids for batch in out.trace.batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert batches.DEFAULT_BATCH_SIZE == 16 and events

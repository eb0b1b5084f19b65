"""Every decode ends, decides everything it should and nothing else, and says who is at fault when a part misbehaves."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from dllm_decode.data.canvas import Stage
from dllm_decode.data.selection import even_quota, top_by_quota
from dllm_decode.data.views import Proposal, StageContext, StepView
from dllm_decode.decoding.decoded import Decoded, decode
from dllm_decode.errors import ContractError
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.schedulers import EvenScheduler
from tests.support.random_model import SPECIAL, VOCABULARY, FunctionModel, canvas_of, random_logits

PROMPTS = [[5, 6, 7, 8], [9], [3, 3]]
LENGTH = 12
STRATEGIES: dict[str, dict[str, Any]] = {
    "llada": {"steps": 5, "block": "whole"},
    "said": {"steps": 3},
    "said-paper": {"steps": 3},
    "said-block": {"steps": 12, "block": {"name": "fixed", "length": 6}},
    "said-block-chlg": {"steps": 12, "block": {"name": "fixed", "length": 6}},
    "fast-dllm": {"block": {"name": "fixed", "length": 5}},
}


def strategy_of(name: str, **changes: Any) -> Strategy:
    """A recipe at a size that suits the tests."""
    return Strategy.load(name).override({"gen_length": LENGTH, **STRATEGIES[name], **changes})


def run(logits_of: Callable[[Tensor, Tensor | None], Tensor], strategy: Strategy, **options: Any) -> Decoded:
    """Decode the prompts with a model that is a function."""
    return decode(FunctionModel(logits_of), canvas_of(PROMPTS, LENGTH), strategy, **options)


def constant(value: float = 0.0, **entries: float) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Logits that are the same everywhere: `value`, but for the entries `t5=9.0` (token 5) or `mask=9.0`."""
    row = torch.full((VOCABULARY,), value, dtype=torch.float64)
    for name, entry in entries.items():
        row[SPECIAL.mask if name == "mask" else int(name[1:])] = entry

    def logits_of(tokens: Tensor, valid: Tensor | None) -> Tensor:
        return row.expand(*tokens.shape, -1)

    return logits_of


ADVERSARIES: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "all equal": constant(),
    "one-hot": constant(0.0, t7=1e4),
    "huge": constant(-1e30, t7=1e30),
    "favours the mask": constant(0.0, mask=1e4),
    "only ends": constant(-math.inf, t1=0.0, t2=0.0),
    "minus infinity but for the mask and one token": constant(-math.inf, mask=5.0, t4=-3.0),
    "random": random_logits,
}


def assert_law_abiding(done: Decoded, name: str) -> None:
    """The prompt and the padding are as given, nothing is left open, no mask was committed."""
    before = canvas_of(PROMPTS, LENGTH)
    after = done.canvas
    given = ~before.undecided
    assert torch.equal(after.tokens[given], before.tokens[given]), name
    assert not after.undecided.any(), name
    assert not (after.tokens[before.undecided] == SPECIAL.mask).any(), name


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_decode_ends_within_its_bound_whatever_the_model_says(name: str, adversary: str) -> None:
    strategy = strategy_of(name)
    model = FunctionModel(ADVERSARIES[adversary])
    done = decode(model, canvas_of(PROMPTS, LENGTH), strategy)
    assert_law_abiding(done, name)
    assert 1 <= int(done.forward_passes.min()) <= int(done.forward_passes.max()) <= strategy.max_forwards()
    assert int(done.forward_passes.max()) <= done.model_calls == model.calls <= LENGTH + 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 50.0])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_mask_is_never_drawn_at_a_temperature(name: str, temperature: float) -> None:
    done = run(constant(0.0, mask=1e3), strategy_of(name, temperature=temperature), seed=3)
    assert_law_abiding(done, name)


@pytest.mark.parametrize("name", STRATEGIES)
def test_nothing_but_the_mask_being_possible_ends_in_a_token_or_in_a_clear_error(name: str) -> None:
    try:
        done = run(constant(-math.inf, mask=0.0), strategy_of(name))
    except ContractError as error:
        assert "the model" in str(error)
    else:
        assert_law_abiding(done, name)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_logits_stop_the_run_and_name_the_model_stage_and_step(name: str, bad: float) -> None:
    with pytest.raises(ContractError, match=r"the model .*NaN.*stage '.*', step \d"):
        run(constant(0.0, t3=bad), strategy_of(name))


def test_logits_that_turn_bad_later_name_the_step_where_they_did() -> None:
    def logits_of(tokens: Tensor, valid: Tensor | None) -> Tensor:
        decided = (tokens[:, -LENGTH:] != SPECIAL.mask).sum()
        return constant(math.nan if decided >= 9 else 0.0)(tokens, valid)

    with pytest.raises(ContractError, match="step 3"):
        run(logits_of, strategy_of("llada", steps=None))


def test_ties_go_to_the_smallest_column() -> None:
    order: list[list[int]] = []
    run(
        constant(0.0, t7=1.0),
        strategy_of("llada", steps=None),
        on_step=lambda event: order.append(event.chosen[0].nonzero().flatten().tolist()),
    )
    assert order == [[column] for column in range(LENGTH)]


def test_ties_between_tokens_go_to_the_smallest_token() -> None:
    done = run(constant(), strategy_of("llada"))
    assert (done.canvas.tokens[:, -LENGTH:] == 0).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_seed_decides_everything(name: str) -> None:
    strategy = strategy_of(name, temperature=0.9)
    first, second = (run(random_logits, strategy, seed=5) for _ in range(2))
    other = run(random_logits, strategy, seed=6)
    assert torch.equal(first.canvas.tokens, second.canvas.tokens)
    assert torch.equal(first.forward_passes, second.forward_passes)
    assert not torch.equal(first.canvas.tokens, other.canvas.tokens)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_forward_but_a_probe_commits_in_every_row_that_has_open_positions(name: str) -> None:
    events = []
    done = run(random_logits, strategy_of(name), on_step=events.append)
    undecided = canvas_of(PROMPTS, LENGTH).undecided.clone()
    for event in events:
        assert (event.chosen & ~undecided[:, event.window]).sum() == 0
        assert event.chosen.any()
        undecided[:, event.window] &= ~event.chosen
    assert not undecided.any()
    assert len(events) <= done.model_calls + 1  # one probe may serve two commits


def test_a_probe_that_could_commit_nothing_is_not_made() -> None:
    lone = strategy_of("said", gen_length=1, steps=None)
    assert decode(FunctionModel(random_logits), canvas_of(PROMPTS, 1), lone).model_calls == 1
    between = [{"threshold": 0.5, "steps": 2}, {"threshold": 0.2}]
    layered = strategy_of("said", **{"layering.detail.between": between})
    assert run(constant(0.0, t7=1e4), layered).model_calls == 3 + 1


def test_a_scheduler_without_a_budget_may_take_a_forward_for_every_position() -> None:
    strategy = strategy_of("said", scheduler="threshold")
    done = run(constant(), strategy)
    assert done.forward_passes.tolist() == [LENGTH] * len(PROMPTS)
    assert strategy.max_forwards() >= LENGTH


class FaultyScheduler(SchedulerConfig):
    """A scheduler whose selection is a function of the view."""

    name: Literal["faulty-scheduler"] = "faulty-scheduler"
    returns: Any = None

    def select(self, view: StepView, proposal: Proposal) -> Any:
        return self.returns(view, proposal)


class FaultyConfidence(ConfidenceConfig):
    """A confidence whose proposal is a function of the view."""

    name: Literal["faulty-confidence"] = "faulty-confidence"
    returns: Any = None

    def propose(self, view: StepView) -> Any:
        return self.returns(view)


class FaultyLayering(LayeringConfig):
    """A layering whose stages are a function of the context."""

    name: Literal["faulty-layering"] = "faulty-layering"
    returns: Any = None

    def stages(self, context: StageContext) -> Iterator[Stage]:
        yield from self.returns(context)


SELECTIONS: dict[str, tuple[Callable[[StepView, Proposal], Any], str]] = {
    "too narrow": (lambda view, proposal: view.open[:, :-1], r"\(3, 11\) torch.bool"),
    "a row missing": (lambda view, proposal: view.open[:-1], r"\(2, 12\) torch.bool"),
    "scores": (lambda view, proposal: proposal.score, r"torch.float32"),
    "numbers": (lambda view, proposal: view.open.long(), r"torch.int64"),
    "a list": (lambda view, proposal: [[True]], "list"),
    "nothing": (lambda view, proposal: None, "NoneType"),
    "closed positions": (lambda view, proposal: torch.ones_like(view.open), "outside `view.open`"),
}


@pytest.mark.parametrize("fault", SELECTIONS)
def test_a_scheduler_that_breaks_its_contract_is_named_with_its_plugin_stage_and_step(fault: str) -> None:
    returns, said = SELECTIONS[fault]
    odd = fault == "closed positions"  # step 0 has everything open: take a scaffold, where half is closed

    strategy = strategy_of("said" if odd else "llada").model_copy(
        update={"scheduler": FaultyScheduler(returns=returns)}
    )
    with pytest.raises(ContractError, match=said) as caught:
        run(random_logits, strategy)
    message = str(caught.value)
    assert "scheduler 'faulty-scheduler' (a class passed directly)" in message
    assert "stage '" in message and "step 0" in message
    if not odd:
        assert "(3, 12) torch.bool was expected" in message


@pytest.mark.parametrize(
    ("returns", "said"),
    [
        (lambda view: Proposal(view.stats.token, view.stats.probability.double()), "torch.float64"),
        (lambda view: Proposal(view.stats.token.int(), view.stats.probability), "torch.int32"),
        (lambda view: Proposal(view.stats.token[:, 1:], view.stats.probability), r"\(3, 11\)"),
        (lambda view: Proposal(view.stats.token, view.stats.probability[:, 1:]), r"\(3, 11\)"),
        (lambda view: Proposal(view.stats.token, view.stats.probability * math.nan), "NaN score"),
        (
            lambda view: Proposal(torch.full_like(view.stats.token, SPECIAL.mask), view.stats.probability),
            "mask token",
        ),
        (lambda view: None, "NoneType"),
    ],
    ids=["float64 score", "int32 tokens", "few tokens", "few scores", "NaN score", "the mask", "nothing"],
)
def test_a_confidence_that_breaks_its_contract_is_named(returns: Any, said: str) -> None:
    strategy = strategy_of("llada").model_copy(update={"confidence": FaultyConfidence(returns=returns)})
    with pytest.raises(ContractError, match=said) as caught:
        run(random_logits, strategy)
    assert "confidence 'faulty-confidence'" in str(caught.value) and "step 0" in str(caught.value)


def test_a_scheduler_that_selects_nothing_still_commits_the_best_position_of_every_row() -> None:
    class Idle(FaultyScheduler):
        adaptive = True

    strategy = strategy_of("llada").model_copy(
        update={"scheduler": Idle(returns=lambda view, proposal: torch.zeros_like(view.open))}
    )
    done = run(random_logits, strategy)
    assert_law_abiding(done, "idle")
    assert done.model_calls == LENGTH


def test_a_scheduler_that_does_not_finish_its_stage_is_refused() -> None:
    strategy = strategy_of("llada", steps=4).model_copy(
        update={"scheduler": FaultyScheduler(returns=lambda view, proposal: torch.zeros_like(view.open))}
    )
    with pytest.raises(ContractError, match="left 24 positions open after the 4 steps"):
        run(random_logits, strategy)


def test_a_layering_that_forgets_positions_is_refused() -> None:
    def half(context: StageContext) -> Iterator[Stage]:
        where = context.where.clone()
        where[:, ::2] = False
        yield Stage("half", where, None)

    strategy = strategy_of("llada").model_copy(update={"layering": FaultyLayering(returns=half)})
    with pytest.raises(ContractError, match="layering 'faulty-layering'.*18 positions"):
        run(random_logits, strategy)


def test_a_layering_whose_stage_has_the_wrong_shape_is_named() -> None:
    strategy = strategy_of("llada").model_copy(
        update={"layering": FaultyLayering(returns=lambda context: [Stage("odd", context.where[:, 1:], 3)])}
    )
    with pytest.raises(ContractError, match=r"layering 'faulty-layering'.*\(3, 11\).*stage 'odd'"):
        run(random_logits, strategy)


def test_a_scheduler_that_commits_less_than_it_promises_is_refused_before_unread_positions_are_believed() -> None:
    class LateRemainder(EvenScheduler):
        """Takes the remainder in its last steps, and still promises it in the first ones."""

        name: Literal["late-remainder"] = "late-remainder"  # type: ignore[assignment]

        def select(self, view: StepView, proposal: Proposal) -> torch.Tensor:
            steps = view.stage.steps or 1
            return top_by_quota(proposal.score, view.open, even_quota(view.stage_open, steps, steps - 1 - view.step))

    strategy = strategy_of("llada", steps=5).model_copy(update={"scheduler": LateRemainder()})
    with pytest.raises(ContractError, match="scheduler 'late-remainder'.*`commits` is the fewest"):
        run(random_logits, strategy)

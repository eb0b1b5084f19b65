"""Every forward that a row takes part in counts, also those that a block policy or a layering asks for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_decode.data.canvas import Block
from dllm_decode.data.views import BlockContext
from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.plain import decode_plainly
from dllm_decode.errors import ContractError
from dllm_decode.parts.block import BlockConfig
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import FunctionModel, RandomModel, canvas_of, random_logits

PROMPTS = [[5, 6, 7], [9], [3, 3]]
LENGTH = 12


class Nosy(BlockConfig):
    """Blocks of one length; before each, looks at spans that begin with it, each as long as it is told."""

    name: Literal["nosy"] = "nosy"
    probes: ClassVar[bool] = True
    length: int = 4
    looks: tuple[tuple[int, ...], ...] = ()
    """The lengths of the spans looked at before each block."""

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Look, then yield."""
        canvas = context.canvas
        for number, start in enumerate(range(canvas.prompt_length, canvas.length, self.length)):

            def span(length: int, number: int = number, start: int = start) -> Block:
                window = slice(start, min(start + length, canvas.length))
                where = torch.zeros_like(canvas.undecided)
                where[:, window] = True
                return Block(where, window, None, canvas.prompt_length, number=number)

            for length in self.looks[number] if number < len(self.looks) else ():
                if (span(length).where & canvas.undecided).any():
                    context.probe(span(length))
            yield span(self.length)


def strategy_with(looks: tuple[tuple[int, ...], ...], recipe: str = "fast-dllm") -> Strategy:
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, "scheduler.threshold": 0.3})
    return strategy.model_copy(update={"block": Nosy(looks=looks)})


def test_a_policy_that_looks_further_and_further_pays_for_every_look() -> None:
    model = FunctionModel(random_logits)
    strategy = strategy_with(((2, 3, 4),)).model_copy(update={"block": Nosy(length=LENGTH, looks=((2, 3, 12),))})
    sure = strategy.override({"scheduler": {"name": "top-k", "k": LENGTH}})
    done = decode(model, canvas_of(PROMPTS, LENGTH), sure)
    assert model.calls == done.model_calls == 3
    assert done.forward_passes.tolist() == [3, 3, 3]


def test_a_look_at_no_more_than_was_read_costs_nothing() -> None:
    model = FunctionModel(random_logits)
    strategy = strategy_with(()).model_copy(update={"block": Nosy(length=LENGTH, looks=((12, 3, 2, 12),))})
    sure = strategy.override({"scheduler": {"name": "top-k", "k": LENGTH}})
    done = decode(model, canvas_of(PROMPTS, LENGTH), sure)
    assert model.calls == done.model_calls == 1
    assert done.forward_passes.tolist() == [1, 1, 1]


spans = st.lists(st.integers(1, LENGTH), max_size=4).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    looks=st.lists(spans, max_size=3).map(tuple),
    recipe=st.sampled_from(["fast-dllm", "said-block-chlg"]),
    stop=st.booleans(),
)
def test_whatever_is_looked_at_no_call_goes_unpaid_and_rows_pay_as_they_would_alone(
    looks: tuple[tuple[int, ...], ...], recipe: str, stop: bool
) -> None:
    strategy = Strategy.load(recipe).override({"gen_length": LENGTH, "stop": ["eos"] if stop else []})
    strategy = strategy.model_copy(update={"block": Nosy(looks=looks)})
    model = RandomModel()
    done = decode(model, canvas_of(PROMPTS, LENGTH), strategy)
    assert int(done.forward_passes.sum()) >= done.model_calls == model.calls
    law, passes = decode_plainly(RandomModel(), canvas_of(PROMPTS, LENGTH), strategy)
    assert torch.equal(done.canvas.tokens, law.tokens)
    assert torch.equal(done.forward_passes, passes)
    for number, prompt in enumerate(PROMPTS):
        alone = decode(RandomModel(), canvas_of([prompt], LENGTH), strategy, row_ids=torch.tensor([number]))
        assert torch.equal(alone.forward_passes[0], done.forward_passes[number])
        assert torch.equal(alone.canvas.tokens[0, -LENGTH:], done.canvas.tokens[number, -LENGTH:])


class LooksAtWhatIsDone(BlockConfig):
    """Asks for a forward of the first block again when it is finished."""

    name: Literal["looks-at-what-is-done"] = "looks-at-what-is-done"
    probes: ClassVar[bool] = True
    times: int = 1

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Yield everything, and look back."""
        canvas = context.canvas
        block = Block(canvas.undecided.clone(), canvas.region, None, canvas.prompt_length)
        yield block
        for _ in range(self.times):
            context.probe(block)


@pytest.mark.parametrize(("times", "said"), [(1, "no row has an open position"), (10**6, "must end when")])
def test_a_forward_of_what_is_decided_is_refused_and_no_part_can_ask_for_ever(times: int, said: str) -> None:
    strategy = Strategy.load("llada").override({"gen_length": LENGTH, "steps": 2})
    strategy = strategy.model_copy(update={"block": LooksAtWhatIsDone(times=times)})
    with pytest.raises(ContractError, match=f"block 'looks-at-what-is-done' .*{said}"):
        decode(FunctionModel(random_logits), canvas_of(PROMPTS, LENGTH), strategy)


class TooWide(BlockConfig):
    """Asks for a forward of its first column with one window, and for the same column with another."""

    name: Literal["too-wide"] = "too-wide"
    probes: ClassVar[bool] = True

    def blocks(self, context: BlockContext) -> Iterator[Block]:
        """Look twice, and yield everything."""
        canvas = context.canvas
        start = canvas.prompt_length
        first = torch.zeros_like(canvas.undecided)
        first[:, start] = True
        for stop in (start + 1, start + 3):
            context.probe(Block(first, slice(start, stop), None, start))
        yield Block(canvas.undecided.clone(), canvas.region, None, start)


def test_a_window_that_is_wider_than_the_block_in_every_row_is_refused() -> None:
    strategy = Strategy.load("llada").override({"gen_length": LENGTH, "steps": 2})
    strategy = strategy.model_copy(update={"block": TooWide()})
    with pytest.raises(ContractError, match="block 'too-wide' .* covers its `where` and no more"):
        decode(FunctionModel(random_logits), canvas_of(PROMPTS, LENGTH), strategy)

"""Whatever a part of any kind does wrong is said in one sentence that names it, and no decode goes on without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from dllm_decode.data.canvas import Block, Stage
from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.data.views import Proposal, Revision
from dllm_decode.decoding.decoded import decode
from dllm_decode.errors import ContractError, FailedPartError, ModelError
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.block import BlockConfig
from dllm_decode.parts.cache import CacheConfig
from dllm_decode.parts.confidence import ConfidenceConfig
from dllm_decode.parts.forward import ForwardConfig
from dllm_decode.parts.layering import LayeringConfig
from dllm_decode.parts.logits import LogitsConfig
from dllm_decode.parts.revise import ReviseConfig
from dllm_decode.parts.scheduler import SchedulerConfig
from dllm_decode.parts.stop import StopConfig
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import (
    SPECIAL,
    VOCABULARY,
    FunctionModel,
    RandomModel,
    canvas_of,
    random_llama,
    random_logits,
)

PROMPTS = [[5, 6, 7], [9], [3, 3]]
LENGTH = 8
Does = Any


class Answers(PartConfig):
    """A part that answers whatever its test wants."""

    does: Does = None

    def answer(self, *given: Any) -> Any:
        """Do it."""
        return self.does(*given)


class BadConfidence(Answers, ConfidenceConfig):
    """For `propose`."""

    name: Literal["bad-confidence"] = "bad-confidence"
    propose = Answers.answer


class BadScheduler(Answers, SchedulerConfig):
    """For `select`."""

    name: Literal["bad-scheduler"] = "bad-scheduler"
    adaptive: ClassVar[bool] = True
    select = Answers.answer


class BadLayering(Answers, LayeringConfig):
    """For `stages`."""

    name: Literal["bad-layering"] = "bad-layering"
    stages = Answers.answer


class BadBlock(Answers, BlockConfig):
    """For `blocks`."""

    name: Literal["bad-block"] = "bad-block"
    blocks = Answers.answer


class BadLogits(Answers, LogitsConfig):
    """For `process`."""

    name: Literal["bad-logits"] = "bad-logits"
    process = Answers.answer


class BadStop(Answers, StopConfig):
    """For `fill`."""

    name: Literal["bad-stop"] = "bad-stop"
    fill = Answers.answer


class BadRevise(Answers, ReviseConfig):
    """For `revise`."""

    name: Literal["bad-revise"] = "bad-revise"
    revise = Answers.answer


class BadForward(Answers, ForwardConfig):
    """For `plan`."""

    name: Literal["bad-forward"] = "bad-forward"
    plan = Answers.answer

    def read(self, logits: Tensor, *given: Any) -> Tensor:
        """Return a number for each extra column."""
        return logits.float().amax(-1)


class BadCache(Answers, CacheConfig):
    """For `recompute`."""

    name: Literal["bad-cache"] = "bad-cache"
    recompute = Answers.answer


def explode(*given: Any) -> Any:
    raise KeyError("lost")


def whole(view: Any) -> Block:
    canvas = view.canvas
    return Block(canvas.undecided.clone(), canvas.region, None, canvas.prompt_length)


def forever(context: Any) -> Iterator[Stage]:
    while True:
        yield Stage("all", context.where, None, size=LENGTH)


def overwriting(inputs: ModelInputs, block: Block, special: SpecialTokens) -> ModelInputs:
    rows, length = inputs.tokens.shape
    places = torch.arange(length).expand(rows, -1)
    sees = torch.ones(rows, 1, length, length, dtype=torch.bool)
    return replace(inputs, tokens=inputs.tokens * 0 + 4, attention=sees, positions=places)


def filled(view: Any, token: int) -> tuple[Tensor, Tensor]:
    return view.canvas.undecided.clone(), view.canvas.tokens * 0 + token


def after_the_first(columns: Any) -> Any:
    return lambda block, forward, length: None if forward == 0 else columns


CASES: list[tuple[str, PartConfig, str]] = [
    # What a part raises names it.
    ("confidence", BadConfidence(does=explode), r"confidence 'bad-confidence' .* raised KeyError: 'lost' \(block 0, stage"),
    ("scheduler", BadScheduler(does=explode), "scheduler 'bad-scheduler' .* raised KeyError"),
    ("layering", BadLayering(does=explode), "layering 'bad-layering' .* raised KeyError"),
    ("block", BadBlock(does=explode), "block 'bad-block' .* raised KeyError"),
    ("logits", BadLogits(does=explode), "logits 'bad-logits' .* raised KeyError"),
    ("stop", BadStop(does=explode), "stop 'bad-stop' .* raised KeyError"),
    ("revise", BadRevise(does=explode), "revise 'bad-revise' .* raised KeyError"),
    ("forward", BadForward(does=explode), "forward 'bad-forward' .* raised KeyError"),
    ("cache", BadCache(does=explode), "cache 'bad-cache' .* raised KeyError"),
    # Confidence.
    ("confidence", BadConfidence(does=lambda view: None), "'bad-confidence' .* returned NoneType where"),
    (
        "confidence",
        BadConfidence(does=lambda view: Proposal(view.stats.token + 1000, view.stats.probability)),
        "'bad-confidence' .* an id outside the vocabulary",
    ),
    (
        "confidence",
        BadConfidence(does=lambda view: Proposal(view.stats.token * 0 - 1, view.stats.probability)),
        "'bad-confidence' .* an id outside the vocabulary",
    ),
    # Scheduler.
    ("scheduler", BadScheduler(does=lambda view, proposal: 3), "'bad-scheduler' .* returned int where"),
    ("scheduler", BadScheduler(does=lambda view, proposal: None), "'bad-scheduler' .* returned NoneType where"),
    ("scheduler", BadScheduler(does=lambda view, proposal: ~view.open), "'bad-scheduler' .* outside `view.open`"),
    # Layering.
    ("layering", BadLayering(does=lambda context: 7), "'bad-layering' .* raised TypeError: 'int' object is not iterable"),
    ("layering", BadLayering(does=lambda context: [None]), "'bad-layering' .* yielded NoneType where a Stage"),
    (
        "layering",
        BadLayering(does=lambda context: [Stage("all", context.where, None, size=10**6)]),
        "'bad-layering' .* gave the size 1000000 where at most 8",
    ),
    ("layering", BadLayering(does=forever), "'bad-layering' .* gave the size 8 where at most 0"),
    ("layering", BadLayering(does=lambda context: [Stage("a", context.where, -1)]), "'bad-layering' .* gave -1 steps"),
    (
        "layering",
        BadLayering(does=lambda context: [Stage("a", context.where[:, 1:], None)]),
        r"'bad-layering' .* gave positions of \(3, 7\)",
    ),
    # Block policy.
    ("block", BadBlock(does=lambda context: [None]), "'bad-block' .* yielded NoneType where a Block"),
    (
        "block",
        BadBlock(does=lambda context: [replace(whole(context), window=slice(0, 99))]),
        r"'bad-block' .* gave the window slice\(0, 99, None\)",
    ),
    (
        "block",
        BadBlock(does=lambda context: [replace(whole(context), size=400)]),
        "'bad-block' .* gave the size 400",
    ),
    (
        "block",
        BadBlock(does=lambda context: iter(lambda: replace(whole(context), size=8), None)),
        "'bad-block' .* gave blocks of 16 positions",
    ),
    # Logits.
    ("logits", BadLogits(does=lambda *given: None), "'bad-logits' .* returned NoneType where logits"),
    ("logits", BadLogits(does=lambda logits, *given: logits[..., :5]), "'bad-logits' .* where logits of"),
    # Stop rule.
    ("stop", BadStop(does=lambda *given: 3), "'bad-stop' .* returned int where None or a pair"),
    ("stop", BadStop(does=lambda view, special: (view.open, view.open)), r"'bad-stop' .* returned \(3, 8\)"),
    ("stop", BadStop(does=lambda view, special: filled(view, special.mask)), "'bad-stop' .* wrote the mask token"),
    ("stop", BadStop(does=lambda view, special: filled(view, VOCABULARY)), "'bad-stop' .* outside the vocabulary"),
    # Reviser.
    ("revise", BadRevise(does=lambda view: True), "'bad-revise' .* returned bool where None or a Revision"),
    (
        "revise",
        BadRevise(does=lambda view: Revision(view.revisable, view.stats.token * 0 + VOCABULARY)),
        "'bad-revise' .* outside the vocabulary",
    ),
    ("revise", BadRevise(does=lambda view: Revision(view.open, None)), "'bad-revise' .* raised AttributeError"),
    # Forward plan and cache policy.
    ("forward", BadForward(does=lambda *given: None), "'bad-forward' .* should return ModelInputs"),
    ("forward", BadForward(does=overwriting), "'bad-forward' .* changed the canvas's own columns"),
    ("cache", BadCache(does=after_the_first(3)), "'bad-cache' .* returned 3 where None or a slice"),
    ("cache", BadCache(does=after_the_first(slice(-4, None))), "'bad-cache' .* returned slice"),
    ("cache", BadCache(does=after_the_first(slice(3, 5))), "'bad-cache' .* that covers columns 3 to 11"),
    ("cache", BadCache(does=lambda block, *given: block.window), "'bad-cache' .* before anything was kept"),
]


@pytest.mark.parametrize(("kind", "part", "said"), CASES, ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_a_part_that_breaks_its_contract_is_named_with_what_it_did(kind: str, part: PartConfig, said: str) -> None:
    base = Strategy.load("fast-dllm").override({"gen_length": LENGTH, "scheduler.threshold": 0.2, "steps": None})
    base = base.override({"block": {"name": "whole"}})
    several = kind in ("logits", "stop", "revise")
    strategy = base.model_copy(update={kind: (part,) if several else part})
    model: Any = RandomModel()
    if kind == "cache":
        model = BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))
    with pytest.raises(ContractError, match=said):
        decode(model, canvas_of(PROMPTS, LENGTH), strategy)


class Unbuilt(BadStop):
    """Cannot be built."""

    name: Literal["unbuilt"] = "unbuilt"

    def build(self) -> Any:
        """Fail, as a part does whose file is missing."""
        raise OSError("no such table")


def test_a_part_that_cannot_be_built_is_named() -> None:
    strategy = Strategy.load("llada", gen_length=LENGTH, steps=2).model_copy(update={"stop": (Unbuilt(),)})
    with pytest.raises(FailedPartError, match=r"stop: 'unbuilt' \(.*\) failed: OSError: no such table"):
        decode(RandomModel(), canvas_of(PROMPTS, LENGTH), strategy)


def test_a_stage_of_a_canvas_with_holes_cannot_overstate_its_size() -> None:
    """A layering that says 2,000 where 8 are open: the host counts, and the model is called no more often than that."""
    canvas = canvas_of([[5] * 30], LENGTH)
    canvas.undecided[:, :3] = True
    canvas.tokens[:, :3] = SPECIAL.mask
    canvas.prompt_length, canvas.uniform = 0, False
    model = FunctionModel(random_logits)
    layering = BadLayering(does=lambda context: [Stage("all", context.where, None, size=canvas.length)])
    strategy = Strategy.load("llada").override({"gen_length": canvas.length, "steps": None})
    done = decode(model, canvas, strategy.model_copy(update={"layering": layering}))
    assert model.calls == done.model_calls == 11 == int(done.forward_passes)


def test_what_the_model_raises_is_the_models_also_in_a_probe() -> None:
    def broken(tokens: Tensor, valid: Tensor | None) -> Tensor:
        raise RuntimeError("the weights have melted")

    for recipe in ("llada", "said-block-chlg", "adablock"):
        strategy = Strategy.load(recipe).override({"gen_length": LENGTH})
        with pytest.raises(ModelError, match=r"the model raised RuntimeError: the weights have melted"):
            decode(FunctionModel(broken), canvas_of(PROMPTS, LENGTH), strategy)


def test_an_interrupt_is_nobodys_fault() -> None:
    def interrupt(*given: Any) -> Any:
        raise KeyboardInterrupt

    strategy = Strategy.load("llada").override({"gen_length": LENGTH})
    strategy = strategy.model_copy(update={"confidence": BadConfidence(does=interrupt)})
    with pytest.raises(KeyboardInterrupt):
        decode(FunctionModel(random_logits), canvas_of(PROMPTS, LENGTH), strategy)

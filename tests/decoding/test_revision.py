"""Revising what was decided: WINO and editing against plain loops, and what the engine lets a reviser do."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from dllm_decode.data.canvas import Block
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.data.views import Revision, RevisionView
from dllm_decode.decoding.decoded import decode
from dllm_decode.decoding.trace import Trace
from dllm_decode.errors import ConfigError, ContractError
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.parts.revise import ReviseConfig
from dllm_decode.strategy.strategy import Strategy
from dllm_strategies.wino import Shadow
from tests.support.random_model import (
    SPECIAL,
    FunctionModel,
    RandomModel,
    canvas_of,
    random_llama,
    random_logits,
)

PROMPT = [5, 7, 11]
LENGTH = 12


def wino_of(**changes: Any) -> Strategy:
    """WINO generous enough that it takes things back."""
    defaults = {"gen_length": LENGTH, "scheduler.threshold": 0.15, "revise.0.threshold": 0.5}
    return Strategy.load("wino").override({**defaults, **changes})


def edit_of(**changes: Any) -> Strategy:
    """Editing that changes things on a model which is never sure of much."""
    defaults = {"gen_length": LENGTH, "scheduler.threshold": 0.2, "revise.0.threshold": 0.25}
    return Strategy.load("edit").override({**defaults, **changes})


def probabilities_of(tokens: list[int]) -> Tensor:
    """(L, V) float64 probabilities of one row."""
    return random_logits(torch.tensor([tokens]), None)[0].softmax(-1)


def shadow_probability(tokens: list[int], column: int) -> float:
    """The probability of the token at a column, from the whole canvas and one mask in its position that sees all else.

    The mask stands behind the canvas, the real token at its place is hidden from it alone.
    """
    length = len(tokens)
    attention = torch.ones(length + 1, length + 1, dtype=torch.bool)
    attention[:length, length] = False
    attention[length, column] = False
    positions = torch.tensor([[*range(length), column]])
    model = random_llama()
    longer = torch.tensor([[*tokens, SPECIAL.mask]])
    with torch.no_grad():
        logits = model(
            input_ids=longer, attention_mask=attention[None, None], position_ids=positions, use_cache=False
        ).logits
    logits = logits[0, -1] + torch.sin(torch.tensor(column * 1.7) + torch.arange(logits.shape[-1]) * 2.3)
    return float(logits.softmax(-1)[tokens[column]])


def slow_wino(length: int, block: int, wide: float, narrow: float) -> tuple[list[int], int]:
    """Decode one row as WINO's rule says; return its tokens and forwards."""
    tokens = [*PROMPT, *[SPECIAL.mask] * length]
    forwards = 0
    for start in range(len(PROMPT), len(tokens), block):
        columns = range(start, min(start + block, len(tokens)))
        open_ = list(columns)
        while open_:
            forwards += 1
            chances = probabilities_of(tokens)
            choice = chances.clone()
            choice[:, SPECIAL.mask] = 0
            score = {c: float(choice[c].max()) for c in open_}
            cap = max(1, min(20, max(5, int(0.7 * len(open_)))))
            ranked = sorted(open_, key=lambda c: (-score[c], c))
            chosen = [c for c in ranked if score[c] >= wide][:cap] or ranked[:1]
            doubts = {c: shadow_probability(tokens, c) for c in columns if c not in open_}
            doubted = sorted((c for c in doubts if doubts[c] < narrow), key=lambda c: (doubts[c], c))
            for c in chosen:
                tokens[c] = int(choice[c].argmax())
            again = doubted[: len(chosen) - 1]
            for c in again:
                tokens[c] = SPECIAL.mask
            open_ = sorted({*open_, *again} - set(chosen))
    return tokens, forwards


def slow_edit(length: int, block: int, threshold: float, edit: float, extra: int) -> tuple[list[int], int]:
    """Decode one row with a threshold and edits; return its tokens and forwards."""
    tokens = [*PROMPT, *[SPECIAL.mask] * length]
    region = range(len(PROMPT), len(tokens))
    forwards = 0

    def forward() -> tuple[dict[int, int], dict[int, float]]:
        nonlocal forwards
        forwards += 1
        chances = probabilities_of(tokens)
        choice = chances.clone()
        choice[:, SPECIAL.mask] = 0
        return {c: int(choice[c].argmax()) for c in region}, {c: float(choice[c].max()) for c in region}

    def edited(best: dict[int, int], score: dict[int, float], among: list[int]) -> bool:
        wrong = [c for c in among if score[c] > edit and tokens[c] != best[c]]
        for c in wrong:
            tokens[c] = best[c]
        return bool(wrong)

    for start in range(len(PROMPT), len(tokens), block):
        open_ = list(range(start, min(start + block, len(tokens))))
        while open_:
            best, score = forward()
            decided = [c for c in region if tokens[c] != SPECIAL.mask]
            chosen = [c for c in open_ if score[c] >= threshold]
            chosen = chosen or [min(open_, key=lambda c: (-score[c], c))]
            for c in chosen:
                tokens[c] = best[c]
            open_ = [c for c in open_ if c not in chosen]
            edited(best, score, decided)
    for _ in range(extra):
        if not edited(*forward(), list(region)):
            break
    return tokens, forwards


@pytest.mark.parametrize(("wide", "narrow"), [(0.15, 0.5), (0.1, 0.9), (0.6, 0.9), (0.05, 0.2)])
@pytest.mark.parametrize("block", [5, 12])
def test_wino_equals_a_plain_loop_of_its_rule(wide: float, narrow: float, block: int) -> None:
    changes = {"scheduler.threshold": wide, "revise.0.threshold": narrow, "block.length": block}
    done = decode(RandomModel(), canvas_of([PROMPT], LENGTH), wino_of(**changes))
    tokens, forwards = slow_wino(LENGTH, block, wide, narrow)
    assert done.canvas.tokens[0].tolist() == tokens
    assert done.forward_passes.tolist() == [forwards]


@pytest.mark.parametrize(("threshold", "edit", "extra"), [(0.2, 0.25, 16), (0.1, 0.2, 3), (0.3, 0.15, 5), (0.2, 0.3, 0)]
)
@pytest.mark.parametrize("block", [5, 12])
def test_editing_equals_a_plain_loop_of_its_rule(threshold: float, edit: float, extra: int, block: int) -> None:
    changes = {
        "scheduler.threshold": threshold,
        "revise.0.threshold": edit,
        "revise.0.extra_steps": extra,
        "block.length": block,
    }
    done = decode(RandomModel(), canvas_of([PROMPT], LENGTH), edit_of(**changes))
    tokens, forwards = slow_edit(LENGTH, block, threshold, edit, extra)
    assert done.canvas.tokens[0].tolist() == tokens
    assert done.forward_passes.tolist() == [forwards]


def test_wino_takes_something_back_in_these_tests() -> None:
    trace = Trace()
    decode(RandomModel(), canvas_of([PROMPT], LENGTH), wino_of(), on_step=trace.record)
    taken = [event for event in trace.events if event.stage == "revise"]
    assert any(bool(event.chosen.any()) for event in taken)
    assert all(bool((event.tokens[event.chosen] == SPECIAL.mask).all()) for event in taken)


def test_a_trace_of_a_revised_decode_replays_to_its_canvas() -> None:
    for strategy in (wino_of(), edit_of()):
        trace, canvas = Trace(), canvas_of([PROMPT, [9]], LENGTH)
        start = canvas.tokens.clone()
        done = decode(RandomModel(), canvas, strategy, on_step=trace.record)
        assert torch.equal(trace.replay(start), done.canvas.tokens)


def test_a_served_model_takes_the_shadow_columns_and_gives_what_the_plain_model_gives() -> None:
    served = BidirectionalLlama(random_llama(), SPECIAL, None, torch.device("cpu"))
    canvas = canvas_of([PROMPT, [9]], LENGTH)
    window = slice(canvas.prompt_length + 2, canvas.prompt_length + 6)
    block = Block(canvas.undecided, window, None, window.start)
    inputs = ModelInputs(canvas.tokens, canvas.valid, window)
    planned = Shadow().plan(inputs, block, SPECIAL)
    logits = served.logits(planned)
    assert logits.shape == (2, 8, served.vocab_size)
    assert torch.allclose(logits[:, :4], served.logits(inputs), atol=1e-12)
    waves = torch.sin(planned.positions[..., None] * 1.7 + torch.arange(served.vocab_size) * 2.3)
    wave = torch.cat([waves[:, window], waves[:, -4:]], dim=1)
    assert torch.allclose(logits + wave, RandomModel().logits(planned), atol=1e-12)


def test_a_model_without_planned_inputs_refuses_a_forward_plan_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="forward: 'shadow' needs a model .* set forward to null"):
        decode(FunctionModel(random_logits), canvas_of([PROMPT], LENGTH), wino_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "even"}, "opens positions again.*'even' keeps to a number of steps"),
        ({"forward": None}, "set forward to 'shadow'"),
        ({"cache": "dual"}, "no room for the extra columns"),
        ({"block": "multi"}, "hold no decided ones; take other blocks"),
    ],
)
def test_what_wino_cannot_work_with_is_refused_before_decoding(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Strategy.load("wino").override(changes).check()


def test_editing_refuses_a_cache_because_it_must_see_everything() -> None:
    with pytest.raises(ConfigError, match="'edit' must see all of it; set cache to null"):
        edit_of(cache="prefix").check()


class Careless(ReviseConfig):
    """A reviser that does one wrong thing."""

    name: Literal["careless"] = "careless"
    fault: str
    reopens: ClassVar[bool] = True

    def revise(self, view: RevisionView) -> Revision | None:
        """Return what no reviser may."""
        everything = torch.ones_like(view.revisable)
        if self.fault == "reach":
            return Revision(everything, torch.full(everything.shape, 4))
        if self.fault == "mask":
            return Revision(view.revisable, torch.full(everything.shape, SPECIAL.mask))
        if self.fault == "shape":
            return Revision(everything[:, 1:], None)
        return Revision(view.revisable, None)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reach", "outside `view.revisable`"),
        ("mask", "wrote the mask token"),
        ("reopen", "reopened as many positions as the forward committed"),
        ("shape", r"returned \(1, 11\) torch.bool where \(1, 12\) torch.bool was expected"),
    ],
)
def test_a_careless_reviser_is_named_and_stopped(fault: str, message: str) -> None:
    strategy = Strategy.load("fast-dllm", gen_length=LENGTH).model_copy(update={"revise": (Careless(fault=fault),)})
    with pytest.raises(ContractError, match=f"revise 'careless'.*{message}"):
        decode(RandomModel(), canvas_of([PROMPT], LENGTH), strategy)


def test_edits_never_touch_the_prompt_or_given_tokens_of_an_infill() -> None:
    canvas = canvas_of([PROMPT], LENGTH)
    given = canvas.prompt_length + 4
    canvas.tokens[0, given], canvas.undecided[0, given], canvas.uniform = 9, False, False
    before = canvas.tokens.clone()
    fixed = ~canvas.undecided.clone()
    done = decode(RandomModel(), canvas, edit_of(**{"revise.0.threshold": 0.01}))
    assert torch.equal(done.canvas.tokens[fixed], before[fixed])


def test_forwards_stay_below_the_bound_that_show_prints() -> None:
    for strategy in (wino_of(), edit_of(**{"revise.0.threshold": 0.05})):
        done = decode(RandomModel(), canvas_of([PROMPT, [4]], LENGTH), strategy)
        assert int(done.forward_passes.max()) <= strategy.max_forwards()

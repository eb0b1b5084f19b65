"""The loop asks the device at most one question a step, and none where the schedule is known in advance."""

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dllm_decode.decoding.decoded import decode
from dllm_decode.strategy.strategy import Strategy
from tests.support.random_model import FunctionModel, canvas_of, random_logits

LENGTH = 12
PROMPTS = [[5, 6, 7], [9], [3, 3]]
ASKING = {
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::item",
    "aten::equal",
    "aten::masked_select",
}


class Lists(TorchFunctionMode):
    """Counts `tolist()`, which reads many numbers at once and is no operation that a dispatcher sees."""

    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self.asked = asked

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.tolist and args[0].dim() > 0:
            self.asked.append("tolist")
        return function(*args, **(kwargs or {}))


class Questions(TorchDispatchMode):
    """Counts operations whose result the host has to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.lists = Lists(self.asked)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().split(".")[0]
        masks = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
        by_mask = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in masks
        )
        if name in ASKING or by_mask:
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


def questions(strategy: Strategy) -> tuple[int, int]:
    """Return how often a decode waits for the device, and its model calls; the model itself is left out."""
    counter = Questions()
    model = FunctionModel(random_logits)
    inner = model.logits

    def uncounted(inputs: Any) -> Any:
        before = len(counter.asked)
        logits = inner(inputs)
        del counter.asked[before:]
        return logits

    model.logits = uncounted  # type: ignore[method-assign]
    canvas = canvas_of(PROMPTS, LENGTH)
    with counter.lists, counter:
        done = decode(model, canvas, strategy)
    return len(counter.asked), done.model_calls


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llada", {"steps": 5}),
        ("llada", {"block": {"name": "fixed", "length": 4}}),
        ("llada", {"steps": 5, "confidence": "random", "temperature": 0.7}),
        ("llada", {"steps": 5, "logits": ["guidance", "forbid-eos"]}),
        ("said-block", {"steps": 9, "block": {"name": "fixed", "length": 4}}),
    ],
)
def test_a_schedule_known_in_advance_does_not_wait_for_the_device_in_the_loop(
    name: str, changes: dict[str, Any]
) -> None:
    asked, calls = questions(Strategy.load(name).override({"gen_length": LENGTH, **changes}))
    assert calls >= 5
    assert asked == 2  # after the last step: whether a part was at fault, and whether everything is decided


@pytest.mark.parametrize("stop", [[], ["eos"]])
@pytest.mark.parametrize("name", ["fast-dllm", "said", "said-block-chlg", "entropy-bounded", "factor"])
def test_a_schedule_that_depends_on_scores_asks_once_a_step_once_a_stage_and_once_at_the_end(
    name: str, stop: list[str]
) -> None:
    block = {} if name == "said" else {"block": {"name": "fixed", "length": 6}}
    strategy = Strategy.load(name).override({"gen_length": LENGTH, "steps": 8, "stop": stop, **block})
    asked, calls = questions(strategy)
    stages = {"said": 4, "said-block-chlg": 2 * 5}.get(name, 2)  # CHLG's probe counts as one
    assert 2 < asked <= calls + stages + 2


def test_several_blocks_at_once_ask_once_a_step() -> None:
    changes = {"gen_length": LENGTH, "block.length": 4, "scheduler.threshold": 0.3}
    asked, calls = questions(Strategy.load("multi-block").override(changes))
    assert calls > 3
    assert calls < asked <= calls + 3  # that nothing is left, and twice after the last step


def test_adaptive_blocks_ask_once_a_step_and_three_times_a_block() -> None:
    changes = {"gen_length": LENGTH, "block.length": 4, "block.threshold": 0.99, "scheduler.threshold": 0.3}
    asked, calls = questions(Strategy.load("adablock").override(changes))
    assert calls < asked <= calls + 3 * (LENGTH // 4) + 3

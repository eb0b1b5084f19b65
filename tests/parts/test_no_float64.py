"""Nothing that a decode computes is made float64: some devices have none, and only the host makes its tables in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.models.others.encoder import EncoderLM
from dllm_decode.plugins.registry import load_registry
from dllm_decode.testing.checkpoints import write_small_model
from tests.models.test_module import Placed
from tests.support.masked_checkpoint import MASK, build


class NoFloat64(TorchDispatchMode):
    """Refuses to convert a tensor to float64, as a device without it does."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if function is torch.ops.aten._to_copy.default and given.get("dtype") is torch.float64:
            raise TypeError("this device has no float64")
        return function(*args, **given)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusionLM]:
    yield DiffusionLM.from_pretrained(write_small_model(tmp_path_factory.mktemp("small")), device="cpu")


@pytest.mark.parametrize("recipe", load_registry().names("recipe"))
def test_no_recipe_converts_to_float64(recipe: str, lm: DiffusionLM) -> None:
    with NoFloat64():
        out = lm.generate(["abc", "d"], recipe, gen_length=16, steps=4)
    assert not (out.tokens == lm.special.mask).any()


def test_the_guard_notices_a_conversion() -> None:
    with NoFloat64(), pytest.raises(TypeError, match="no float64"):
        torch.ones(2).double()


@pytest.mark.parametrize("architecture", ["Bert", "ModernBert"])
def test_padding_is_masked_on_such_a_device_too(architecture: str) -> None:
    model, module = build(architecture), Placed().float()
    with NoFloat64():
        denoiser = EncoderLM(model, SpecialTokens(mask=MASK), torch.device("cpu"))
        assert denoiser.masks_padding and denoiser._windowed_head
        assert DiffusionLM.from_module(module, vocab_size=20, mask_token_id=19).denoiser.masks_padding  # type: ignore[attr-defined]

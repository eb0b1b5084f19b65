"""What a forward of LLaDA-8B's true shape holds beside model, keys and values, counted on tensors without data."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from dllm_decode.data.canvas import Canvas
from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.data.stats import VocabStats
from dllm_decode.decoding.loop import Decode
from dllm_decode.forward import statistics_kernel
from dllm_decode.forward.question import Question
from dllm_decode.forward.read import Reader
from dllm_decode.models.llama.llama import BidirectionalLlama
from dllm_decode.strategy.strategy import Strategy

GIB = 2**30
ROWS, COLUMNS, PROMPT = 64, 1024, 256
META, GPU = torch.device("meta"), torch.device("cuda")
SPECIAL = SpecialTokens(mask=126_336, eos=126_081, eot=126_348)


class Alive(TorchDispatchMode):
    """Adds up the bytes of storages that are made while it watches, and forgets those that are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {each.untyped_storage()._cdata for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given | self._seen:
                self._watch(each.untyped_storage())
        return result

    def _watch(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


@pytest.fixture(scope="module")
def denoiser() -> BidirectionalLlama:
    """LLaDA-8B on the meta device, told that it serves a GPU."""
    config = LlamaConfig(
        vocab_size=126_464,
        hidden_size=4096,
        intermediate_size=12_288,
        num_hidden_layers=2,  # what is alive at once does not grow with the layers, but keys and values do
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    config.is_causal = False
    config._attn_implementation = "sdpa"
    with META:
        model = LlamaForCausalLM(config).to(torch.bfloat16).requires_grad_(False).eval()
    served = BidirectionalLlama(model, SPECIAL, None, GPU)
    served.device = META
    return served


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("fast-dllm", {"cache": "dual", "block.length": 32}),
        ("said", {"steps": 256}),  # reads the whole region
        ("llada", {"cache": "prefix"}),  # the whole region again, beside keys and values
    ],
)
def test_a_forward_of_64_rows_of_1024_columns_holds_less_than_a_gib(
    denoiser: BidirectionalLlama, recipe: str, changes: dict[str, Any], padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fused(logits: Tensor, special: SpecialTokens, needs: Any) -> VocabStats:
        shape = logits.shape[:-1]
        return VocabStats(
            torch.empty(shape, dtype=torch.int64, device=META), torch.empty(shape, dtype=torch.float32, device=META)
        )

    def attention(query: Tensor, *args: Any, **named: Any) -> Tensor:
        return torch.empty_like(query)  # as fused attention does: no matrix of scores

    monkeypatch.setattr(statistics_kernel, "serves", lambda *given: True)
    monkeypatch.setattr(statistics_kernel, "fused_statistics", fused)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    strategy = Strategy.load(recipe).override({"gen_length": COLUMNS - PROMPT, **changes})
    tokens = torch.zeros(ROWS, COLUMNS, dtype=torch.int64, device=META)
    where = torch.zeros(ROWS, COLUMNS, dtype=torch.bool, device=META)
    canvas = Canvas(tokens, where, where, PROMPT, SPECIAL.mask, padded=padded, uniform=True)
    run = Decode(denoiser, canvas, strategy, 0, torch.zeros(ROWS, dtype=torch.int64, device=META))
    question = next(run.questions())
    reader: Reader = run.reader
    with torch.inference_mode(), Alive() as alive:
        for _ in range(2):  # a full forward, and one with what it has kept
            inputs = reader.prepare(question)
            stats = reader.run(inputs, reader.keys(question, inputs))
            assert isinstance(question, Question) and stats.token.shape[0] == ROWS
    kept = 0 if reader.kept is None else 2 * 2 * ROWS * COLUMNS * 4096 * 2  # keys and values of two layers
    assert alive.peak >= kept + 2**26
    assert alive.peak - kept < GIB, f"{(alive.peak - kept) / GIB:.2f} GiB"

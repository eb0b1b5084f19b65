"""Threads may share one model: every answer is the one that the call gives alone."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from dllm_decode import DiffusionLM
from dllm_decode.testing.checkpoints import write_small_model, write_tokenizer
from tests.models.test_module import Mixer, Placed, wrap

THREADS = 4


@pytest.fixture(autouse=True)
def switch_all_the_time() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def llada(folder: Path) -> DiffusionLM:
    return DiffusionLM.from_pretrained(write_small_model(folder), device="cpu")


def bert(folder: Path) -> DiffusionLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertForMaskedLM(BertConfig(vocab_size=264, pad_token_id=0, **sizes)).save_pretrained(folder)
    return DiffusionLM.from_pretrained(write_tokenizer(folder), device="cpu")


def wrong(lm: DiffusionLM, calls: int, run: Callable[[list[list[int]]], Tensor]) -> int:
    """Return how many of the answers of `calls` calls, two rows each, differ from those of one thread."""
    draw = random.Random(0)
    pairs = [
        [[draw.randrange(3, 250) for _ in range(draw.randrange(1, 9))] for _ in range(2)] for _ in range(40)
    ]
    alone = [run(pair) for pair in pairs]
    asked = [draw.randrange(len(pairs)) for _ in range(calls)]
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda place: run(pairs[place]), asked))
    return sum(
        int((answers != alone[place]).any(1).sum()) for place, answers in zip(asked, found, strict=True)
    )


def generating(lm: DiffusionLM, strategy: str) -> Callable[[list[list[int]]], Tensor]:
    return lambda pair: lm.generate(pair, strategy, gen_length=4, steps=2).tokens


def filling(lm: DiffusionLM) -> Callable[[list[list[int]]], Tensor]:
    mask = lm.special.mask

    def fill(pair: list[list[int]]) -> Tensor:
        width = max(map(len, pair)) + 2
        canvas = lm.infill([[*row, mask, mask] for row in pair]).tokens
        assert canvas.shape == (2, width)
        return canvas

    return fill


@pytest.mark.parametrize("strategy", ["llada", "fast-dllm"])
def test_four_threads_over_one_llada_get_the_answers_of_one(strategy: str, tmp_path: Path) -> None:
    lm = llada(tmp_path)
    assert wrong(lm, 100, generating(lm, strategy)) == 0


def test_four_threads_fill_in_with_one_bert(tmp_path: Path) -> None:
    lm = bert(tmp_path)
    assert lm.denoiser._windowed_head  # type: ignore[attr-defined]
    assert wrong(lm, 100, filling(lm)) == 0


@pytest.mark.parametrize("kind", [Mixer, Placed])
def test_four_threads_over_one_module(kind: Any) -> None:
    lm = wrap(kind())

    def run(pair: list[list[int]]) -> Tensor:
        return lm.generate([[token % 19 for token in row] for row in pair], gen_length=4, steps=2).tokens

    assert wrong(lm, 60, run) == 0


@pytest.mark.slow
def test_three_thousand_answers_of_four_threads_hold_no_wrong_one(tmp_path: Path) -> None:
    lm = llada(tmp_path)
    assert wrong(lm, 1500, generating(lm, "llada")) == 0

"""Texts as they grow: each begins with the one before, the last is the answer, and nothing is said that is taken back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dllm_decode import DiffusionLM
from dllm_decode.errors import ConfigError, ModelError

PROMPTS = ["Sort the line: Paul, Anna, Carl, Zoe, Ben, Ida, Hugo.", "Sort the line: Ida, Hugo.", "Add 2 and 3."]


@pytest.fixture(scope="module")
def lm():
    return DiffusionLM.from_pretrained("tiny")


def streamed(lm, strategy, **options):
    texts = {place: [] for place in range(len(PROMPTS))}
    for place, text in lm.stream_tokens(PROMPTS, strategy, **options):
        texts[place].append(text)
    return texts


@pytest.mark.parametrize("strategy", ["llada", "said", "fast-dllm", "wino", "edit"])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_every_text_begins_with_the_one_before_and_the_last_is_the_answer(lm, strategy, batch_size):
    options = {"gen_length": 32, "batch_size": batch_size, "temperature": 0.5, "seed": 3}
    answers = lm.generate(PROMPTS, strategy, **options).texts
    for place, texts in streamed(lm, strategy, **options).items():
        assert texts[-1] == answers[place]
        assert all(after.startswith(before) for before, after in pairwise(texts))


def test_blocks_from_left_to_right_stream_before_the_end(lm):
    texts = streamed(lm, "fast-dllm", gen_length=32, **{"block.length": 4, "scheduler.threshold": 1.0})
    assert len(set(texts[0])) > 4


def test_what_a_reviser_may_change_comes_once(lm):
    assert all(len(texts) == 1 for texts in streamed(lm, "wino", gen_length=32).values())


def test_a_wrong_call_is_refused_before_anything_is_decoded(lm):
    with pytest.raises(ConfigError, match="gen_length"):
        lm.stream_tokens(PROMPTS, "llada", gen_length=0)
    with pytest.raises(ConfigError, match="batch_size"):
        lm.stream_tokens(PROMPTS, batch_size=0)
    with pytest.raises(ModelError, match="without a tokenizer"):
        DiffusionLM(lm.denoiser).stream_tokens(PROMPTS)

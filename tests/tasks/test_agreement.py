"""How far cached runs agree with uncached ones: what is counted, beside plain loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dllm_decode import DiffusionLM, Strategy
from dllm_decode.errors import ConfigError
from dllm_decode.evaluate.agreement import agreement, measured
from dllm_decode.testing.checkpoints import write_small_model
from tests.support.random_model import SPECIAL, FunctionModel, random_logits

PROMPTS = [[5, 6, 7], [9, 4, 4], [8, 8, 3]]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> DiffusionLM:
    """A small LLaDA checkpoint in float64."""
    folder = write_small_model(tmp_path_factory.mktemp("agreement"))
    return DiffusionLM.from_pretrained(folder, dtype="float64", eot_token_id=3)


def blocks_of_four(**changes: Any) -> Strategy:
    """LLaDA's rule, 12 tokens in three blocks of two steps."""
    return Strategy.load("llada", gen_length=12, steps=6).override(
        {"block": {"name": "fixed", "length": 4}, **changes}
    )


def test_a_cache_that_refreshes_in_every_forward_agrees_with_none_and_computes_as_much(
    lm: DiffusionLM,
) -> None:
    found = agreement(lm, PROMPTS, blocks_of_four(), {"name": "dual", "refresh": 1})
    assert (found.equal_tokens, found.equal_answer_tokens, found.equal_rows) == (1.0, 1.0, 1.0)
    assert found.columns == found.columns_uncached == 6 * 3 * 15
    assert found.columns_per_forward == found.columns_per_forward_uncached == 15
    assert found.model_calls == found.model_calls_uncached == 6
    assert found.rows == 3


@pytest.mark.parametrize(
    ("cache", "columns"),
    [
        ("prefix", [15, 12, 15, 8, 15, 4]),
        ("dual", [15, 4, 15, 4, 15, 4]),
        ("delayed", [15, 4, 8, 4, 8, 4]),
        ({"name": "delayed", "delay": 2}, [15, 4, 8, 8, 8, 8]),
    ],
)
def test_what_a_cache_computes_is_counted(lm: DiffusionLM, cache: Any, columns: list[int]) -> None:
    found = agreement(lm, PROMPTS, blocks_of_four(), cache)
    assert found.columns == 3 * sum(columns)
    assert found.columns_per_forward == pytest.approx(sum(columns) / 6)


def test_batches_are_counted_row_by_row(lm: DiffusionLM) -> None:
    assert agreement(lm, PROMPTS, blocks_of_four(), "dual", batch_size=2).columns == 3 * (3 * 15 + 3 * 4)


def test_shares_equal_a_plain_loop_over_the_tokens(lm: DiffusionLM) -> None:
    prompts = torch.randint(4, 60, (12, 9), generator=torch.Generator().manual_seed(1))
    strategy = blocks_of_four(steps=None)
    found = agreement(lm, prompts, strategy, "dual")
    plain = measured(lm, prompts, strategy).generation.tokens.tolist()
    cached = measured(lm, prompts, strategy.override({"cache": "dual"})).generation.tokens.tolist()
    same, answer = [], []
    for first, second in zip(plain, cached, strict=True):
        ended = False
        for token, other in zip(first, second, strict=True):
            same.append(token == other)
            ended = ended or token in lm.special.ends
            if not ended:
                answer.append(token == other)
    assert found.equal_tokens == pytest.approx(sum(same) / len(same))
    assert found.equal_answer_tokens == pytest.approx(sum(answer) / len(answer))
    assert found.equal_rows == sum(a == b for a, b in zip(plain, cached, strict=True)) / len(plain)
    assert 0 < found.equal_tokens < 1


def test_a_cache_of_the_strategys_own_is_left_out_of_the_uncached_run(lm: DiffusionLM) -> None:
    assert agreement(lm, PROMPTS, blocks_of_four(cache="prefix"), "dual") == agreement(
        lm, PROMPTS, blocks_of_four(), "dual"
    )


def test_a_model_that_cannot_reuse_keys_and_values_is_refused() -> None:
    lm = DiffusionLM(FunctionModel(random_logits))
    with pytest.raises(ConfigError, match="FunctionModel cannot reuse keys and values"):
        agreement(lm, [[5, SPECIAL.eos or 0]], blocks_of_four(), "dual")

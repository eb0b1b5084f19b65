"""Mask, ends and turns: every id that a checkpoint names counts, and ids that contradict its tokenizer are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs, SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.generation.answers import ended
from dllm_decode.testing.checkpoints import write_small_model
from tests.models.test_module import Mixer, wrap


def load(folder: Path, **options: Any) -> DiffusionLM:
    return DiffusionLM.from_pretrained(folder, device="cpu", **options)


class Spelling:
    """A model that is sure of one row of tokens from the first generated column on."""

    vocab_size, max_length = 264, None

    def __init__(self, special: SpecialTokens, answer: list[int]) -> None:
        self.special, self.answer = special, answer

    def logits(self, inputs: ModelInputs) -> Tensor:
        rows, length = inputs.tokens.shape
        logits = torch.zeros(rows, length, self.vocab_size)
        for place, token in enumerate(self.answer):
            logits[:, length - len(self.answer) + place, token] = 20.0 - place  # from left to right
        return logits[:, inputs.window]


def test_every_eos_of_config_and_generation_config_ends_an_answer(tmp_path: Path) -> None:
    folder = write_small_model(tmp_path, eos_token_id=[257, 262])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [263, 257]}))
    special = load(folder).special
    assert (special.eos, special.eot, special.ends) == (257, 258, (257, 262, 263, 258))


@pytest.mark.parametrize("end", [257, 262, 258])
def test_any_end_cuts_the_text_stops_the_row_and_is_counted(end: int, tmp_path: Path) -> None:
    lm = load(write_small_model(tmp_path, eos_token_id=[257, 262]))
    spelling = DiffusionLM(Spelling(lm.special, [65, 66, end, 67, 68, 69]), lm.tokenizer)
    out = spelling.generate(["ab"], gen_length=6)
    assert out.texts == [lm.tokenizer.decode([65, 66])]  # type: ignore[union-attr]
    assert (~ended(out.tokens, lm.special)).sum() == 2
    stopped = spelling.generate(["ab"], gen_length=6, stop="eos")
    assert stopped.tokens.tolist() == [[65, 66, end, 257, 257, 257]]
    assert stopped.forward_passes.tolist() == [3]


def test_forbid_eos_forbids_every_one(tmp_path: Path) -> None:
    lm = load(write_small_model(tmp_path, eos_token_id=[257, 262]))
    spelling = DiffusionLM(Spelling(lm.special, [257, 262, 258]), lm.tokenizer)
    answer = spelling.generate(["ab"], gen_length=3, logits=[{"name": "forbid-eos"}]).tokens[0].tolist()
    assert answer[2] == 258 and not {257, 262} & set(answer)


def test_a_module_may_have_several_ends_as_well() -> None:
    assert wrap(Mixer(), eos_token_id=[1, 2], eot_token_id=3).special.ends == (1, 2, 3)
    with pytest.raises(ModelError, match="got 20"):
        wrap(Mixer(), eos_token_id=[1, 20])


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("eos_token_id", 0, "eos_token_id 0 is the ordinary token '!' of the tokenizer, whose own is 257"),
        ("eos_token_id", [257, 0], "eos_token_id 0 is the ordinary token"),
        ("mask_token_id", 0, "mask_token_id 0 is the ordinary token '!' of the tokenizer, whose own is 256"),
        ("mask_token_id", 257, "mask_token_id 257 is also an end of answers"),
        ("mask_token_id", "x", "mask_token_id 'x' is no id of the vocabulary"),
        ("eos_token_id", 1e3, "eos_token_id 1000.0 is no id of the vocabulary"),
        ("eos_token_id", [[257]], r"eos_token_id \[257\] is no id of the vocabulary"),
    ],
)
def test_ids_that_contradict_the_tokenizer_are_refused(
    field: str, given: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        load(write_small_model(tmp_path, **{field: given}))


def test_what_the_caller_says_is_not_contradicted(tmp_path: Path) -> None:
    assert load(write_small_model(tmp_path), mask_token_id=0).special.mask == 0
    with pytest.raises(ModelError, match="also an end of answers"):
        load(tmp_path, mask_token_id=257)

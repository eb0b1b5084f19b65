"""Any masked language model of the library is a denoiser: padded, windowed, infilled, whatever its architecture."""

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
from dllm_decode.models.load import load_model
from dllm_decode.models.placement import Placement
from tests.support.masked_checkpoint import (
    ARCHITECTURES,
    CLS,
    MASK,
    PAD,
    SEP,
    VOCABULARY,
    build,
    write_masked_lm,
)


def load(folder: Path, dtype: str | None = None, **options: Any) -> Any:
    options.setdefault("mask_token_id", MASK)
    return load_model(folder, placement=Placement(dtype=dtype, device="cpu"), **options).denoiser


def ids(rows: int, length: int, seed: int = 0) -> Tensor:
    """Random ordinary tokens, none of them padding."""
    return torch.randint(5, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_a_padded_row_the_logits_it_has_alone(
    tmp_path: Path, architecture: str
) -> None:
    denoiser = load(write_masked_lm(tmp_path, architecture, tokenizer=False))
    plain = build(architecture)
    row, mate = ids(1, 9, 1), ids(1, 14, 2)
    row[0, 4] = MASK
    tokens = torch.cat([torch.cat([torch.full((1, 5), MASK), row], dim=1), mate])
    valid = torch.ones_like(tokens, dtype=torch.bool)
    valid[0, :5] = False
    with torch.no_grad():
        expected, mate_s = (plain(input_ids=given).logits for given in (row, mate))
    together = denoiser.logits(ModelInputs(tokens, valid, slice(7, 12)))
    alone = denoiser.logits(ModelInputs(row, None, slice(2, 7)))
    torch.testing.assert_close(together[:1], expected[:, 2:7], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1:], mate_s[:, 7:12], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone, expected[:, 2:7], rtol=1e-4, atol=1e-4)
    whole = denoiser.logits(ModelInputs(tokens, valid, slice(0, 14)))
    torch.testing.assert_close(whole[:, 7:12], together, rtol=1e-4, atol=1e-4)


def test_how_padding_and_the_head_are_handled_is_measured(tmp_path: Path) -> None:
    """FNet mixes by Fourier transform and takes no mask; RoBERTa counts positions from behind its padding token."""
    found = {}
    for architecture in ("Bert", "Roberta", "FNet"):
        denoiser = load(write_masked_lm(tmp_path / architecture, architecture, tokenizer=False))
        found[architecture] = (denoiser.masks_padding, denoiser.max_length, denoiser._windowed_head)
    assert found == {"Bert": (True, 40, True), "Roberta": (True, 39, True), "FNet": (False, 40, True)}


def test_a_row_as_long_as_the_context_runs(tmp_path: Path) -> None:
    denoiser = load(write_masked_lm(tmp_path, "Roberta", tokenizer=False, pad_token_id=1))
    assert denoiser.max_length == 38
    assert denoiser.logits(ModelInputs(ids(2, 38), None, slice(37, 38))).shape == (2, 1, VOCABULARY)


def test_padding_tokens_that_are_content_move_no_position(tmp_path: Path) -> None:
    """Left to itself RoBERTa counts positions by what is no padding token."""
    denoiser = load(write_masked_lm(tmp_path, "Roberta", tokenizer=False), "float64")
    row = ids(1, 8)
    row[0, 2] = PAD
    longer = torch.cat([torch.full((1, 3), PAD), row], dim=1)
    valid = torch.arange(11)[None] >= 3
    alone = denoiser.logits(ModelInputs(row, None, slice(0, 8)))
    padded = denoiser.logits(ModelInputs(longer, valid, slice(3, 11)))
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("architecture", ["Bert", "Albert", "FNet"])
@pytest.mark.parametrize("strategy", ["llada", "said", "fast-dllm"])
def test_a_row_of_a_batch_is_filled_in_as_if_alone(tmp_path: Path, architecture: str, strategy: str) -> None:
    lm = DiffusionLM.from_pretrained(write_masked_lm(tmp_path, architecture), dtype="float64", device="cpu")
    texts = ["the capital of [MASK] is [MASK] .", "[MASK] like it", "one [MASK] [MASK] four five six [MASK] eight"]
    together = lm.infill(texts, strategy)
    for number, text in enumerate(texts):
        alone = lm.infill(text, strategy, row_ids=[number])
        assert alone.texts == together.texts[number : number + 1]
        assert alone.forward_passes[0] == together.forward_passes[number]
        assert "[MASK]" not in alone.texts[0]


def test_infill_frames_a_text_as_the_tokenizer_does_and_keeps_what_stands(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_masked_lm(tmp_path), device="cpu")
    out = lm.infill("the [MASK] of france is [MASK]")
    assert lm.tokenizer is not None
    given = lm.tokenizer("the capital of france is paris")["input_ids"]
    row = out.canvas[0].tolist()
    assert row[0] == CLS and row[-1] == SEP and len(row) == len(given)
    assert [row[i] for i in (1, 3, 4, 5)] == [given[i] for i in (1, 3, 4, 5)]
    assert MASK not in row
    assert lm.special == SpecialTokens(mask=MASK)


def test_generate_continues_a_prompt_that_is_not_closed(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_masked_lm(tmp_path), device="cpu")
    out = lm.generate(["the capital of france", ""], gen_length=3)
    assert out.canvas[0, 0] == CLS
    assert SEP not in out.canvas[0, :5].tolist()
    assert out.canvas[1, 4:5].tolist() == [CLS]
    assert out.valid[1].tolist() == [False] * 4 + [True] * 4


def test_the_context_is_the_architecture_s(tmp_path: Path) -> None:
    lm = DiffusionLM.from_pretrained(write_masked_lm(tmp_path), device="cpu")
    with pytest.raises(Exception, match="context of 40 tokens"):
        lm.generate("the capital of france", gen_length=36)


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    build("Bert").bert.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="lacks .* tensors .*saved without its masked-LM head"):
        load(tmp_path)


def test_a_masked_lm_switched_to_causal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is causal"):
        load(write_masked_lm(tmp_path, tokenizer=False, is_decoder=True))


def test_a_broken_file_of_weights_is_one_clear_line(tmp_path: Path) -> None:
    folder = write_masked_lm(tmp_path, tokenizer=False)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be read") as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_without_tokenizer_the_mask_must_be_given(tmp_path: Path) -> None:
    folder = write_masked_lm(tmp_path, tokenizer=False)
    with pytest.raises(ModelError, match="mask_token_id=N"):
        load(folder, mask_token_id=None)
    assert load(folder).special == SpecialTokens(mask=MASK)


def test_an_encoder_decoder_is_no_masked_lm(tmp_path: Path) -> None:
    tmp_path.joinpath("config.json").write_text(json.dumps({"model_type": "bart", "is_encoder_decoder": True}))
    with pytest.raises(ModelError, match="no model family reads model_type 'bart'"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_take_the_dtype_asked_for(tmp_path: Path, dtype: str) -> None:
    folder = write_masked_lm(tmp_path, tokenizer=False)
    logits = load(folder, dtype).logits(ModelInputs(ids(2, 9), None, slice(2, 5)))
    assert logits.dtype == getattr(torch, dtype)
    expected = load(folder).logits(ModelInputs(ids(2, 9), None, slice(2, 5)))
    assert (logits.double() - expected.double()).abs().max() < (0.6 if dtype == "bfloat16" else 1e-4)


def test_old_weights_in_a_bin_file_load_as_well(tmp_path: Path) -> None:
    model = build("Albert")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with torch.no_grad():
        expected = model(input_ids=ids(1, 6)).logits
    found = load(tmp_path).logits(ModelInputs(ids(1, 6), None, slice(0, 6)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_another_family_comes_before_the_general_one(tmp_path: Path, isolated_registry: Any) -> None:
    from dllm_decode.plugins.hookspecs import hookimpl

    class Mine:
        name = "my-bert"

        @staticmethod
        def matches(config: Any) -> bool:
            return config.get("model_type") == "bert"

        @staticmethod
        def load(folder: Path, config: Any, *, special: SpecialTokens, placement: Placement) -> Any:
            return "mine"

    class Plugin:
        @hookimpl
        def dllm_denoiser(self) -> list[type[Any]]:
            return [Mine]

    folder = write_masked_lm(tmp_path, tokenizer=False)
    isolated_registry({"mine": Plugin()})
    assert load(folder) == "mine"

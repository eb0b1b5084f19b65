"""Folders of other kinds: adapters are merged, older tokenizers read, and what is not served is called by its name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dllm_decode import DiffusionLM
from dllm_decode.data.inputs import ModelInputs
from dllm_decode.errors import ModelError
from dllm_decode.models import load as loading
from dllm_decode.testing.checkpoints import write_checkpoint, write_small_model
from tests.support.masked_checkpoint import WORDS, build, write_masked_lm

LAYER = "model.transformer.blocks.1"
TARGETS = {f"{LAYER}.q_proj": (32, 32), f"{LAYER}.ff_out": (48, 32), f"{LAYER}.ff_proj": (32, 48)}
"""Modules -> columns and rows."""


def write_adapter(folder: Path, base: str, targets: dict[str, tuple[int, int]] = TARGETS) -> dict[str, Tensor]:
    """Write a LoRA adapter in LLaDA's names; return what it adds to each weight."""
    folder.mkdir()
    told = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "ff_out", "ff_proj"]}
    (folder / "adapter_config.json").write_text(
        json.dumps(told | {"task_type": "CAUSAL_LM", "base_model_name_or_path": base})
    )
    tensors, added = {}, {}
    for number, (name, (columns, rows)) in enumerate(targets.items()):
        generator = torch.Generator().manual_seed(number)
        down, up = torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator)
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
        added[f"{name}.weight"] = 3 * up @ down
    save_file(tensors, folder / "adapter_model.safetensors")
    return added


def logits(folder: Path) -> Tensor:
    denoiser = DiffusionLM.from_pretrained(folder, device="cpu").denoiser
    return denoiser.logits(ModelInputs(torch.arange(40, 60)[None], None, slice(0, 20)))


needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed")


@needs_peft
@pytest.mark.parametrize("place", ["absolute", "beside"])
def test_an_adapter_is_merged_into_its_base(place: str, tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "base")
    added = write_adapter(tmp_path / "adapter", str(base) if place == "absolute" else "../base")
    tensors = load_file(base / "model.safetensors")
    for name, more in added.items():
        tensors[name] = tensors[name] + more
    merged = write_checkpoint(tmp_path / "merged", json.loads((base / "config.json").read_text()), tensors)
    found = logits(tmp_path / "adapter")
    torch.testing.assert_close(found, logits(merged), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, logits(base), atol=0.1)
    assert DiffusionLM.from_pretrained(tmp_path / "adapter").generate("ab", gen_length=2).texts


@needs_peft
def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    base = write_small_model(tmp_path / "base")
    write_adapter(tmp_path / "adapter", str(base), {"model.transformer.blocks.9.q_proj": (32, 32)})
    with pytest.raises(ModelError, match="the adapter .*"):
        logits(tmp_path / "adapter")


@pytest.mark.skipif(importlib.util.find_spec("peft") is not None, reason="peft is installed")
def test_an_adapter_without_peft_says_what_to_install(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", "owner/base")
    with pytest.raises(ModelError, match=r"PEFT adapter of owner/base: pip install 'dllm-decode\[peft\]'"):
        logits(tmp_path / "adapter")


def test_gguf_and_mixtures_of_experts_are_called_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for given in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ModelError, match=r"model.gguf is a GGUF file.*folder of the model's safetensors"):
            DiffusionLM.from_pretrained(given)
    with pytest.raises(ModelError, match="is a LLaDA-MoE"):
        DiffusionLM.from_pretrained(write_small_model(tmp_path / "moe", num_experts=64))


def test_a_tokenizer_that_is_a_list_of_words_is_read(tmp_path: Path) -> None:
    write_masked_lm(tmp_path, tokenizer=False)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    lm = DiffusionLM.from_pretrained(tmp_path, device="cpu")
    assert lm.special.mask == WORDS.index("[MASK]")
    assert lm.infill("paris is the [MASK] of france .").texts[0].endswith("of france.")


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is None, reason="sentencepiece is not installed")
def test_a_tokenizer_that_is_a_sentencepiece_file_is_read(tmp_path: Path) -> None:
    import sentencepiece

    lines = tmp_path / "lines.txt"
    lines.write_text("the capital of france is paris\nwe like rome and the sea\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(tmp_path / "m"), vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    model: Any = build("Roberta", vocab_size=64)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "xlm-roberta"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "m.model").rename(tmp_path / "sentencepiece.bpe.model")
    lm = DiffusionLM.from_pretrained(tmp_path, device="cpu")
    assert lm.tokenizer is not None and lm.special.mask == lm.tokenizer.mask_token_id
    assert "paris" in lm.infill("the capital is <mask> paris").texts[0]


def test_weights_that_are_bin_files_load_and_are_fetched_only_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write_masked_lm(tmp_path / "old"), write_masked_lm(tmp_path / "new")
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    asked: list[list[str]] = []

    def snapshot(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(old if hub_id == "owner/old" else new)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert torch.equal(*(DiffusionLM.from_pretrained(f"owner/{name}", device="cpu").denoiser.logits(
        ModelInputs(torch.arange(5, 15)[None], None, slice(0, 10))) for name in ("old", "new")))
    assert ["*.bin" in patterns for patterns in asked] == [False, True, False]
    assert {"vocab.txt", "*.model"} <= set(loading._HUB_FILES)

"""Writes small masked language models of several architectures, and a tokenizer with [CLS] and [SEP], for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

PAD, CLS, SEP, MASK, UNKNOWN = 0, 1, 2, 3, 4
WORDS = (
    "[PAD] [CLS] [SEP] [MASK] [UNK] the capital of france is paris a city and rome in italy we like it very much "
    "not at all . , red green blue one two three four five six seven eight nine ten"
).split()
VOCABULARY = 48
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "initializer_range": 0.5,
    "pad_token_id": PAD,
}
# Of each architecture: what it needs beside SIZES.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Bert": {},
    "Roberta": {"bos_token_id": CLS, "eos_token_id": SEP},
    "Albert": {"embedding_size": 16, "bos_token_id": CLS, "eos_token_id": None},
    "Electra": {"embedding_size": 16},
    "DistilBert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "ModernBert": {"cls_token_id": CLS, "bos_token_id": CLS, "sep_token_id": SEP, "eos_token_id": SEP},
    "RoFormer": {},
    "FNet": {"bos_token_id": CLS, "eos_token_id": SEP},
}


def build(architecture: str, seed: int = 0, **changes: Any) -> Any:
    """Return a random model of the library's own class, in evaluation mode."""
    fields = SIZES | ARCHITECTURES[architecture] | changes
    if architecture == "DistilBert":
        left_out = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        fields = {name: value for name, value in fields.items() if name not in left_out}
    torch.manual_seed(seed)
    config = getattr(transformers, f"{architecture}Config")(**fields)
    return getattr(transformers, f"{architecture}ForMaskedLM")(config).eval()


def write_masked_lm(folder: Path, architecture: str = "Bert", *, tokenizer: bool = True, **changes: Any) -> Path:
    """Write a random model as the library saves it, with a tokenizer of words; return the folder."""
    build(architecture, **changes).save_pretrained(folder)
    return write_word_tokenizer(folder) if tokenizer else folder


def write_word_tokenizer(folder: Path) -> Path:
    """Write a tokenizer that reads `text` as `[CLS] text [SEP]`; return the folder."""
    vocabulary = WORDS + [f"word{number}" for number in range(len(WORDS), VOCABULARY)]
    tokenizer = Tokenizer(
        models.WordPiece({word: number for number, word in enumerate(vocabulary[:VOCABULARY])}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "CLS", "SEP", "MASK", "UNK")},
    )
    fast.save_pretrained(folder)
    return folder

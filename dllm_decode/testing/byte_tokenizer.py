"""A tokenizer of the 256 bytes with LLaDA's special tokens and a chat template, for models of tests."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MASK, EOS, EOT = "<|mdm_mask|>", "<|endoftext|>", "<|eot_id|>"
MASK_ID, EOS_ID, EOT_ID, SIZE = 256, 257, 258, 259
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def bytes_and_ends() -> Tokenizer:
    """Return a tokenizer of the 256 bytes, then mask 256, EOS 257 and EOT 258."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([MASK, EOS, EOT])
    return tokenizer


def byte_tokenizer(*, chat_template: bool = True) -> PreTrainedTokenizerFast:
    """Return it as a checkpoint's tokenizer is read, without files."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bytes_and_ends(),
        eos_token=EOS,
        pad_token=EOS,
        mask_token=MASK,
        clean_up_tokenization_spaces=False,
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer

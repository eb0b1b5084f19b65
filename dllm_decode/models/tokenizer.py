"""A checkpoint's tokenizer and the ids that decoding needs: mask, end of sequence, end of turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError

_WHITE_SPACE = re.compile(r"(?:[\sĠĊĉč\u2581]|<0x(?:09|0A|0D|20)>)+")
"""White space as vocabularies write it: plain, as byte-level letters, behind SentencePiece's mark, as a byte."""
_LINE_BREAK = re.compile(r"[ \t\r]*\n[ \t\r\n]*")

_ENDS_OF_TURN = {"llada": ("<|eot_id|>", 126348), "Dream": ("<|im_end|>", 151645)}
"""The end of a turn in a format's chat template: its text, and its id in the published vocabulary.

A tokenizer names it; a folder without tokenizer cannot.
"""


class Tokenizer(Protocol):
    """What this package uses of a `transformers` fast tokenizer."""

    chat_template: Any
    mask_token_id: int | None

    def __call__(self, text: Any, **options: Any) -> Any:
        """Return the ids of a text under `input_ids`."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Return token text -> id, special tokens included."""
        ...

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """Return the text of a list of ids."""
        ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Return the text of a conversation, a list of `{"role": ..., "content": ...}`."""
        ...


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """Return the tokenizer of a checkpoint folder, chat template included, or None if it has none.

    Raises:
        ModelError: There is a `tokenizer.json` that cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        return None
    from transformers import PreTrainedTokenizerFast

    # Not AutoTokenizer: it reads config.json, whose model_type the library may not know.
    return read_tokenizer(PreTrainedTokenizerFast, folder)


def read_tokenizer(kind: Any, folder: Path) -> Tokenizer:
    """Return the tokenizer of a checkpoint folder, read by a `transformers` tokenizer class.

    Raises:
        ModelError: The class cannot read it.
    """
    try:
        return kind.from_pretrained(str(folder))  # type: ignore[no-any-return]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the tokenizer in {folder} cannot be read: {reason}") from None


def special_tokens(
    config: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    *,
    origin: str,
    mask_token_id: int | None = None,
    eot_token_id: int | None = None,
) -> SpecialTokens:
    """Return the ids of mask, EOS and EOT; what the caller gave comes before what the checkpoint says.

    The mask is `mask_token_id` of the config, else the tokenizer's mask token. EOT is the tokenizer's `<|eot_id|>`, or
    `<|im_end|>` for Dream; else the published id where the format is known and the vocabulary holds it; else None.

    Args:
        config: The content of `config.json`.
        tokenizer: The checkpoint's, if it has one.
        origin: What the checkpoint is called in messages.
        mask_token_id: The caller's.
        eot_token_id: The caller's.

    Raises:
        ModelError: No mask token is known, or an id is outside the vocabulary.
    """
    # LLaDA's padded vocabulary; elsewhere (ALBERT) the field is the width of the embeddings.
    padded = config.get("embedding_size") if config.get("model_type") == "llada" else None
    size = padded or config.get("vocab_size")
    mask = _first(mask_token_id, config.get("mask_token_id"), tokenizer and tokenizer.mask_token_id)
    if mask is None:
        raise ModelError(
            f"{origin} has no mask token: neither mask_token_id in config.json nor a tokenizer that has one. Is it a "
            "masked diffusion model? If so, give its id: from_pretrained(..., mask_token_id=N)."
        )
    eos = config.get("eos_token_id")
    if isinstance(eos, list):
        eos = eos[0] if eos else None
    text, published = _ENDS_OF_TURN.get(str(config.get("model_type")), ("<|eot_id|>", None))
    named = tokenizer.get_vocab().get(text) if tokenizer is not None else None
    held = published is not None and isinstance(size, int) and size > published
    eot = _first(eot_token_id, named, published if held else None)
    for name, value in (("mask", mask), ("eos", eos), ("eot", eot)):
        wrong_type = value is not None and (not isinstance(value, int) or isinstance(value, bool))
        if wrong_type or (value is not None and isinstance(size, int) and not 0 <= value < size):
            raise ModelError(
                f"{origin}: {name}_token_id {value!r} is no id of the vocabulary of {size} entries."
            )
    return SpecialTokens(mask=mask, eos=eos, eot=eot, newlines=line_breaks(tokenizer))


def line_breaks(tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Return the ids of the tokens that are line breaks, with or without spaces and tabs around; ascending."""
    if tokenizer is None:
        return ()
    # A vocabulary is long and almost nothing in it is white space: how vocabularies write that is looked for first.
    candidates = [number for text, number in tokenizer.get_vocab().items() if _WHITE_SPACE.fullmatch(text)]
    return tuple(sorted(number for number in candidates if _LINE_BREAK.fullmatch(tokenizer.decode([number]))))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

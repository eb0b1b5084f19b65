"""A checkpoint's tokenizer and the ids that decoding needs: mask, end of sequence, end of turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dllm_decode.data.inputs import SpecialTokens
from dllm_decode.errors import ModelError
from dllm_decode.models.folder import read_json

_WHITE_SPACE = re.compile(r"(?:[\sĠĊĉč\u2581]|<0x(?:09|0A|0D|20)>)+")
"""White space as vocabularies write it: plain, as byte-level letters, behind SentencePiece's mark, as a byte."""
_LINE_BREAK = re.compile(r"[ \t\r]*\n[ \t\r\n]*")

_ENDS_OF_TURN = {"llada": ("<|eot_id|>", 126348), "Dream": ("<|im_end|>", 151645)}
"""The end of a turn in a format's chat template: its text, and its id in the published vocabulary.

A tokenizer names it; a folder without tokenizer cannot.
"""


TOKENIZER_FILES = ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
"""What `transformers` makes a tokenizer from where there is no `tokenizer.json`."""


class Tokenizer(Protocol):
    """What this package uses of a `transformers` tokenizer; any object with these will do.

    `all_special_ids`, `added_tokens_decoder` and `eos_token_id` are looked at where it has them.
    """

    chat_template: Any
    """None where it has no conversations; `apply_chat_template` is then never called."""
    mask_token_id: int | None
    """The mask's id; None where texts have no masks."""

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


def load_tokenizer(folder: Path, kind: str = "AutoTokenizer") -> Tokenizer | None:
    """Return the tokenizer of a checkpoint folder, chat template included, or None if it has none.

    Args:
        folder: The checkpoint.
        kind: The `transformers` class that reads files other than `tokenizer.json`.

    Raises:
        ModelError: There are files of a tokenizer, but they cannot be read.
    """
    if (folder / "tokenizer.json").is_file():
        # Not AutoTokenizer: it reads config.json, whose model_type the library may not know.
        kind = "PreTrainedTokenizerFast"
    elif not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(str(folder))  # type: ignore[no-any-return]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the tokenizer in {folder} cannot be read: {reason}") from None


def special_tokens(
    folder: Path,
    config: Mapping[str, Any],
    tokenizer: Tokenizer | None,
    *,
    mask_token_id: int | None = None,
    eot_token_id: int | None = None,
) -> SpecialTokens:
    """Return the ids of mask, EOS and EOT; what the caller gave comes before what the checkpoint says.

    The mask is `mask_token_id` of the config, else the tokenizer's mask token. All that config and
    `generation_config.json` name as EOS ends an answer. EOT is the tokenizer's `<|eot_id|>`, or `<|im_end|>` for Dream;
    else the published id where the format is known and the vocabulary holds it; else None.

    Args:
        folder: The checkpoint.
        config: The content of `config.json`.
        tokenizer: The checkpoint's, if it has one.
        mask_token_id: The caller's.
        eot_token_id: The caller's.

    Raises:
        ModelError: No mask token is known, an id is outside the vocabulary, or config and tokenizer contradict each
            other.
    """
    # LLaDA's padded vocabulary; elsewhere (ALBERT) the field is the width of the embeddings.
    padded = config.get("embedding_size") if config.get("model_type") == "llada" else None
    size = padded or config.get("vocab_size")
    named_mask = None if tokenizer is None else tokenizer.mask_token_id
    mask = _first(mask_token_id, config.get("mask_token_id"), named_mask)
    if mask is None:
        raise ModelError(
            f"{folder} has no mask token: neither mask_token_id in config.json nor a tokenizer that has one. Is it a "
            "masked diffusion model? If so, give its id: from_pretrained(..., mask_token_id=N)."
        )
    generation = folder / "generation_config.json"
    told = read_json(generation).get("eos_token_id") if generation.is_file() else None
    every_eos = [*_listed(config.get("eos_token_id")), *_listed(told)]
    text, published = _ENDS_OF_TURN.get(str(config.get("model_type")), ("<|eot_id|>", None))
    named = tokenizer.get_vocab().get(text) if tokenizer is not None else None
    held = published is not None and isinstance(size, int) and size > published
    eot = _first(eot_token_id, named, published if held else None)
    for name, value in (("mask", mask), *(("eos", eos) for eos in every_eos), ("eot", eot)):
        wrong_type = value is not None and (not isinstance(value, int) or isinstance(value, bool))
        if wrong_type or (value is not None and isinstance(size, int) and not 0 <= value < size):
            raise ModelError(
                f"{folder}: {name}_token_id {value!r} is no id of the vocabulary of {size} entries."
            )
    every_eos = list(dict.fromkeys(every_eos))
    if mask in (*every_eos, eot):
        raise ModelError(f"{folder}: mask_token_id {mask} is also an end of answers; give the mask token's own id.")
    ordinary = _ordinary(tokenizer, {mask, *every_eos})
    checked = [("eos_token_id", value, getattr(tokenizer, "eos_token_id", None)) for value in every_eos]
    if mask_token_id is None:
        checked.append(("mask_token_id", mask, named_mask))
    for field, value, true in checked:
        if value in ordinary:
            better = "" if true is None else f", whose own is {true}"
            raise ModelError(
                f"{folder}: {field} {value} is the ordinary token {ordinary[value]!r} of the tokenizer{better}. Mend "
                f"config.json{', or give mask_token_id=' if field == 'mask_token_id' else ''}."
            )
    eos, *more = every_eos or [None]
    return SpecialTokens(mask, eos, eot, line_breaks(tokenizer), tuple(end for end in more if end != eot))


def _ordinary(tokenizer: Tokenizer | None, ids: set[int]) -> dict[int, str]:
    """Return id -> text of those that are no special tokens; empty where the tokenizer does not tell."""
    special = getattr(tokenizer, "all_special_ids", None)
    if tokenizer is None or special is None:
        return {}
    ids = ids - set(special) - set(getattr(tokenizer, "added_tokens_decoder", ()))
    return {number: text for text, number in tokenizer.get_vocab().items() if number in ids}


def _listed(ids: Any) -> list[Any]:
    """Return ids that stand alone, in a list, or not at all as a list."""
    return list(ids) if isinstance(ids, list) else [] if ids is None else [ids]


def line_breaks(tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Return the ids of the tokens that are line breaks, with or without spaces and tabs around; ascending."""
    if tokenizer is None:
        return ()
    # A vocabulary is long and almost nothing in it is white space: how vocabularies write that is looked for first.
    candidates = [number for text, number in tokenizer.get_vocab().items() if _WHITE_SPACE.fullmatch(text)]
    return tuple(sorted(number for number in candidates if _LINE_BREAK.fullmatch(tokenizer.decode([number]))))


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)

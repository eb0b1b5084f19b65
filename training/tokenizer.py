"""Builds the tokenizer: byte-level BPE with whole words as entries, digits single.

Knows how text is split and which words get an entry of their own; leaves what the words are to the tasks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from dllm_decode.tasks import TASKS, training_examples

VOCABULARY_SIZE = 1024
MASK, END, TURN = "<|mask|>", "<|endoftext|>", "<|eot_id|>"
SPECIAL = (MASK, END, TURN)
MERGES = 48
_SPLIT = r"\d| ?[^\sA-Za-z_\d]+ (?=\d)| ?[^\sA-Za-z_\d]+| ?[A-Za-z_]+|\n *|\s"


def corpus(examples_per_task: int, seed: int) -> Iterable[str]:
    """Yields prompts and answers of every task."""
    tasks = [task() for task in TASKS]
    for example in islice(training_examples(tasks, seed), examples_per_task * len(tasks)):
        yield example.prompt
        yield example.reference


def build(texts: Iterable[str]) -> Tokenizer:
    """Trains a tokenizer of at most `VOCABULARY_SIZE` entries.

    A few merges are trained in the ordinary way; the rest of the vocabulary is the most frequent whole
    words, which ``ignore_merges`` makes reachable without a chain of merges for each of them.
    """
    splitter = _pre_tokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(piece for piece, _ in splitter.pre_tokenize_str(text))
    base = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    base.train_from_iterator(dict(words).keys(), trainer)
    trained = json.loads(base.to_str())["model"]
    vocabulary = {token: number for number, token in enumerate(trained["vocab"])}
    for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        if len(vocabulary) == VOCABULARY_SIZE - len(SPECIAL):
            break
        vocabulary.setdefault(word, len(vocabulary))
    merges = [tuple(merge) for merge in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def token_number(tokenizer: Tokenizer, token: str) -> int:
    """Returns a special token's number.

    Raises:
        ValueError: The tokenizer has no such token.
    """
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"the tokenizer has no {token}")
    return int(number)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes ``tokenizer.json`` and the configuration that `AutoTokenizer` reads beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "mask_token": MASK,
        "extra_special_tokens": [TURN],
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",
        "model_max_length": 256,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration, indent=2) + "\n")


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )

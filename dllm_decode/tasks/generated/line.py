"""The waiting line: copy, reverse, sort, shuffle and edit a short list of names.

The operations are those of ParallelBench (arXiv 2510.04767). Shuffling and edits at a place of the
model's own choice have many right answers whose names must agree; the others have one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.files import json_lines
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.generated.names import listed, names_in

NAMES = (
    "Adam Alice Anna Ben Bob Carl Carol Clara Dan David Diana Emma Eric Eva Frank Fred Grace Greg Hannah Henry "
    "Iris Ivan Jack Jane Julia Karl Kate Laura Leo Lucy Maria Mark Nina Noah Olga Oscar Paul Peter Rose Sam"
).split()
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")

PHRASINGS: dict[str, tuple[str, ...]] = {
    "copy": ("Copy the line: {line}.", "Repeat: {line}.", "The line is {line}. Write it again."),
    "reverse": (
        "Reverse the line: {line}.",
        "The line is {line}. Turn it around.",
        "Write backwards: {line}.",
    ),
    "sort": (
        "Sort the line: {line}.",
        "The line is {line}. Order it by name.",
        "Put in alphabetical order: {line}.",
    ),
    "shuffle": (
        "Shuffle the line: {line}.",
        "The line is {line}. Put it in a random order.",
        "Mix up: {line}.",
    ),
    "insert_index": (
        "Line: {line}. Insert {word} in {ordinal} place.",
        "{line}. {word} joins in {ordinal} place.",
    ),
    "insert_random": ("Line: {line}. Insert {word} anywhere.", "{line}. {word} joins at a random place."),
    "remove_index": ("Line: {line}. Remove the {ordinal}.", "{line}. The {ordinal} leaves."),
    "remove_random": ("Line: {line}. Remove anyone.", "{line}. A random one leaves."),
    "replace_index": (
        "Line: {line}. Replace the {ordinal} with {word}.",
        "{line}. {word} takes the {ordinal} place.",
    ),
    "replace_random": ("Line: {line}. Replace anyone with {word}.", "{line}. {word} takes a random place."),
}
_WEIGHTS = {"shuffle": 4, "insert_random": 2, "remove_random": 2, "replace_random": 2}


class LineTask(GeneratedTask):
    """Rearranges or edits a waiting line of three to six names."""

    name: ClassVar[str] = "line"
    description: ClassVar[str] = "Copy, reverse, sort, shuffle or edit a waiting line of 3 to 6 names."
    gen_length: ClassVar[int] = 16

    def sample(self, rng: random.Random) -> Example:
        operation = rng.choices(list(PHRASINGS), [_WEIGHTS.get(name, 1) for name in PHRASINGS])[0]
        *names, word = rng.sample(NAMES, rng.randint(3, 6) + 1)
        place = rng.randrange(len(names) + (operation == "insert_index"))
        prompt = rng.choice(PHRASINGS[operation]).format(
            line=", ".join(names), word=word, ordinal=ORDINALS[place]
        )
        answer = _one_answer(operation, names, word, place, rng)
        meta = {"operation": operation, "names": names, "word": word, "place": place}
        return Example("", prompt, " " + ", ".join(answer), meta)

    def score(self, example: Example, text: str) -> bool:
        meta = example.meta
        answer = names_in(text, whole=any(" " in name for name in (*meta["names"], meta["word"])))
        return _JUDGES[meta["operation"]](answer, list(meta["names"]), meta["word"], meta["place"])

    def load(self, path: Path) -> list[Example]:
        """Reads ParallelBench's waiting-line JSONL; the operation is named by the line or by the file."""
        return [_from_record(record, path, number) for number, record in json_lines(path)]


def _one_answer(operation: str, names: list[str], word: str, place: int, rng: random.Random) -> list[str]:
    if operation.endswith("_random"):
        place = rng.randrange(len(names) + (operation == "insert_random"))
    if operation == "shuffle":
        return rng.sample(names, len(names))
    return _FIXED[operation.split("_")[0]](names, word, place)


_FIXED: dict[str, Callable[[list[str], str, int], list[str]]] = {
    "copy": lambda names, word, place: list(names),
    "reverse": lambda names, word, place: names[::-1],
    "sort": lambda names, word, place: sorted(names),
    "insert": lambda names, word, place: [*names[:place], word, *names[place:]],
    "remove": lambda names, word, place: [*names[:place], *names[place + 1 :]],
    "replace": lambda names, word, place: [*names[:place], word, *names[place + 1 :]],
}


def _exactly(kind: str) -> Callable[[list[str], list[str], str, int], bool]:
    return lambda answer, names, word, place: answer == _FIXED[kind](names, word, place)


def _at_any_place(kind: str) -> Callable[[list[str], list[str], str, int], bool]:
    def judge(answer: list[str], names: list[str], word: str, place: int) -> bool:
        return any(
            answer == _FIXED[kind](names, word, where) for where in range(len(names) + (kind == "insert"))
        )

    return judge


_JUDGES: dict[str, Callable[[list[str], list[str], str, int], bool]] = {
    "copy": _exactly("copy"),
    "reverse": _exactly("reverse"),
    "sort": _exactly("sort"),
    "shuffle": lambda answer, names, word, place: Counter(answer) == Counter(names),
    "insert_index": _exactly("insert"),
    "remove_index": _exactly("remove"),
    "replace_index": _exactly("replace"),
    "insert_random": _at_any_place("insert"),
    "remove_random": _at_any_place("remove"),
    "replace_random": _at_any_place("replace"),
}


def _from_record(record: dict[str, Any], path: Path, number: int) -> Example:
    where = f"{path.name}:{number}"
    inputs = record.get("input")
    if not isinstance(inputs, dict) or "context" not in inputs:
        raise DataError(f'{path}, line {number}: expected {{"input": {{"context": ...}}, "answer": ...}}')
    context = inputs["context"]
    names = listed(context)
    if not names:
        raise DataError(f"{path}, line {number}: input.context holds no names")
    stated = str(record.get("task") or record.get("operation") or path.stem).lower()
    operation = next((name for name in PHRASINGS if name in stated), None)
    if operation is None:
        raise DataError(
            f"{path}, line {number}: which operation? Name the file after one of {', '.join(PHRASINGS)}, "
            f'or give each line a "task"'
        )
    word, place = str(inputs.get("word") or ""), inputs.get("index")
    kind, at_index = operation.split("_")[0], operation.endswith("_index")
    if kind in ("insert", "replace") and not word:
        raise DataError(f"{path}, line {number}: {operation} needs input.word")
    if at_index and (not isinstance(place, int) or not 0 <= place < len(names) + (kind == "insert")):
        raise DataError(f"{path}, line {number}: input.index must be 0 to {len(names) - 1}, got {place!r}")
    place = place if isinstance(place, int) and at_index else 0
    ordinal = ORDINALS[place] if place < len(ORDINALS) else f"{place + 1}th"
    prompt = PHRASINGS[operation][0].format(line=", ".join(names), word=word, ordinal=ordinal)
    meta = {"operation": operation, "names": names, "word": word, "place": place}
    own = _own_answer(record)
    if own is not None and not _JUDGES[operation](own, names, word, place):
        raise DataError(
            f"{path}, line {number}: its own answer {', '.join(own)!r} is not right for {operation} of {', '.join(names)!r}"
        )
    answer = own or (names if operation == "shuffle" else _FIXED[kind](names, word, place))
    return Example(where, prompt, " " + ", ".join(answer), meta)


def _own_answer(record: dict[str, Any]) -> list[str] | None:
    """Return the answer that a line gives itself: a list, a list in a string, or the `example` of an object; or None."""
    answer = record.get("answer")
    if isinstance(answer, dict):
        answer = answer.get("example")
    return None if answer is None else listed(answer)

"""Questions about countries, elements and books, closed and open.

A closed question has one answer. An open one ("name a country in Africa and its capital") has many,
whose parts must belong together; any true and self-consistent answer counts.
"""

from __future__ import annotations

import random
from typing import ClassVar

from dllm_decode.tasks.base import Example
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.generated.facts_data import BOOKS, CAPITALS, CONTINENT_OF, CONTINENTS, ELEMENTS

CAPITAL_CLOSED = (
    "What is the capital of {a}?",
    "Capital of {a}?",
    "Name the capital of {a}.",
    "Which city is the capital of {a}?",
    "The capital of {a}?",
    "Tell me the capital of {a}.",
)
COUNTRY_CLOSED = (
    "Of which country is {a} the capital?",
    "Which country has the capital {a}?",
    "Name the country whose capital is {a}.",
    "Country with the capital {a}?",
)
CONTINENT_CLOSED = (
    "On which continent is {a}?",
    "Continent of {a}?",
    "Name the continent of {a}.",
    "In which part of the world is {a}?",
)
SYMBOL_CLOSED = (
    "What is the symbol of {a}?",
    "Symbol of {a}?",
    "Name the symbol of {a}.",
    "The symbol of {a}?",
    "Tell me the chemical symbol of {a}.",
)
ELEMENT_CLOSED = (
    "Which element has the symbol {a}?",
    "Element with the symbol {a}?",
    "Name the element {a}.",
)
AUTHOR_CLOSED = ("Who wrote {a}?", "Author of {a}?", "Name the author of {a}.", "The author of {a}?")
PAIR_CLOSED = (
    "Name the capitals of {a} and {b}.",
    "Capitals of {a} and {b}?",
    "What are the capitals of {a} and {b}?",
)
OPEN_COUNTRY = (
    "Name a country in {place}{limit} and its capital.",
    "Give a country in {place}{limit} with its capital.",
    "Any country in {place}{limit} and its capital?",
    "Tell me a country in {place}{limit} and its capital.",
)
OPEN_TWO = (
    "Name a country in {place} and one in {second}, with their capitals.",
    "Give a country in {place} and one in {second}, with capitals.",
)
OPEN_ELEMENT = (
    "Name an element{limit} and its symbol.",
    "Give an element{limit} with its symbol.",
    "Any element{limit} and its symbol?",
)
OPEN_BOOK = (
    "Name a book{limit} and its author.",
    "Give a book{limit} with its author.",
    "Any book{limit} and its author?",
)


def _closed_facts() -> list[tuple[tuple[str, ...], str, str]]:
    facts: list[tuple[tuple[str, ...], str, str]] = []
    facts += [(CAPITAL_CLOSED, country, city) for country, city in CAPITALS.items()]
    facts += [(COUNTRY_CLOSED, city, country) for country, city in CAPITALS.items()]
    facts += [(CONTINENT_CLOSED, country, place) for country, place in CONTINENT_OF.items()]
    facts += [(SYMBOL_CLOSED, element, symbol) for element, symbol in ELEMENTS.items()]
    facts += [(ELEMENT_CLOSED, symbol, element) for element, symbol in ELEMENTS.items()]
    facts += [(AUTHOR_CLOSED, book, author) for book, author in BOOKS.items()]
    return facts


CLOSED = _closed_facts()


class FactsTask(GeneratedTask):
    """Answers closed (two in five) and open (three in five) questions about some 200 facts."""

    name: ClassVar[str] = "facts"
    description: ClassVar[str] = "Closed and open questions about countries, chemical elements and books."
    gen_length: ClassVar[int] = 16
    split_size: ClassVar[int] = 600

    def sample(self, rng: random.Random) -> Example:
        kind = rng.random()
        if kind < 0.2:
            phrasings, about, answer = rng.choice(CLOSED)
            return _closed(rng.choice(phrasings).format(a=about), answer)
        if kind < 0.4:
            first, second = rng.sample(list(CAPITALS), 2)
            prompt = rng.choice(PAIR_CLOSED).format(a=first, b=second)
            return _closed(prompt, f"{CAPITALS[first]}, {CAPITALS[second]}")
        if kind < 0.7:
            return _open_country(rng)
        if kind < 0.75:
            first, second = rng.sample(CONTINENTS, 2)
            prompt = rng.choice(OPEN_TWO).format(place=first, second=second)
            return _open(prompt, [_country_pairs(first), _country_pairs(second)], rng)
        if kind < 0.9:
            return _open_limited(OPEN_ELEMENT, ELEMENTS, rng)
        return _open_limited(OPEN_BOOK, BOOKS, rng)

    def score(self, example: Example, text: str) -> bool:
        said = [part.strip() for part in text.strip().rstrip(".").split(",")]
        meta = example.meta
        if "answer" in meta:
            return said == [part.strip() for part in meta["answer"].split(",")]
        asked: list[list[list[str]]] = meta["pairs"]
        return len(said) == 2 * len(asked) and all(
            said[2 * place : 2 * place + 2] in pairs for place, pairs in enumerate(asked)
        )


def _closed(prompt: str, answer: str) -> Example:
    return Example("", prompt, " " + answer, {"answer": answer})


def _open(prompt: str, pairs: list[list[list[str]]], rng: random.Random) -> Example:
    answer = ", ".join(", ".join(rng.choice(choices)) for choices in pairs)
    return Example("", prompt, " " + answer, {"pairs": pairs})


def _country_pairs(place: str, without: tuple[str, ...] = ()) -> list[list[str]]:
    return [
        [country, city]
        for country, city in CAPITALS.items()
        if CONTINENT_OF[country] == place and country not in without
    ]


def _open_country(rng: random.Random) -> Example:
    place = rng.choice(CONTINENTS)
    without = _excluded([country for country in CAPITALS if CONTINENT_OF[country] == place], rng)
    prompt = rng.choice(OPEN_COUNTRY).format(place=place, limit=_limit(without))
    return _open(prompt, [_country_pairs(place, without)], rng)


def _open_limited(phrasings: tuple[str, ...], known: dict[str, str], rng: random.Random) -> Example:
    without = _excluded(list(known), rng)
    pairs = [[key, value] for key, value in known.items() if key not in without]
    return _open(rng.choice(phrasings).format(limit=_limit(without)), [pairs], rng)


def _excluded(names: list[str], rng: random.Random) -> tuple[str, ...]:
    return tuple(rng.sample(names, rng.choices((0, 1, 2), (1, 3, 6))[0]))


def _limit(without: tuple[str, ...]) -> str:
    return f" other than {' or '.join(without)}" if without else ""

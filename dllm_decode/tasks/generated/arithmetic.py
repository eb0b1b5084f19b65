"""Additions and subtractions with worked steps, the result after ``####``.

A later step starts from an earlier step's result, so steps decoded at once must agree on it.
"""

from __future__ import annotations

import random
import re
from typing import ClassVar

from dllm_decode.tasks.base import Example
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.generated.line import NAMES

PHRASINGS = ("Work out {expression}.", "What is {expression}?", "Compute {expression} step by step.")
THINGS = ("apples", "coins", "books", "stamps", "cards", "eggs", "shells", "pens")
GAINS = ("finds {n} more", "buys {n}", "gets {n} from {other}")
LOSSES = ("loses {n}", "sells {n}", "gives {n} to {other}")
LARGEST = 99


class ArithmeticTask(GeneratedTask):
    """Works out one to three additions or subtractions of numbers up to 99; a third are word problems."""

    name: ClassVar[str] = "arithmetic"
    description: ClassVar[str] = (
        "One to three additions or subtractions with worked steps; answer after ####."
    )
    gen_length: ClassVar[int] = 40

    def sample(self, rng: random.Random) -> Example:
        value = first = rng.randint(1, LARGEST)
        steps: list[str] = []
        changes: list[int] = []
        for _ in range(rng.randint(1, 3)):
            number = rng.randint(1, LARGEST)
            change = -number if number <= value and rng.random() < 0.5 else number
            steps.append(f"{value}{change:+d}={value + change}")
            value += change
            changes.append(change)
        if rng.random() < 1 / 3:
            prompt = _story(first, changes, rng)
        else:
            expression = f"{first}" + "".join(f"{change:+d}" for change in changes)
            prompt = rng.choice(PHRASINGS).format(expression=expression)
        return Example("", prompt, f"{', '.join(steps)} #### {value}", {"answer": value})

    def score(self, example: Example, text: str) -> bool:
        found = re.search(r"####\s*(-?\d+)", text)
        return found is not None and int(found[1]) == example.meta["answer"]


def _story(first: int, changes: list[int], rng: random.Random) -> str:
    name, other = rng.sample(NAMES, 2)
    deeds = [
        rng.choice(GAINS if change > 0 else LOSSES).format(n=abs(change), other=other) for change in changes
    ]
    thing = rng.choice(THINGS)
    return f"{name} has {first} {thing}, then {', then '.join(deeds)}. How many {thing} now?"

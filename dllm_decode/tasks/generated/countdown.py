"""Countdown: reach a target from three numbers, each used once.

The answer is the chain of equations, e.g. ``30+93=123, 123-100=23``; any valid chain counts.
"""

from __future__ import annotations

import random
import re
from itertools import permutations
from pathlib import Path
from typing import ClassVar

from dllm_decode.errors import DataError
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.files import json_lines
from dllm_decode.tasks.generated.base import GeneratedTask

PHRASINGS = (
    "Numbers: {numbers}. Target: {target}.",
    "Reach {target} from {numbers}.",
    "Use {numbers} to make {target}.",
)
LARGEST = 100
_STEP = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)")


class CountdownTask(GeneratedTask):
    """Chains three numbers up to 100 into a target; generated targets need only ``+`` and ``-``."""

    name: ClassVar[str] = "countdown"
    description: ClassVar[str] = (
        "Reach a target from three numbers by a chain of equations, each number used once."
    )
    gen_length: ClassVar[int] = 24

    def sample(self, rng: random.Random) -> Example:
        while True:
            numbers = [rng.randint(1, LARGEST) for _ in range(3)]
            chain = _sum_chain(numbers, rng)
            if chain is not None:
                break
        steps, target = chain
        listed = ", ".join(str(number) for number in numbers)
        prompt = rng.choice(PHRASINGS).format(numbers=listed, target=target)
        return Example("", prompt, steps, {"numbers": numbers, "target": target})

    def score(self, example: Example, text: str) -> bool:
        return chain_reaches(text, list(example.meta["numbers"]), example.meta["target"])

    def load(self, path: Path) -> list[Example]:
        """Reads JSONL lines ``{"input": "30,100,93", "output": "23"}``: the numbers and the target."""
        examples = []
        for number, record in json_lines(path):
            try:
                numbers = [int(part) for part in str(record["input"]).split(",")]
                target = int(str(record["output"]))
            except (KeyError, ValueError) as error:
                expected = '{"input": "30,100,93", "output": "23"}'
                raise DataError(f"{path}, line {number}: expected {expected}, got {record}") from error
            if not 2 <= len(numbers) <= 6 or min(numbers) < 0:
                raise DataError(
                    f"{path}, line {number}: expected two to six whole numbers, got {record['input']!r}"
                )
            reference = find_chain(numbers, target)
            if reference is None:
                raise DataError(f"{path}, line {number}: no chain of + - * / reaches {target} from {numbers}")
            prompt = PHRASINGS[0].format(numbers=", ".join(map(str, numbers)), target=target)
            meta = {"numbers": numbers, "target": target}
            examples.append(Example(f"{path.name}:{number}", prompt, reference, meta))
        return examples


def _sum_chain(numbers: list[int], rng: random.Random) -> tuple[str, int] | None:
    """Draws a chain over a random order and signs; None where a subtraction would go below one."""
    first, second, third = rng.sample(numbers, 3)
    middle = first + second if rng.random() < 0.5 else first - second
    if middle < 1:
        return None
    left, right = (middle, third) if middle >= third or rng.random() < 0.5 else (third, middle)
    plus = rng.random() < 0.5
    target = left + right if plus else left - right
    if target < 1:
        return None
    sign = "+" if middle == first + second else "-"
    return f"{first}{sign}{second}={middle}, {left}{'+' if plus else '-'}{right}={target}", target


def chain_reaches(text: str, numbers: list[int], target: int) -> bool:
    """Checks a chain: every equation true, every number and every result used exactly once, ending in the target."""
    steps = [step for step in re.split(r"[,;\n]+", re.sub(r"[ \t]", "", text)) if step]
    if len(steps) != len(numbers) - 1:
        return False
    pool = list(numbers)
    for step in steps:
        match = _STEP.fullmatch(step)
        if match is None:
            return False
        left, right, result = int(match[1]), int(match[3]), int(match[4])
        for operand in (left, right):
            if operand not in pool:
                return False
            pool.remove(operand)
        if _apply(left, match[2], right) != result:
            return False
        pool.append(result)
    return pool == [target]


def find_chain(numbers: list[int], target: int) -> str | None:
    """Searches a chain of whole, non-negative results that reaches the target; None if there is none."""
    if len(numbers) == 1:
        return "" if numbers[0] == target else None
    for left_at, right_at in permutations(range(len(numbers)), 2):
        rest = [number for place, number in enumerate(numbers) if place not in (left_at, right_at)]
        left, right = numbers[left_at], numbers[right_at]
        for sign in "+-*/":
            result = _apply(left, sign, right)
            if result is None or result < 0:
                continue
            tail = find_chain([*rest, result], target)
            if tail is not None:
                step = f"{left}{sign}{right}={result}"
                return f"{step}, {tail}" if tail else step
    return None


def _apply(left: int, sign: str, right: int) -> int | None:
    if sign == "/":
        return left // right if right and left % right == 0 else None
    return {"+": left + right, "-": left - right, "*": left * right}[sign]

"""Puts a GPQA question's options in an order; shuffles are part of a published shape.

A GPQA row as published holds the right option and three wrong ones in fields of their own; a prepared row holds
``question``, ``A`` to ``D`` and ``answer``, the right one's letter.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from dllm_decode.tasks.published.fields import text as field_text
from dllm_decode.tasks.published.shape import Row


def options(row: Row) -> list[str]:
    """Returns the right option and the three wrong ones, in the file's order."""
    return [
        field_text(row, "Correct Answer"),
        *(field_text(row, f"Incorrect Answer {number}") for number in (1, 2, 3)),
    ]


def ordered(row: Row, order: Sequence[int]) -> Row:
    """Returns a prepared row, `order` saying which option (0 is the right one) stands at A, B, C, D."""
    texts = options(row)
    placed = {letter: texts[source] for letter, source in zip("ABCD", order, strict=True)}
    return {"question": field_text(row, "Question"), **placed, "answer": "ABCD"[order.index(0)]}


def prepare_with(orders: Callable[[int], Sequence[Sequence[int]]]) -> Callable[[Sequence[Row]], list[Row]]:
    """Returns what prepares a file's rows in file order, given the orders of so many rows; prepared rows stay as they are."""

    def prepare(rows: Sequence[Row]) -> list[Row]:
        if any("A" in row for row in rows):
            return list(rows)
        return [ordered(row, order) for row, order in zip(rows, orders(len(rows)), strict=True)]

    return prepare


def shuffled(count: int, seed: int, start: Sequence[int]) -> list[list[int]]:
    """Returns one shuffle of `start` a row, drawn one after the other by one generator."""
    generator = random.Random(seed)
    orders = []
    for _ in range(count):
        order = list(start)
        generator.shuffle(order)
        orders.append(order)
    return orders

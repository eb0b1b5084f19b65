"""The functions that the code task asks for: descriptions, equivalent bodies, truth and hidden inputs.

``{k}`` and ``{m}`` are constants of the description; ``{a}``, ``{b}`` and ``{c}`` are argument names.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAMES_FOR = {
    "number": ("x", "n", "a", "b", "y", "value", "number", "count"),
    "list": ("items", "values", "numbers", "xs", "data"),
    "text": ("text", "s", "word", "line"),
}
_WORDS = ("apple", "Kiwi", "level", "Banana", "noon", "tree", "x", "Radar", "stone", "area")


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of function.

    Attributes:
        name: Unique name.
        kind: What its arguments are: a key of `NAMES_FOR`.
        arity: How many arguments it takes.
        descriptions: Phrases after "a function that".
        bodies: Equivalent expressions, each right.
        truth: From the constants ``k`` and ``m`` to the right function.
    """

    name: str
    kind: str
    arity: int
    descriptions: tuple[str, ...]
    bodies: tuple[str, ...]
    truth: Callable[[int, int], Callable[..., Any]]

    def draw(self, k: int, rng: random.Random) -> tuple[Any, ...]:
        """Draws one hidden input, near the constant `k` half the time."""
        return tuple(_DRAW[self.kind](k, rng) for _ in range(self.arity))


def _number(k: int, rng: random.Random) -> int:
    return rng.randint(k - 3, k + 3) if rng.random() < 0.5 else rng.randint(-50, 300)


def _list(k: int, rng: random.Random) -> list[int]:
    return [_number(k, rng) for _ in range(rng.randint(2, 7))]


def _text(k: int, rng: random.Random) -> str:
    return rng.choice(_WORDS)


_DRAW: dict[str, Callable[[int, random.Random], Any]] = {"number": _number, "list": _list, "text": _text}

FAMILIES: tuple[Family, ...] = (
    Family("add", "number", 1, ("adds {k}", "returns its argument plus {k}"),
           ("{a} + {k}", "{k} + {a}"), lambda k, m: lambda x: x + k),
    Family("subtract", "number", 1, ("subtracts {k}", "returns its argument minus {k}"),
           ("{a} - {k}",), lambda k, m: lambda x: x - k),
    Family("multiply", "number", 1, ("multiplies by {k}", "returns its argument times {k}"),
           ("{a} * {k}", "{k} * {a}"), lambda k, m: lambda x: x * k),
    Family("scale-add", "number", 1, ("multiplies by {k} and adds {m}",),
           ("{a} * {k} + {m}", "{m} + {a} * {k}", "{k} * {a} + {m}"), lambda k, m: lambda x: x * k + m),
    Family("divisible", "number", 1, ("tells if a number is divisible by {k}", "checks for multiples of {k}"),
           ("{a} % {k} == 0", "not {a} % {k}"), lambda k, m: lambda x: x % k == 0),
    Family("remainder", "number", 1, ("returns the remainder after division by {k}",),
           ("{a} % {k}",), lambda k, m: lambda x: x % k),
    Family("above", "number", 1, ("tells if a number is greater than {k}", "checks for more than {k}"),
           ("{a} > {k}", "{k} < {a}"), lambda k, m: lambda x: x > k),
    Family("below", "number", 1, ("tells if a number is less than {k}", "checks for less than {k}"),
           ("{a} < {k}", "{k} > {a}"), lambda k, m: lambda x: x < k),
    Family("at-least", "number", 1, ("returns its argument but at least {k}",),
           ("max({a}, {k})", "max({k}, {a})"), lambda k, m: lambda x: max(x, k)),
    Family("at-most", "number", 1, ("returns its argument but at most {k}",),
           ("min({a}, {k})", "min({k}, {a})"), lambda k, m: lambda x: min(x, k)),
    Family("sum-two", "number", 2, ("adds two numbers", "returns the sum of two numbers"),
           ("{a} + {b}", "{b} + {a}"), lambda k, m: lambda x, y: x + y),
    Family("sum-two-plus", "number", 2, ("adds two numbers and {k}",),
           ("{a} + {b} + {k}", "{b} + {a} + {k}", "{k} + {a} + {b}"), lambda k, m: lambda x, y: x + y + k),
    Family("product", "number", 2, ("multiplies two numbers", "returns the product of two numbers"),
           ("{a} * {b}", "{b} * {a}"), lambda k, m: lambda x, y: x * y),
    Family("product-plus", "number", 2, ("multiplies two numbers and adds {k}",),
           ("{a} * {b} + {k}", "{b} * {a} + {k}", "{k} + {a} * {b}"), lambda k, m: lambda x, y: x * y + k),
    Family("larger", "number", 2, ("returns the larger of two numbers",),
           ("max({a}, {b})", "max({b}, {a})"), lambda k, m: max),
    Family("smaller", "number", 2, ("returns the smaller of two numbers",),
           ("min({a}, {b})", "min({b}, {a})"), lambda k, m: min),
    Family("sum-three", "number", 3, ("adds three numbers", "returns the sum of three numbers"),
           ("{a} + {b} + {c}", "{c} + {b} + {a}", "{b} + {a} + {c}"), lambda k, m: lambda x, y, z: x + y + z),
    Family("sum-above", "number", 2, ("tells if the sum of two numbers is greater than {k}",),
           ("{a} + {b} > {k}", "{b} + {a} > {k}", "{k} < {a} + {b}"), lambda k, m: lambda x, y: x + y > k),
    Family("square", "number", 1, ("returns the square of a number", "squares a number"),
           ("{a} * {a}", "{a} ** 2"), lambda k, m: lambda x: x * x),
    Family("square-plus", "number", 1, ("squares a number and adds {k}",),
           ("{a} * {a} + {k}", "{k} + {a} ** 2", "{a} ** 2 + {k}"), lambda k, m: lambda x: x * x + k),
    Family("list-sum", "list", 1, ("returns the sum of a list",), ("sum({a})",), lambda k, m: sum),
    Family("list-sum-plus", "list", 1, ("returns the sum of a list plus {k}",),
           ("sum({a}) + {k}", "{k} + sum({a})"), lambda k, m: lambda xs: sum(xs) + k),
    Family("list-max", "list", 1, ("returns the largest item of a list",),
           ("max({a})", "sorted({a})[-1]"), lambda k, m: max),
    Family("list-min", "list", 1, ("returns the smallest item of a list",),
           ("min({a})", "sorted({a})[0]"), lambda k, m: min),
    Family("list-reverse", "list", 1, ("reverses a list",),
           ("{a}[::-1]", "list(reversed({a}))"), lambda k, m: lambda xs: xs[::-1]),
    Family("list-add", "list", 1, ("adds {k} to each item of a list",),
           ("[x + {k} for x in {a}]", "[i + {k} for i in {a}]", "[{k} + v for v in {a}]"),
           lambda k, m: lambda xs: [x + k for x in xs]),
    Family("list-multiply", "list", 1, ("multiplies each item of a list by {k}",),
           ("[x * {k} for x in {a}]", "[i * {k} for i in {a}]", "[{k} * v for v in {a}]"),
           lambda k, m: lambda xs: [x * k for x in xs]),
    Family("list-above", "list", 1, ("keeps the items of a list greater than {k}",),
           ("[x for x in {a} if x > {k}]", "[i for i in {a} if i > {k}]", "[v for v in {a} if {k} < v]"),
           lambda k, m: lambda xs: [x for x in xs if x > k]),
    Family("list-count-above", "list", 1, ("counts the items of a list greater than {k}",),
           ("sum(x > {k} for x in {a})", "sum(i > {k} for i in {a})", "sum({k} < v for v in {a})"),
           lambda k, m: lambda xs: sum(x > k for x in xs)),
    Family("list-contains", "list", 1, ("tells if {k} is in a list", "checks a list for {k}"),
           ("{k} in {a}", "{a}.count({k}) > 0"), lambda k, m: lambda xs: k in xs),
    Family("text-length-above", "text", 1, ("tells if a text is longer than {k}",),
           ("len({a}) > {k}", "{k} < len({a})"), lambda k, m: lambda text: len(text) > k),
    Family("text-repeat", "text", 1, ("repeats a text {k} times",),
           ("{a} * {k}", "{k} * {a}"), lambda k, m: lambda text: text * k),
    Family("text-upper", "text", 1, ("writes a text in capitals",), ("{a}.upper()",), lambda k, m: str.upper),
    Family("text-reverse", "text", 1, ("reverses a text",),
           ("{a}[::-1]", "''.join(reversed({a}))"), lambda k, m: lambda text: text[::-1]),
)  # fmt: skip

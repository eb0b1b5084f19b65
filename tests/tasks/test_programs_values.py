"""What programs return comes over exactly; what has no exact form stays with the program and compares to nothing."""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dllm_decode.programs import ByTests, ByValues, Limits, Verdict, permitted, run
from dllm_decode.programs.inside.values import UnsendableError, decode, encode, one_text

VALUES = [
    None, True, 0, -1, 10**4000, -(10**400), 0.0, -0.0, 1e-320, math.inf, "", "é\x00\ud800", b"\x00a", bytearray(b"x"),
    [1, [2.0, [True]]], (1, (2,)), {1: "a", "1": {2}, (1, 2): None}, set(), {1, (2, 3)}, frozenset({4}), 1 - 2j, range(1, 9, 3),
    Decimal("1.50"), Fraction(1, 3), deque([1, 2]), Counter("aab"), OrderedDict([(2, 1), (1, 2)]), [], (), {},
]  # fmt: skip
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers() | st.booleans(), inner)
    ),
    max_leaves=20,
)


@pytest.fixture(autouse=True)
def _programs_may_run() -> Iterator[None]:
    with permitted():
        yield


def over(value: Any) -> Any:
    """Send a value through JSON text and back."""
    return decode(json.loads(json.dumps(encode(value))))


def same(one: Any, other: Any) -> bool:
    """Compare two values as the judge does."""
    return one_text(encode(one)) == one_text(encode(other))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert over(value) == value and type(over(value)) is type(value) and same(over(value), value)


@given(plain)
def test_any_plain_value_comes_back_as_it_was(value: Any) -> None:
    assert same(over(value), value) and repr(over(value)) == repr(value)


@given(plain, plain)
def test_what_is_the_same_is_equal(one: Any, other: Any) -> None:
    assert one == other or not same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), ([1], (1,)), ([1], [True]), ({1: 1}, {1: 1.0}), ({1: 0}, {True: 0}), ({1}, {1.0}), ("1", 1), (0, None)],
)
def test_equal_values_of_other_types_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other) and not same(other, one)


def test_a_nan_comes_over_and_is_wanted_as_such() -> None:
    assert math.isnan(over(math.nan)) and same(math.nan, math.nan) and not same(math.nan, math.inf)


def test_order_counts_where_python_counts_it() -> None:
    assert same({"a": 1, 2: 3}, {2: 3, "a": 1}) and same({1, "a", (2,)}, {(2,), "a", 1}) and same(0.0, -0.0)
    assert same(Counter("ab"), Counter("ba")) and not same([1, 2], [2, 1])
    assert not same(OrderedDict([(1, 1), (2, 2)]), OrderedDict([(2, 2), (1, 1)]))


class OwnInt(int):
    """Says that it is anything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __index__(self) -> int:
        return 4

    __pos__ = __int__ = __abs__ = __index__


def test_a_subclass_is_what_it_holds_and_is_refused_where_types_count() -> None:
    sent = encode(OwnInt(9))
    assert decode(sent) == 9 and not same(OwnInt(9), 9) and not same(OwnInt(9), 4)
    assert decode(encode(defaultdict(int, a=1))) == {"a": 1}


def test_a_number_of_numpy_is_pythons_number_where_types_do_not_count() -> None:
    program = "import numpy\ndef f(x):\n    return [numpy.int64(x), numpy.float64(x), numpy.bool_(x)]"
    limits = Limits(seconds=30)
    assert run([ByTests(program, "assert f(1) == [1, 1.0, True] and type(f(1)[0]) is int", ["f"], limits=limits)])[0]
    assert not run([ByValues(program, "f", [((1,), [1, 1.0, True])], limits)])[0]


def test_what_has_no_form_is_refused() -> None:
    for value in (object(), len, iter([]), Verdict, [lambda: 0]):
        with pytest.raises(UnsendableError):
            encode(value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_program_returns_what_it_is_given(value: Any) -> None:
    jobs = [ByValues("def f(x):\n    return x", "f", [((value,), value)])]
    text = repr(value).replace("inf", "float('inf')")
    names = "from collections import *\nfrom decimal import *\nfrom fractions import *\n"
    tests = ByTests("def f(x):\n    return x", f"{names}assert f({text}) == {text}", ["f"])
    assert run(jobs)[0] and run([tests])[0]


OBJECTS = """
import collections, math
class Pair:
    def __init__(self, a, b): self.a, self.b = a, b
    def total(self): return self.a + self.b
Point = collections.namedtuple("Point", "x y")
class Own(Exception): pass
def make(a, b): return Pair(a, b)
def total(pairs): return sum(pair.total() for pair in pairs)
def numbers(n): return (i * i for i in range(n))
def words(): return map(str.upper, ["a", "b"])
def change(items, table): items.append(9); items[0].add(1); table["k"] = items
def fail(kind):
    if kind == "own": raise Own("mine")
    raise {"value": ValueError, "key": KeyError, "stop": StopIteration}[kind]("told")
def point(): return Point(1, 2)
def table(): return {"a": 1}.keys()
def adder(n): return lambda x: x + n
"""
NAMES = "Pair Point Own make total numbers words change fail point table adder math".split()


@pytest.mark.parametrize(
    "tests",
    [
        "assert total([Pair(1, 2), make(3, 4)]) == 10",
        "assert make(1, 2).a == 1 and make(1, 2).total() == 3",
        "assert list(numbers(4)) == [0, 1, 4, 9] and sum(numbers(3)) == 5 and 4 in numbers(3)",
        "assert ''.join(words()) == 'AB' and next(words()) == 'A'",
        "a, t = [set()], {}\ninner = a[0]\nchange(a, t)\nassert a == [{1}, 9] and inner == {1} and t['k'] == a",
        "try: fail('value')\nexcept ValueError as e: assert str(e) == 'told'\nelse: assert False",
        "try: fail('own')\nexcept Exception as e: assert 'mine' in str(e)\nelse: assert False",
        "assert point() == (1, 2) and table() == {'a'}",
        "assert adder(2)(3) == 5 and math.isclose(math.sqrt(4), 2)",
    ],
)
def test_tests_meet_the_objects_of_a_program(tests: str) -> None:
    verdict = run([ByTests(OBJECTS, tests, NAMES)])[0]
    assert verdict, verdict.reason
    assert not run([ByTests(OBJECTS, tests + "\nassert False", NAMES)])[0]


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("assert make(1, 2) == make(1, 2)", "AssertionError"),
        ("make(1, 2) < 3", "TypeError"),
        ("make(1, 2) + 3", "TypeError"),
        ("total([lambda: 0])", "TypeError: a test hands the program a value of type function"),
        ("fail('stop')", "StopIteration: told"),
        ("absent()", "NameError"),
        ("exit()", "SystemExit"),
    ],
)
def test_what_is_not_possible_between_tests_and_programs_fails_and_says_why(tests: str, reason: str) -> None:
    verdict = run([ByTests(OBJECTS, tests, NAMES)])[0]
    assert not verdict and verdict.reason.startswith(reason)

"""Values as JSON and back, exactly: what a program returned, without the program's own idea of what it equals.

`None`, booleans, numbers, texts and lists are themselves; all else has a tag. A value of a subclass is sent as what it
holds in its base class, read with the base class's own methods, and says so; a number of NumPy is Python's. What has no such
form (functions, classes, iterators, objects) stays where it is and is sent as a reference. Values that were one and the same
object arrive as two.
"""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

LARGE = 10**300
"""Whole numbers from here on are sent as hexadecimal text: JSON readers limit the digits of a number."""


class UnsendableError(Exception):
    """A value that has no exact form, met where references are not possible."""


def encode(value: Any, refer: Callable[[Any], Any] | None = None) -> Any:
    """Return a value as what `json.dumps` can write.

    Args:
        value: Anything.
        refer: Called with what has no exact form; returns the reference to send. None refuses such values.

    Raises:
        UnsendableError: There is no exact form.
        RecursionError: The value holds itself, or is nested too deeply.
    """
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -LARGE < value < LARGE else {"t": "int", "v": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"t": "float", "v": repr(value)}
    if kind is list:
        return [encode(item, refer) for item in value]
    if kind in _WRITERS:
        return {"t": _NAMES[kind], "v": _WRITERS[kind](value, refer)}
    for base, plain in _BASES:
        if issubclass(kind, base):
            return {"t": "like", "v": encode(plain(value), refer)}
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return {"t": "like", "v": encode(value.item(), refer)}
    if refer is None:
        raise UnsendableError(f"a value of type {kind.__name__} has no exact form in JSON")
    return refer(value)


def decode(data: Any, resolve: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the value that `encode` was given; of a value of a subclass, what it holds in its base class.

    Args:
        data: What `json.loads` returned.
        resolve: Called with a reference; returns what stands for it. None refuses references.

    Raises:
        UnsendableError: A reference, and these are refused.
        TypeError, ValueError, KeyError: It is not what `encode` makes.
    """
    if isinstance(data, list):
        return [decode(item, resolve) for item in data]
    if not isinstance(data, dict):
        return data
    tag = data["t"]
    if tag == "like":
        return decode(data["v"], resolve)
    if tag in _READERS:
        return _READERS[tag](decode(data["v"], resolve))
    if resolve is None:
        raise UnsendableError("an object that has no exact form in JSON")
    return resolve(data)


def one_text(data: Any) -> str:
    """Return what `encode` made as text: the same text for the same value of the same types, and for no other.

    Judges compare texts, so that nothing a program has sent is built, hashed or compared as the object it claims to be.
    """
    return json.dumps(_ordered(data))


def _ordered(data: Any) -> Any:
    """Put what has no order of its own into one, and write zero in one way."""
    if isinstance(data, list):
        return [_ordered(item) for item in data]
    if isinstance(data, dict):
        inner = _ordered(data["v"])
        if data["t"] in _WITHOUT_ORDER:
            inner = sorted(inner, key=json.dumps)
        return {**data, "v": inner}
    return 0.0 if isinstance(data, float) and data == 0 else data


def _items(value: Any, refer: Any) -> list[Any]:
    return [encode(item, refer) for item in value]


def _pairs(value: Any, refer: Any) -> list[Any]:
    return [[encode(key, refer), encode(item, refer)] for key, item in dict.items(value)]


_NAMES: dict[type, str] = {
    tuple: "tuple", set: "set", frozenset: "frozenset", dict: "dict", OrderedDict: "OrderedDict", Counter: "Counter",
    deque: "deque", bytes: "bytes", bytearray: "bytearray", complex: "complex", range: "range",
    Decimal: "Decimal", Fraction: "Fraction", type({}.keys()): "keys",
}  # fmt: skip
_WITHOUT_ORDER = ("set", "frozenset", "keys", "dict", "Counter")
_WRITERS: dict[type, Callable[[Any, Any], Any]] = {
    tuple: _items, set: _items, frozenset: _items, deque: _items, type({}.keys()): _items,
    dict: _pairs, OrderedDict: _pairs, Counter: _pairs,
    bytes: lambda value, _: value.hex(), bytearray: lambda value, _: value.hex(),
    complex: lambda value, _: [encode(value.real), encode(value.imag)],
    range: lambda value, _: _items([value.start, value.stop, value.step], _),
    Decimal: lambda value, _: str(value), Fraction: lambda value, _: _items([value.numerator, value.denominator], _),
}  # fmt: skip
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda text: int(text, 16), "float": float, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque,
    "keys": lambda items: dict.fromkeys(items).keys(), "dict": dict, "OrderedDict": OrderedDict,
    "Counter": lambda pairs: Counter(dict(pairs)), "bytes": bytes.fromhex, "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*parts), "range": lambda parts: range(*parts), "Decimal": Decimal,
    "Fraction": lambda parts: Fraction(*parts),
}  # fmt: skip
# How to read what a value of a subclass holds in its base class, without calling anything of the subclass.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__), (float, float.__pos__), (str, str.__str__), (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))), (dict, lambda value: dict(dict.items(value))),
    (set, lambda value: set(set.__iter__(value))), (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (bytes, lambda value: bytes(bytes.__iter__(value))), (complex, complex.__pos__),
)  # fmt: skip

"""Watches a part while the engine uses it: what it is given must stay unchanged, what it returns is checked.

Knows how to stand between the engine and a part; which returns are right is said by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from inspect import isgenerator
from typing import Any

from torch import Tensor

from dllm_decode.parts.base import PartConfig

Check = Callable[[str, tuple[Any, ...], Any], str | None]
"""From the method's name, its arguments and what it returned to what is wrong with that, if anything."""

Report = Callable[[str], None]

# A logits processor may work in place on the logits it is given.
MAY_CHANGE_FIRST = frozenset({"process", "read"})


def watched(
    part: PartConfig, methods: tuple[str, ...], report: Report, check: Check | None = None
) -> PartConfig:
    """Return a part that does what `part` does and reports what it should not have done.

    Args:
        part: Any part; stays as it is.
        methods: The methods of its kind's protocol.
        report: Called with a sentence for a fault; may raise.
        check: Looks at what the methods return.
    """

    def build(self: PartConfig) -> Any:
        return _Watch(type(part).build(self), methods, report, check)

    spied: type[PartConfig] = type(
        type(part).__name__, (type(part),), {"build": build, "__module__": __name__}
    )
    values: dict[str, Any] = {name: getattr(part, name) for name in type(part).model_fields}
    return spied.model_construct(**values)


class _Watch:
    """Stands for a built part; everything but the watched methods is the part's own."""

    def __init__(self, inner: Any, methods: tuple[str, ...], report: Report, check: Check | None) -> None:
        self._inner, self._report, self._check = inner, report, check
        for method in methods:
            if hasattr(inner, method):
                setattr(self, method, self._wrapped(method))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _wrapped(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            before = _copies(arguments[method in MAY_CHANGE_FIRST :])
            answer = getattr(self._inner, method)(*arguments)
            if isgenerator(answer):
                return self._iterated(method, arguments, answer)
            self._compare(method, before)
            self._judge(method, arguments, answer)
            return answer

        return call

    def _iterated(self, method: str, arguments: tuple[Any, ...], answer: Iterator[Any]) -> Iterator[Any]:
        while True:
            before = _copies(arguments)
            try:
                item = next(answer)
            except StopIteration:
                self._compare(method, before)
                return
            self._compare(method, before)
            self._judge(method, arguments, item)
            yield item

    def _compare(self, method: str, before: list[tuple[str, Tensor, Tensor]]) -> None:
        for path, tensor, copy in before:
            if not _same(tensor, copy):
                self._report(f"{method}() changed {path}, which it may only read; work on a copy (.clone()).")

    def _judge(self, method: str, arguments: tuple[Any, ...], answer: Any) -> None:
        fault = self._check(method, arguments, answer) if self._check else None
        if fault:
            self._report(f"{method}() {fault}")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one != one) & (other != other)).all())


def _copies(arguments: tuple[Any, ...]) -> list[tuple[str, Tensor, Tensor]]:
    """Return path, tensor and a copy of every tensor that can be reached from the arguments."""
    found: list[tuple[str, Tensor, Tensor]] = []
    seen: set[int] = set()

    def visit(path: str, value: Any) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            found.append((path, value, value.clone()))
        elif is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):
                visit(f"{path}.{field.name}", getattr(value, field.name))
        elif isinstance(value, tuple | list):
            for number, item in enumerate(value):
                visit(f"{path}[{number}]", item)

    for argument in arguments:
        visit(type(argument).__name__, argument)
    return found

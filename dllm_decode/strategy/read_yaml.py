"""Reads YAML that a stranger wrote: no key twice, no nesting without end, no aliases that unfold without end.

Knows YAML; leaves what a document must hold to whoever asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from dllm_decode.errors import ConfigError, yaml_problem

DEPTH = 40
"""Levels of nesting, at most; a strategy needs fewer than ten."""
CHARACTERS = 64 * 1024
"""Characters of a document, at most; a strategy has about a thousand, and the reader is slow."""
NODES = 100_000
"""Values of a document with its aliases written out, at most."""


def read_yaml(text: str, origin: str) -> Any:
    """Return what a YAML or JSON document holds.

    Args:
        text: The document.
        origin: What it is called in an error.

    Raises:
        ConfigError: It is no YAML, names a key twice, or is nested or repeated beyond all use.
    """
    if len(text) > CHARACTERS:
        raise ConfigError(f"{origin}: longer than {CHARACTERS:,} characters")
    try:
        _refuse_depth(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        problem = _excess(node)
        if problem is not None:
            raise ConfigError(f"{origin}: {problem}")
        _refuse_twins(node, origin, set())
        loader = yaml.SafeLoader("")
        return loader.construct_document(node)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{origin}: nested more than {DEPTH} levels deep") from None
    except Exception as error:
        # Beside its own errors the reader raises whatever a tag's text comes to: `!!int ""` is an IndexError.
        raise ConfigError(f"{origin} is not YAML: {yaml_problem(error)}") from None


def refuse_nesting(data: Any, origin: str) -> None:
    """Refuse plain data, or parts, that no document of a strategy could hold: what is loaded can then be written.

    Raises:
        ConfigError: It is nested or repeated beyond all use, or contains itself.
    """
    left, seen = [(data, 0)], 0
    while left:
        one, depth = left.pop()
        seen += 1
        if depth > DEPTH or seen > NODES:
            limit = f"nested more than {DEPTH} levels deep" if depth > DEPTH else f"more than {NODES:,} values"
            raise ConfigError(f"{origin}: {limit}")
        if isinstance(one, Mapping):
            left += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list | tuple):
            left += [(inner, depth + 1) for inner in one]
        elif isinstance(one, BaseModel):
            left += [(inner, depth + 1) for _, inner in one]


def _refuse_depth(text: str) -> None:
    """Raise RecursionError as soon as a document is nested too deeply, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH:
            raise RecursionError


def _excess(node: yaml.Node) -> str | None:
    """Say what of a document is too much; None if nothing is."""
    known: dict[int, tuple[int, int]] = {}  # of a node with all aliases below it written out: values, levels
    open_: set[int] = set()

    def extent(one: yaml.Node) -> tuple[int, int]:
        if id(one) in open_:
            raise ConfigError("an alias that contains itself")
        if id(one) not in known:
            open_.add(id(one))
            inside = [extent(inner) for inner in _inside(one)]
            open_.discard(id(one))
            size, height = sum(size for size, _ in inside), max((height for _, height in inside), default=0)
            known[id(one)] = 1 + size, height + isinstance(one, yaml.CollectionNode)
        return known[id(one)]

    try:
        size, height = extent(node)
    except ConfigError as error:
        return str(error)
    if size > NODES:
        return f"its aliases unfold to more than {NODES:,} values"
    if height > DEPTH:
        return f"its aliases unfold to more than {DEPTH} levels"
    return None


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse_twins(node: yaml.Node, origin: str, seen: set[int]) -> None:
    """Raise for a mapping that names a key twice."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                raise ConfigError(
                    f"{origin}: key {key.value!r} stands twice, in lines {first[key.value]} and {line}; remove one"
                )
            first[key.value] = line
    for inner in _inside(node):
        _refuse_twins(inner, origin, seen)

"""A kind of part is told once, in its own file: all that is derived from it is there, and its example decodes."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from dllm_decode import parts, plugin
from dllm_decode.parts.kinds import DOCUMENTS, KINDS, METHODS, PROTOCOLS, SEVERAL, SUMMARIES, WORDS
from dllm_decode.plugins import hookspecs
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing import isolated_registry, run

PLAIN = {"block": "whole", "layering": "single", "scheduler": "threshold", "confidence": "top-probability"}


def example_of(kind: str) -> type[Any]:
    """Return the class that a kind's file shows."""
    code = textwrap.dedent(DOCUMENTS[kind].partition("An example:\n\n")[2])
    given = {name: getattr(plugin, name) for name in plugin.__all__}
    tools = {
        "ClassVar": ClassVar,
        "Iterator": Iterator,
        "Literal": Literal,
        "Tensor": torch.Tensor,
        "__name__": __name__,
        "replace": dataclasses.replace,
        "torch": torch,
    }
    exec(code, names := {**given, **tools})
    (found,) = (
        one
        for name, one in names.items()
        if inspect.isclass(one) and issubclass(one, KINDS[kind]) and name not in given
    )
    return found


def test_every_file_is_a_kind_with_a_field_and_a_hook() -> None:
    files = {path.stem for path in Path(str(parts.__file__)).parent.glob("*.py")} - {"__init__", "base", "kinds"}
    assert files == {*KINDS}
    assert files <= {*Strategy.model_fields}
    assert all(hasattr(hookspecs, f"dllm_{kind}") for kind in KINDS)
    assert len({base.kind_order for base in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_its_base_and_protocol_are_in_the_one_import(kind: str) -> None:
    assert {KINDS[kind].__name__, PROTOCOLS[kind].__name__} <= {*plugin.__all__}


@pytest.mark.parametrize("kind", KINDS)
def test_its_file_says_what_it_may_and_must_not(kind: str) -> None:
    paragraphs = DOCUMENTS[kind].split("\n\n")
    assert [each.partition(":")[0] for each in paragraphs[1:5]] == ["Called", "May", "Must not", "An example"]
    assert WORDS[kind].islower() and SUMMARIES[kind].endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_its_example_decodes(kind: str) -> None:
    part = example_of(kind)
    calls: list[str] = []
    method = getattr(part, METHODS[kind])

    def counted(self: Any, *arguments: Any) -> Any:
        calls.append(kind)
        return method(self, *arguments)

    setattr(part, METHODS[kind], counted)
    with isolated_registry(part):
        name = part.model_fields["name"].default
        strategy = Strategy.parse({**PLAIN, kind: [name] if kind in SEVERAL else name, "gen_length": 8}).check()
        assert run(strategy).tokens.shape[1] == 8
    assert calls

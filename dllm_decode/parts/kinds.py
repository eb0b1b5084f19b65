"""Every kind of part, read off the files beside this one: its base, its method, what it is called.

A kind is one file `parts/<kind>.py`: a config base that names the kind, and a protocol with the kind's method. Whatever
else must know the kinds (hooks, listings, spaces of a search, documents, test suites) asks here.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from dllm_decode import parts
from dllm_decode.parts.base import PartConfig


def _bases() -> Iterator[type[PartConfig]]:
    """Yield the config base of every file beside this one that declares a kind."""
    for file in pkgutil.iter_modules(parts.__path__):
        module = f"{parts.__name__}.{file.name}"
        if module == __name__:
            continue
        for one in vars(import_module(module)).values():
            if isinstance(one, type) and issubclass(one, PartConfig) and "kind" in vars(one):
                yield one


def _document(base: type[PartConfig]) -> str:
    return sys.modules[base.__module__].__doc__ or ""


def _protocol(base: type[PartConfig]) -> Any:
    """Return the protocol that stands beside a config base and has the kind's method."""
    beside = vars(sys.modules[base.__module__]).values()
    return next(one for one in beside if getattr(one, "_is_protocol", False) and hasattr(one, base.method))


KINDS: dict[str, type[PartConfig]] = {
    base.kind: base for base in sorted(_bases(), key=lambda base: (base.kind_order, base.kind))
}
"""Kind -> the base of its parts' configs, in the order in which a decode meets them."""

METHODS = {kind: base.method for kind, base in KINDS.items()}
"""Kind -> the method that a part has, unless its config's `build` returns another object."""

SEVERAL = tuple(kind for kind, base in KINDS.items() if base.several)
"""Kinds of which a strategy holds none, one or several."""

PROTOCOLS: dict[str, Any] = {kind: _protocol(base) for kind, base in KINDS.items()}
"""Kind -> the protocol that its parts obey."""

DOCUMENTS: dict[str, str] = {kind: _document(base) for kind, base in KINDS.items()}
"""Kind -> what its file says of it: a first line, when it is called, what it may and must not do, an example."""

WORDS = {kind: said.partition(":")[0].lower() for kind, said in DOCUMENTS.items()}
"""Kind -> what one of its parts is called: "stop rule"."""

SUMMARIES = {kind: said.partition("\n")[0].partition(": ")[2] for kind, said in DOCUMENTS.items()}
"""Kind -> what its parts decide: "when the rest of a row needs no more forwards."."""

"""The hooks of `dllm_decode`: what a plugin may provide. None is called in the loop.

A plugin is a module with functions marked `@hookimpl`. It is found through the entry-point group `dllm_decode`.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from dllm_decode.parts.base import PartConfig
from dllm_decode.parts.kinds import KINDS, SUMMARIES, WORDS

if TYPE_CHECKING:
    import typer

    from dllm_decode.tasks.base import Task

PROJECT = "dllm_decode"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def _hook_of(kind: str) -> Callable[[], list[type[PartConfig]]]:
    """Return the hook `dllm_<kind>` through which a plugin gives the parts of a kind."""

    def hook() -> list[type[PartConfig]]:
        return []

    word = WORDS[kind]
    several = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    hook.__name__ = hook.__qualname__ = f"dllm_{kind}"
    hook.__doc__ = f"Return {several}: {SUMMARIES[kind]}"
    hook.__annotations__["return"] = f"list[type[{KINDS[kind].__name__}]]"
    return hookspec(hook)


globals().update({f"dllm_{kind}": _hook_of(kind) for kind in KINDS})
# A kind's file in `parts/` is all that its hook is made from; what follows are the hooks that give no parts.


@hookspec
def dllm_recipe() -> list[Path]:  # type: ignore[empty-body]
    """Return YAML files, each one named strategy; the file's stem is its name."""


@hookspec
def dllm_task() -> list[type[Task]]:  # type: ignore[empty-body]
    """Return tasks: examples with a fixed order, and how an answer is scored."""


@hookspec
def dllm_denoiser() -> list[type[Any]]:  # type: ignore[empty-body]
    """Return model families.

    Each class keeps to the protocol `dllm_decode.models.family.Family`.
    """


@hookspec
def dllm_command(app: typer.Typer) -> None:
    """Add commands to the `dllm-decode` command line."""

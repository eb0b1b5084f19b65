"""The hooks of `dllm_decode`: what a plugin may provide. None is called in the loop.

A plugin is a module with functions marked `@hookimpl`. It is found through the entry-point group `dllm_decode`.
Imports no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import typer

    from dllm_decode.parts.block import BlockConfig
    from dllm_decode.parts.cache import CacheConfig
    from dllm_decode.parts.confidence import ConfidenceConfig
    from dllm_decode.parts.forward import ForwardConfig
    from dllm_decode.parts.layering import LayeringConfig
    from dllm_decode.parts.logits import LogitsConfig
    from dllm_decode.parts.revise import ReviseConfig
    from dllm_decode.parts.scheduler import SchedulerConfig
    from dllm_decode.parts.stop import StopConfig
    from dllm_decode.tasks.base import Task

PROJECT = "dllm_decode"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dllm_block() -> list[type[BlockConfig]]:  # type: ignore[empty-body]
    """Return block policies: which span of the canvas is worked on, with which share of the steps."""


@hookspec
def dllm_layering() -> list[type[LayeringConfig]]:  # type: ignore[empty-body]
    """Return layerings: which positions of a block are eligible when, with how many steps."""


@hookspec
def dllm_scheduler() -> list[type[SchedulerConfig]]:  # type: ignore[empty-body]
    """Return schedulers: which of the proposed tokens are committed in a step."""


@hookspec
def dllm_confidence() -> list[type[ConfidenceConfig]]:  # type: ignore[empty-body]
    """Return confidences: a score for the proposed token of every position."""


@hookspec
def dllm_logits() -> list[type[LogitsConfig]]:  # type: ignore[empty-body]
    """Return logits processors: guidance, forbidden tokens."""


@hookspec
def dllm_stop() -> list[type[StopConfig]]:  # type: ignore[empty-body]
    """Return stop rules: when the rest of a row needs no more forwards."""


@hookspec
def dllm_revise() -> list[type[ReviseConfig]]:  # type: ignore[empty-body]
    """Return revisers: which decided positions are opened again, or get another token."""


@hookspec
def dllm_forward() -> list[type[ForwardConfig]]:  # type: ignore[empty-body]
    """Return forward plans: extra columns, attention and positions of the model's inputs."""


@hookspec
def dllm_cache() -> list[type[CacheConfig]]:  # type: ignore[empty-body]
    """Return cache policies: which columns' keys and values are recomputed, and which are reused."""


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

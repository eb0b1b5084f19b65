"""Commands that plugins add; imports only plugins whose source speaks of the hook, so that `--help` needs no torch."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
import typer

from dllm_decode.commands.output import note
from dllm_decode.plugins import hookspecs
from dllm_decode.plugins.registry import DEFAULT_PLUGINS, ENTRY_POINT_GROUP

HOOK = "dllm_command"


def add_plugin_commands(app: typer.Typer) -> None:
    """Let every plugin whose module defines `dllm_command` add its commands; a failure is said and harms no other."""
    for name, module, load in _plugins():
        try:
            if not _speaks_of_commands(module):
                continue
            manager = pluggy.PluginManager(hookspecs.PROJECT)
            manager.add_hookspecs(hookspecs)
            with contextlib.redirect_stdout(sys.stderr):
                manager.register(load(), name)
                manager.hook.dllm_command(app=app)
        except (Exception, SystemExit) as error:
            note(f"plugin {name!r} could not add its commands: {type(error).__name__}: {error}")


def _plugins() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    for module in DEFAULT_PLUGINS:
        yield module, module, partial(importlib.import_module, module)
    limit = os.environ.get("DLLM_DECODE_PLUGINS")
    wanted = None if limit is None else {name.strip() for name in limit.split(",")}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if wanted is None or point.name in wanted:
            yield point.name, point.module, point.load


def _speaks_of_commands(module: str) -> bool:
    spec = find_spec(module)
    if spec is None:
        return False
    if spec.origin is None or not spec.origin.endswith(".py"):
        return True
    return HOOK in Path(spec.origin).read_text(encoding="utf-8", errors="replace")

"""Options of a command, made of the fields of `Settings`: each is told once, there, for Python and for the shell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from dllm_search.settings import Settings

Command = TypeVar("Command", bound=Callable[..., None])

IN_THE_SHELL: dict[str, Any] = {
    "strategy": str | None, "fix": list[str] | None, "storage": str | None, "out": Path | None,
}  # fmt: skip
"""Fields that a shell gives as something simpler than Python does."""
SHORT = {"trials": "-n", "strategy": "-s"}
METAVAR = {"fix": "PATH=VALUE"}


def with_settings(*, only: Collection[str] | None = None, but: Collection[str] = ()) -> Callable[[Command], Command]:
    """Return a decorator that replaces a command's `**options` by an option for each setting.

    Args:
        only: The settings to offer; None is all.
        but: Settings to leave out.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [p for p in inspect.signature(command).parameters.values() if p.kind != p.VAR_KEYWORD]
        names = [n for n in Settings.model_fields if (only is None or n in only) and n not in but]
        first = [p.replace(annotation=hints[p.name]) for p in own]
        signature = inspect.Signature([*first, *map(_option, names)])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def _option(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    flags = [f"--{name.replace('_', '-')}", *([SHORT[name]] if name in SHORT else [])]
    option = typer.Option(*flags, help=field.description, metavar=METAVAR.get(name))
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if name in IN_THE_SHELL else field.default,
        annotation=Annotated[IN_THE_SHELL.get(name, field.annotation), option],
    )

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


def with_settings(
    *, only: Collection[str] | None = None, but: Collection[str] = (), kept: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Return a decorator that replaces a command's `**options` by an option for each setting.

    Args:
        only: The settings to offer; None is all.
        but: Settings to leave out.
        kept: Settings that are the study's own where they are not given; the command gets None then.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [p for p in inspect.signature(command).parameters.values() if p.kind != p.VAR_KEYWORD]
        names = [n for n in Settings.model_fields if (only is None or n in only) and n not in but]
        first = [p.replace(annotation=hints[p.name]) for p in own]
        signature = inspect.Signature([*first, *(_option(name, name in kept) for name in names)])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def _option(name: str, kept: bool) -> inspect.Parameter:
    field = Settings.model_fields[name]
    said = f"{field.description} As in `search run` if not given." if kept else field.description
    taken: Any = IN_THE_SHELL.get(name, field.annotation)
    flags = [f"--{name.replace('_', '-')}", *([SHORT[name]] if name in SHORT else [])]
    option = typer.Option(*flags, help=said, metavar=METAVAR.get(name))
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if kept or name in IN_THE_SHELL else field.default,
        annotation=Annotated[taken | None if kept else taken, option],
    )

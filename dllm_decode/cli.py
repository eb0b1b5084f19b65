"""`dllm-decode`: puts the commands together and turns errors into one line and an exit code.

Knows commands and exit codes; each command lives in `dllm_decode.commands`, more come through the `dllm_command` hook.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from typer import rich_utils

from dllm_decode.commands import (
    bench,
    evaluate,
    generate,
    listings,
    lm_eval,
    new_plugin,
    reproduce,
    settings,
    view,
)
from dllm_decode.commands.output import streams
from dllm_decode.errors import ConfigError, DecodeError

USER_ERROR = 2
INTERRUPTED = 130
UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)

BUILT_IN: dict[str, Callable[..., None]] = {
    "generate": generate.generate,
    "eval": evaluate.evaluate,
    "reproduce": reproduce.reproduce,
    "view": view.view,
    "strategies": listings.strategies,
    "settings": settings.settings,
    "show": listings.show,
    "plugins": listings.plugins,
    "schema": listings.schema,
    "new-plugin": new_plugin.new_plugin,
}


# What typer raises for a command line it does not understand; the class has no public name of its own.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 wrong input, 130 interrupted, 1 anything else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with streams():
            return _run([_as_text(place, argument) for place, argument in enumerate(given, start=1)])
    except DecodeError as error:
        _say(" ".join(str(error).split()))
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # A file that cannot be opened has a name; only a stream that cannot be written has none.
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        _give_up_stdout()
        if error.errno != errno.EPIPE:
            _say(f"stdout cannot be written: {error.strerror}")
        return 1


def _run(given: list[str]) -> int:
    """Run a command line and return its exit code.

    Raises:
        DecodeError: What the user gave is wrong.
        OSError: Among others, stdout cannot be written.
    """
    app = build_app(with_plugins=not given or given[0] not in {*BUILT_IN, "bench", "lm-eval", "--version"})
    try:
        code = app(args=given, prog_name="dllm-decode", standalone_mode=False)
    except UsageError as error:
        rich_utils.rich_format_error(error)  # type: ignore[arg-type]
        if type(error).__name__ != "NoArgsIsHelpError":
            _say(" ".join(error.format_message().split()))  # type: ignore[attr-defined]
        return USER_ERROR
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return code if isinstance(code, int) else 0


def _as_text(place: int, argument: str) -> str:
    """Return an argument; one that a locale without UTF-8 has garbled is put right.

    Raises:
        ConfigError: It is no UTF-8 text.
    """
    try:
        return os.fsencode(argument).decode() if not argument.isascii() else argument
    except UnicodeError:
        shown = argument.encode("ascii", "backslashreplace").decode()[:60]
        raise ConfigError(f"argument {place}, '{shown}', is not UTF-8 text") from None


def _say(text: str) -> None:
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"error: {text}\n")


def _give_up_stdout() -> None:
    """Let what is left in stdout go, or the interpreter complains of it when it ends."""
    with contextlib.suppress(OSError, AttributeError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_app(with_plugins: bool = True) -> typer.Typer:
    """Return the command line.

    Args:
        with_plugins: Also load the plugins and let them add commands; a built-in command needs none of theirs.
    """
    app = typer.Typer(
        name="dllm-decode",
        help="Compose, run, tune and extend decoding schedules for masked diffusion language models.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, command in BUILT_IN.items():
        app.command(name)(command)
    handed_over = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("bench", context_settings=handed_over)(bench.bench)
    app.command("lm-eval", context_settings=handed_over, add_help_option=False)(lm_eval.lm_eval)
    if with_plugins:
        from dllm_decode.commands.plugins import add_plugin_commands

        add_plugin_commands(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        from dllm_decode.evaluate.record import installed_version

        typer.echo(f"dllm-decode {installed_version('dllm-decode')}")
        raise typer.Exit()


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())

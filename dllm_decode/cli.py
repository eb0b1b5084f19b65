"""`dllm-decode`: puts the commands together and turns errors into one line and an exit code.

Knows commands and exit codes; each command lives in `dllm_decode.commands`, more come through the `dllm_command` hook.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from dllm_decode.commands import bench, evaluate, generate, listings, new_plugin
from dllm_decode.errors import DecodeError

USER_ERROR = 2
INTERRUPTED = 130

BUILT_IN: dict[str, Callable[..., None]] = {
    "generate": generate.generate,
    "eval": evaluate.evaluate,
    "strategies": listings.strategies,
    "show": listings.show,
    "plugins": listings.plugins,
    "schema": listings.schema,
    "new-plugin": new_plugin.new_plugin,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 done, 2 wrong input, 130 interrupted, 1 anything else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        build_app(with_plugins=not given or given[0] not in {*BUILT_IN, "bench", "--version"})(
            args=given, prog_name="dllm-decode"
        )
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except DecodeError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


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
    app.command("bench", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        bench.bench
    )
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

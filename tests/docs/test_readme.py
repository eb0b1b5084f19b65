"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from dllm_decode.cli import build_app
from dllm_decode.commands.output import streams
from dllm_decode.strategy.strategy import Strategy

ROOT = Path(__file__).resolve().parents[2]
TEXT = "\n".join(path.read_text() for path in (ROOT / "README.md", *ROOT.glob("examples/*/README.md")))
COMMANDS = [line.split(" < ")[0] for line in TEXT.splitlines() if line.startswith("dllm-decode ")]


def blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_is_understood(line: str) -> None:
    command = typer.main.get_command(build_app())
    with streams():  # --json takes stdout, which is given back here
        context = command.make_context("dllm-decode", shlex.split(line, comments=True)[1:])
        while hasattr(command, "commands"):
            name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, arguments, parent=context)
        assert context.command is command


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = set(
        re.findall(
            r"\bmake (?:[A-Z_]+=\S+ )?([a-z-]+)", "\n".join(re.findall(r"`make.*?`|^make.*", TEXT, re.M))
        )
    )
    assert {"demo", "test", "install"} <= shown
    for target in shown:
        assert f"\n{target}:" in makefile


def test_every_strategy_file_validates() -> None:
    files = list(blocks("yaml"))
    assert files
    for text in files:
        Strategy.from_yaml(text).check()


def test_the_quick_start_runs() -> None:
    quick_start = next(blocks("python"))
    exec(compile(quick_start, "README.md", "exec"), {})

"""Listing strategies, parts and plugins is quick and small, because it loads no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, io, json, pathlib, re, sys
{act}
heavy = [name for name in ("torch", "transformers", "optuna", "scipy", "numpy", "matplotlib") if name in sys.modules]
status = pathlib.Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print(json.dumps({{"heavy": heavy, "kilobytes": int(peak[1]) if peak else 0}}))
"""
COMMAND = """
from dllm_decode.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
"""
EVERY_RECIPE = """
from dllm_decode import Strategy, load_registry
registry = load_registry()
assert not registry.failures and len(registry.names("recipe")) > 30
for name in registry.names("recipe"):
    Strategy.load(name).check().digest()
"""
EVERYTHING_FOR_AUTHORS = """
import dllm_decode.plugin
for name in dllm_decode.plugin.__all__:
    getattr(dllm_decode.plugin, name)
"""


def run(act: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-c", PROGRAM.format(act=act), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments", [("strategies",), ("strategies", "--json"), ("show", "said"), ("plugins",), ("schema",), ("--help",)]
)
def test_a_listing_command_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = run(COMMAND, *arguments)
    assert found["heavy"] == []
    assert isinstance(found["kilobytes"], int) and found["kilobytes"] < 80_000


def test_every_recipe_is_read_and_checked_without_torch() -> None:
    assert run(EVERY_RECIPE)["heavy"] == []


def test_what_authors_import_costs_no_torch() -> None:
    assert run(EVERYTHING_FOR_AUTHORS)["heavy"] == []

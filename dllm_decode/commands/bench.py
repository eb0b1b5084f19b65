"""`dllm-decode bench`: run the benchmark of the engine's own cost, which lives in the source checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from dllm_decode.errors import ConfigError

ROOT = Path(__file__).parents[2]


def bench(context: typer.Context) -> None:
    """Measure what the engine costs beyond the model (in a source checkout); options go to benchmarks.speed.overhead."""
    if not (ROOT / "benchmarks" / "speed" / "overhead.py").is_file():
        raise ConfigError(
            "bench needs the source checkout: the benchmarks are not part of the installed package"
        )
    done = subprocess.run([sys.executable, "-m", "benchmarks.speed.overhead", *context.args], cwd=ROOT, check=False)
    raise typer.Exit(done.returncode)

"""`dllm-decode lm-eval`: lm-evaluation-harness's own command line, with our strategies as its model."""

from __future__ import annotations

import typer


def lm_eval(context: typer.Context) -> None:
    """Run lm-evaluation-harness with a strategy: --model_args pretrained=...,strategy=... --tasks ...; its own options."""
    from dllm_decode.harness.command import run

    run(context.args)

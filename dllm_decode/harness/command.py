"""Hands a command line over to lm-evaluation-harness, and says its refusals and ours in one line."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dllm_decode.errors import ConfigError
from dllm_decode.strategy.resolve import needs_model
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.tasks.harness.needs import require_lm_eval, unknown_task

_COMMANDS = ("run", "ls", "validate")


def run(arguments: Sequence[str]) -> None:
    """Run a command line of `lm_eval`, with the model "dllm-decode" unless it names another.

    Raises:
        DecodeError: lm-evaluation-harness is not installed, or something that was given is wrong.
        SystemExit: Its own parser refuses the line, or shows its help.
    """
    require_lm_eval()
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    import dllm_decode.harness.lm  # noqa: F401  (registers the model)

    words = list(arguments)
    if not words or words[0] not in (*_COMMANDS, "-h", "--help"):
        words.insert(0, "run")
    names = any(word == "--model" or word == "-M" or word.startswith("--model=") for word in words)
    if words[0] == "run" and not names and not {"-h", "--help"} & set(words):
        words[1:1] = ["--model", "dllm-decode"]
    before, sys.argv = sys.argv, ["dllm-decode lm-eval", *words]
    try:
        setup_logging()
        harness = HarnessCLI()
        parsed = harness.parse_args()
        if words[0] == "run":
            _check(parsed)
        harness.execute(parsed)
    except (ValueError, OSError) as error:
        # What it says of data, tasks and options is the user's to read; what comes out of our model is not its own.
        frames = traceback.extract_tb(error.__traceback__)[1:]
        if any("dllm_decode" in Path(frame.filename).parts for frame in frames):
            raise
        raise ConfigError(f"lm-eval: {error or type(error).__name__}") from None
    finally:
        sys.argv = before


def _check(parsed: Any) -> None:
    """Refuse what lm-evaluation-harness would stop at with a traceback: options that do not go together, no such task."""
    from lm_eval.config.evaluate_config import EvaluatorConfig
    from lm_eval.tasks import TaskManager

    from dllm_decode.harness.arguments import Arguments

    logging.disable(logging.WARNING)  # said once more when it runs
    try:
        config = EvaluatorConfig.from_cli(parsed)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"lm-eval: {error}") from None
    finally:
        logging.disable(logging.NOTSET)
    if config.model == "dllm-decode":
        own_arguments, changes = Arguments.read(config.model_args)
        if not needs_model(own_arguments.strategy):
            Strategy.load(own_arguments.strategy, **changes)
    named = config.tasks.split(",") if isinstance(config.tasks, str) else [n for t in config.tasks for n in t.split(",")]
    if not any(named):
        raise ConfigError("lm-eval: no task is named; say which: --tasks gsm8k")
    names = [name for name in named if not name.endswith(".yaml") and "*" not in name]
    # Looking through all tasks takes seconds, so local ones are looked at first.
    own: list[str] = []
    if config.include_path:
        own = TaskManager(include_path=config.include_path, include_defaults=False).all_tasks
    known = own
    if set(names) - set(own):
        known = TaskManager(include_path=config.include_path).all_tasks
    for name in names:
        if name not in known:
            raise ConfigError(f"lm-eval: {unknown_task(name, own, known)}")

"""Published evaluators' prompts and verdicts, kept as they were released.

One folder an evaluator, one file a benchmark; `shape` looks one up by both names.
"""

from __future__ import annotations

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.tasks.published.lm_eval import LM_EVAL
from dllm_decode.tasks.published.opencompass import OPENCOMPASS
from dllm_decode.tasks.published.shape import Judge, Message, Row, Run, Shape, Shot, cut_at_stops

SHAPES: dict[str, dict[str, Shape]] = {
    evaluator: {shape.task: shape for shape in shapes}
    for evaluator, shapes in (("opencompass", OPENCOMPASS), ("lm-eval", LM_EVAL))
}

# Our names of benchmarks that an evaluator calls otherwise.
_ALIASES = {
    ("opencompass", "math500"): "math",
    ("lm-eval", "math"): "minerva_math",
    ("lm-eval", "math500"): "minerva_math",
    ("lm-eval", "arc-challenge"): "arc_challenge_chat",
    ("lm-eval", "gpqa"): "gpqa_diamond_cot_zeroshot",
    ("lm-eval", "mmlu-pro"): "mmlu_pro",
}


def shape(task: str, evaluator: str = "opencompass") -> Shape:
    """Returns one evaluator's shape of a benchmark, under our name of it or the evaluator's own.

    Raises:
        ConfigError: The evaluator or its benchmark is unknown.
    """
    if evaluator not in SHAPES:
        raise ConfigError(unknown_name("prompt shape", evaluator, SHAPES))
    task = _ALIASES.get((evaluator, task), task)
    if task not in SHAPES[evaluator]:
        raise ConfigError(unknown_name(f"benchmark of shape {evaluator}", task, SHAPES[evaluator]))
    return SHAPES[evaluator][task]


__all__ = ["SHAPES", "Judge", "Message", "Row", "Run", "Shape", "Shot", "cut_at_stops", "shape"]

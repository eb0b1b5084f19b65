"""Published evaluators' prompts and verdicts, kept as they were released.

One folder an evaluator, one file a benchmark; `shape` looks one up by both names.
"""

from __future__ import annotations

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.tasks.published.opencompass import OPENCOMPASS
from dllm_decode.tasks.published.shape import Judge, Message, Row, Run, Shape, Shot, cut_at_stops

SHAPES: dict[str, dict[str, Shape]] = {
    evaluator: {shape.task: shape for shape in shapes}
    for evaluator, shapes in (("opencompass", OPENCOMPASS),)
}


def shape(task: str, evaluator: str = "opencompass") -> Shape:
    """Returns one evaluator's shape of a benchmark.

    Raises:
        ConfigError: The evaluator or its benchmark is unknown.
    """
    if evaluator not in SHAPES:
        raise ConfigError(unknown_name("prompt shape", evaluator, SHAPES))
    if task not in SHAPES[evaluator]:
        raise ConfigError(unknown_name(f"benchmark of shape {evaluator}", task, SHAPES[evaluator]))
    return SHAPES[evaluator][task]


__all__ = ["SHAPES", "Judge", "Message", "Row", "Run", "Shape", "Shot", "cut_at_stops", "shape"]

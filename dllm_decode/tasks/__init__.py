"""Tasks that score themselves: line, square, facts, arithmetic, countdown and code are drawn, benchmarks are read."""

from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.generated.arithmetic import ArithmeticTask
from dllm_decode.tasks.generated.base import GeneratedTask, training_examples
from dllm_decode.tasks.generated.code import CodeTask
from dllm_decode.tasks.generated.countdown import CountdownTask
from dllm_decode.tasks.generated.facts import FactsTask
from dllm_decode.tasks.generated.line import LineTask
from dllm_decode.tasks.generated.square import SquareTask

TASKS: tuple[type[GeneratedTask], ...] = (
    LineTask,
    SquareTask,
    FactsTask,
    ArithmeticTask,
    CountdownTask,
    CodeTask,
)

__all__ = ["TASKS", "Example", "GeneratedTask", "Task", "training_examples"]

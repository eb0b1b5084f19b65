"""Tasks that score themselves: line, square, facts, arithmetic, countdown and code."""

from dllm_decode.tasks.arithmetic import ArithmeticTask
from dllm_decode.tasks.base import Example, Task, training_examples
from dllm_decode.tasks.code import CodeTask
from dllm_decode.tasks.countdown import CountdownTask
from dllm_decode.tasks.facts import FactsTask
from dllm_decode.tasks.line import LineTask
from dllm_decode.tasks.square import SquareTask

TASKS: tuple[type[Task], ...] = (LineTask, SquareTask, FactsTask, ArithmeticTask, CountdownTask, CodeTask)

__all__ = ["TASKS", "Example", "Task", "training_examples"]

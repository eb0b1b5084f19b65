"""Small Python functions from a description, judged by running them on hidden inputs.

Argument names and one of several equivalent bodies are free, so the parts of an answer must agree.
What the descriptions are is in `code_families`; how a program is run apart from its judge is in `dllm_decode.programs`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from dllm_decode.programs import ByValues, Limits, require_for, run
from dllm_decode.tasks.base import Example
from dllm_decode.tasks.generated.base import GeneratedTask
from dllm_decode.tasks.generated.code_families import FAMILIES, NAMES_FOR, Family

FUNCTION_NAMES = "solve apply convert check work answer compute handle process make".split()
LIMITS = Limits(seconds=2, memory=512 << 20)
PHRASINGS = (
    "Write a function {function} that {description}.",
    "Define {function}, which {description}.",
    "{function}: a function that {description}.",
)


class CodeTask(GeneratedTask):
    """Writes a one-line Python function that does what is described."""

    name: ClassVar[str] = "code"
    description: ClassVar[str] = "Write a small Python function from a description; run on hidden inputs."
    gen_length: ClassVar[int] = 32
    runs_programs: ClassVar[bool] = True

    def sample(self, rng: random.Random) -> Example:
        family = rng.choice(FAMILIES)
        constants = {name: rng.randint(2, 99) for name in ("k", "m")}
        function = rng.choice(FUNCTION_NAMES)
        description = rng.choice(family.descriptions).format(**constants)
        prompt = rng.choice(PHRASINGS).format(function=function, description=description)
        reference = _program(family, function, constants, rng)
        return Example("", prompt, reference, {"family": family.name, "function": function, **constants})

    def score(self, example: Example, text: str) -> bool:
        return self.score_many([(example, text)])[0]

    def score_many(self, pairs: Sequence[tuple[Example, str]]) -> list[bool]:
        """Runs the programs several at a time; each has a process and a time limit of its own."""
        require_for(self)
        return [verdict.passed for verdict in run([_calls(example, text) for example, text in pairs])]


def _program(family: Family, function: str, constants: dict[str, int], rng: random.Random) -> str:
    names = dict(zip("abc", rng.sample(NAMES_FOR[family.kind], family.arity), strict=False))
    body = rng.choice(family.bodies).format(**names, **constants)
    return f"def {function}({', '.join(names.values())}):\n    return {body}"


def _calls(example: Example, text: str) -> ByValues:
    meta = example.meta
    family = next(family for family in FAMILIES if family.name == meta["family"])
    truth = family.truth(meta["k"], meta["m"])
    rng = random.Random(f"hidden/{example.prompt}")
    inputs = [family.draw(meta["k"], rng) for _ in range(12)]
    cases = [(arguments, truth(*arguments)) for arguments in inputs]
    return ByValues(text, meta["function"], cases, LIMITS)

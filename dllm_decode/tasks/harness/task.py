"""A generation task of lm-evaluation-harness as a task of this package: its prompts, filters, metrics and rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from dllm_decode.errors import ConfigError
from dllm_decode.fingerprints import fingerprint
from dllm_decode.tasks.base import Example, Task
from dllm_decode.tasks.harness.loading import USUAL_LENGTH, config_of, installed, load, quiet
from dllm_decode.tasks.harness.options import TaskOptions
from dllm_decode.tasks.harness.rows import Doc, docs, prompts, score, target

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class LmEvalTask(Task):
    """One task of lm-evaluation-harness, by name."""

    name: ClassVar[str] = "lm-eval"
    description: ClassVar[str] = "A generation task of lm-evaluation-harness, lm-eval:NAME."
    gen_length: ClassVar[int] = USUAL_LENGTH
    graded: ClassVar[bool] = True

    def __init__(self, harness_name: str, include_path: Path | None = None, options: TaskOptions | None = None) -> None:
        """Look a task up; its data is read when examples are wanted.

        Args:
            harness_name: What lm-evaluation-harness calls it.
            include_path: A folder of one's own tasks, looked at first.
            options: How it is asked and judged, where not as it says itself.

        Raises:
            ConfigError: The harness is not installed, or has no such task that generates.
        """
        self.harness_name = harness_name
        self.include_path = None if include_path is None else include_path.absolute()
        self.options = options or TaskOptions()
        self.config = config_of(harness_name, self.include_path)
        kwargs = dict(self.config.get("generation_kwargs") or {})
        asked = next((kwargs[name] for name in _LENGTHS if kwargs.get(name)), USUAL_LENGTH)
        until = kwargs.get("until") or self.config.get("fewshot_delimiter", "\n\n")
        texts = [harness_name, *self.options.texts()]
        # What is the class's own elsewhere is each object's here.
        self.__dict__["name"] = f"lm-eval:{','.join(texts)}"
        self.__dict__["gen_length"] = self.options.gen_length or int(asked)
        self.stop = tuple(filter(None, [until] if isinstance(until, str) else until))

    @classmethod
    def parse(cls, text: str, include_path: Path | None = None) -> Self:
        """Read "NAME" or "NAME,option=value,...".

        Raises:
            ConfigError: There is no such task or option.
        """
        name, *texts = text.split(",")
        return cls(name.strip(), include_path, TaskOptions.read(texts))

    def examples(self, split: str, limit: int | None = None) -> list[Example]:
        """Return the first `limit` rows of a split as the harness asks them.

        Raises:
            DataError: There is no such split, or its data cannot be had.
        """
        self.refuse_split(split)
        made: list[Example] = self._keep(f"examples {split} {limit}", lambda: self._made(split, limit))
        return made

    def score(self, example: Example, text: str) -> float:
        """Judge an answer by the task's filter and metric."""
        with quiet():
            return self._judge(example.meta["doc"], text)

    def settings(self) -> Mapping[str, str]:
        """Return the harness's version, and what of the task's file decides prompts or scores."""
        written = json.dumps(self.config, sort_keys=True, default=str).encode()
        code = b"".join(file.read_bytes() for file in sorted((self.include_path or Path("-")).glob("**/*.py")))
        return {"lm_eval": installed(), "task file": fingerprint(written + code)}

    def origin(self, split: str) -> str:
        """Return which rows a split is made of, by data set and content."""
        self.refuse_split(split)
        found: str = self._keep(f"origin {split}", lambda: docs(self._task, split).origin(self._task))
        return f"{split}: {found}"

    def _judge(self, row: Doc, text: str) -> float:
        return score(self._task, row, text, self.options.filter, self.options.metric)

    @property
    def _task(self) -> Any:
        return self._keep("task", lambda: self._loaded())

    def _loaded(self) -> Any:
        task = load(self.harness_name, self.include_path, self.options)
        if task.OUTPUT_TYPE != "generate_until":
            raise ConfigError(f"lm-eval: task {self.harness_name!r} asks for {task.OUTPUT_TYPE}, not for an answer")
        return task

    def _made(self, split: str, limit: int | None) -> list[Example]:
        with quiet():
            found = docs(self._task, split)
            if found.rows:
                # A filter or metric that cannot be had is told before anything is decoded.
                self._judge(found.rows[0], target(self._task, found.rows[0]))
            asked = list(prompts(self._task, found, limit, turns=self.options.turns))
            return [
                Example(f"{split}:{place}", prompt, target(self._task, row), {"doc": dict(row)})
                for place, (prompt, row) in enumerate(zip(asked, found.rows, strict=False))
            ]

    def _keep(self, name: str, make: Callable[[], Any]) -> Any:
        kept = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            kept[name] = make()
        return kept[name]

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what was read: a worker that is sent the task reads what it needs itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

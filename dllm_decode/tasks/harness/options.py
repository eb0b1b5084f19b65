"""What may follow the name of a task of lm-evaluation-harness: `lm-eval:NAME,num_fewshot=0,filter=strict-match`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from dllm_decode.errors import ConfigError, unknown_name


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is asked and judged, where not as it says itself."""

    num_fewshot: int | None = None
    """Worked examples before every question."""
    filter: str | None = None
    """The filter whose output is judged; the task's first."""
    metric: str | None = None
    """The metric that is the score; the task's first."""
    turns: bool = False
    """Whether prompts are messages, worked examples in turns, for the model's chat template."""
    gen_length: int | None = None
    """Positions of an answer."""

    @classmethod
    def read(cls, texts: list[str]) -> Self:
        """Read `name=value` texts.

        Raises:
            ConfigError: One is no such text, its name is unknown, or its value is none.
        """
        known = [field.name for field in fields(cls)]
        found: dict[str, object] = {}
        for text in texts:
            name, equals, value = text.strip().partition("=")
            if name not in known or not equals:
                raise ConfigError(f"lm-eval: {unknown_name('option of a task', name, known)}")
            found[name] = _value(name, value.strip())
        return cls(**found)  # type: ignore[arg-type]

    def texts(self) -> list[str]:
        """Return what was given, as `name=value`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return [f"{name}={str(v).lower() if v is True else v}" for name, v in values.items() if v not in (None, False)]


def _value(name: str, text: str) -> object:
    if name in ("filter", "metric"):
        return text
    if name == "turns":
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"lm-eval: turns should be true or false, got {text!r}")
        return text.lower() == "true"
    least = 0 if name == "num_fewshot" else 1
    if not text.isdigit() or int(text) < least:
        raise ConfigError(f"lm-eval: {name} should be a number of at least {least}, got {text!r}")
    return int(text)

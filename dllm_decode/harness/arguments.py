"""What `--model_args` may say: the arguments of the model, and fields of the strategy by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from dllm_decode.errors import ConfigError, unknown_name
from dllm_decode.strategy.strategy import Strategy

AUTO_BATCH = 16


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of a run inside lm-evaluation-harness."""

    pretrained: str = "tiny"
    """As `--model`: "tiny", a checkpoint folder, or a hub id."""
    strategy: str = "llada"
    """As `--strategy`: a recipe's name, a YAML file, "tuned"."""
    device: str | None = None
    dtype: str | None = None
    compile: bool = False
    batch_size: int | str = 1
    """Rows of a forward, at most; "auto" is 16."""
    max_batch_size: int | None = None
    seed: int = 0
    """Of the decoding noise, and of the draws of `loglikelihood`."""
    gen_length: int | None = None
    """Positions of every answer, whatever a request says."""
    max_gen_toks: int | None = None
    """Positions of an answer whose request names none; 256, as elsewhere in lm-eval."""
    mc_num: int = 128
    """Draws of the Monte-Carlo estimate; of a single-token answer, one."""
    greedy: bool = True
    """Whether `loglikelihood` also finds out what is decoded greedily, by one forward a token."""

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Return the arguments and the changes of the strategy that lie among them.

        Raises:
            ConfigError: A name is neither, or a value is none of its argument.
        """
        known = [field.name for field in fields(cls)]
        parts = [name for name in Strategy.model_fields if name not in ("name", "description", *known)]
        own = {name: value for name, value in given.items() if name in known}
        changes = {name: value for name, value in given.items() if name not in known}
        for name in changes:
            if name.split(".")[0] not in parts:
                raise ConfigError(f"model_args: {unknown_name('argument', name, [*known, *parts])}")
        rows = own.get("batch_size")
        if isinstance(rows, str) and rows.isdigit():
            # lm-eval's own option arrives as a text.
            own["batch_size"] = int(rows)
        arguments = cls(**own)
        arguments._check()
        return arguments, changes

    @property
    def rows(self) -> int:
        """Rows of a forward, at most."""
        return AUTO_BATCH if isinstance(self.batch_size, str) else self.batch_size

    def _check(self) -> None:
        if isinstance(self.batch_size, str) and not self.batch_size.startswith("auto"):
            raise ConfigError(f'model_args: batch_size should be a number or "auto", got {self.batch_size!r}')
        for name in ("batch_size", "gen_length", "max_gen_toks", "mc_num"):
            value = getattr(self, name)
            if isinstance(value, str) and name == "batch_size":
                continue
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"model_args: {name} should be a number of at least 1, got {value!r}")
        if not isinstance(self.seed, int):
            raise ConfigError(f"model_args: seed should be a whole number, got {self.seed!r}")
        for name in ("compile", "greedy"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"model_args: {name} should be true or false, got {getattr(self, name)!r}")

"""Strategies as data: parts' configs, `Strategy`, YAML and JSON, digest, overrides, ranges for search.

Knows nothing of tensors. Names become classes through the registry; a part's config is what a plugin registers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator

from dllm_decode.errors import ConfigError, DecodeError


@dataclass(frozen=True, slots=True)
class Tune:
    """Marks a field as one that search may vary, with its range.

    Give `low` and `high` (with `log` for a logarithmic scale, `step` for a grid), or `choices`.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] | None = None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class PartConfig(_Frozen):
    """The base of every part's config.

    A subclass gives `name` a kebab-case `Literal` type with that default, documents its fields, and either obeys
    its kind's protocol itself (`build` returns `self`) or overrides `build`.
    """

    kind: ClassVar[str]
    name: str

    def build(self) -> Any:
        """Return the object that the engine calls; one per decode, so it may hold state."""
        return self


class BlockConfig(PartConfig):
    """Config of a block policy."""

    kind: ClassVar[str] = "block"

    def check(self, steps: int | None, gen_length: int) -> None:
        """Raise `ConfigError` where the policy cannot serve this budget and length."""

    def count(self, gen_length: int) -> int:
        """Return how many blocks a region of `gen_length` columns is cut into (at most)."""
        return 1


class LayeringConfig(PartConfig):
    """Config of a layering; `needs` names the vocabulary statistics its probes read."""

    kind: ClassVar[str] = "layering"
    needs: ClassVar[frozenset[str]] = frozenset()

    def check(self, steps: int | None, blocks: int) -> None:
        """Raise `ConfigError` where the layering cannot serve `steps` over `blocks` blocks."""

    def extra_forwards(self) -> int:
        """Return the most forwards a block costs beyond its share of the steps."""
        return 0


class SchedulerConfig(PartConfig):
    """Config of a scheduler; `adaptive` ones run until nothing is open and ignore the number of steps."""

    kind: ClassVar[str] = "scheduler"
    adaptive: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()


class ConfidenceConfig(PartConfig):
    """Config of a confidence; `needs` names the vocabulary statistics it reads beyond token and probability."""

    kind: ClassVar[str] = "confidence"

    @property
    def needs(self) -> frozenset[str]:
        """Names of the `VocabStats` fields this confidence reads: "content", "second", "entropy"."""
        return frozenset()


class LogitsConfig(PartConfig):
    """Config of a logits processor."""

    kind: ClassVar[str] = "logits"
    unconditional: ClassVar[bool] = False


class StopConfig(PartConfig):
    """Config of a stop rule."""

    kind: ClassVar[str] = "stop"
    adaptive: ClassVar[bool] = True


KINDS: dict[str, type[PartConfig]] = {
    cls.kind: cls
    for cls in (BlockConfig, LayeringConfig, SchedulerConfig, ConfidenceConfig, LogitsConfig, StopConfig)
}


class Strategy(_Frozen):
    """A decoding schedule: four parts, optional ones, and its budget. Round-trips through YAML and JSON unchanged."""

    name: str = Field("custom", description="What the schedule is called; not part of the digest.")
    description: str = Field("", description="One line for listings; not part of the digest.")
    block: SerializeAsAny[BlockConfig] = Field(description="Which span of the canvas is worked on.")
    layering: SerializeAsAny[LayeringConfig] = Field(description="Which positions are eligible when.")
    scheduler: SerializeAsAny[SchedulerConfig] = Field(description="Which proposed tokens are committed.")
    confidence: SerializeAsAny[ConfidenceConfig] = Field(description="How a proposed token is scored.")
    logits: tuple[SerializeAsAny[LogitsConfig], ...] = Field((), description="Changes to the logits, in order.")
    stop: tuple[SerializeAsAny[StopConfig], ...] = Field((), description="Rules that end a row early.")
    steps: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Denoising steps, in the method's own meaning; null is one token a step."
    )
    gen_length: Annotated[int, Field(ge=1)] = Field(64, description="Columns to generate, in tokens.")
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="Gumbel temperature; 0 takes the argmax.")

    @field_validator("block", "layering", "scheduler", "confidence", mode="before")
    @classmethod
    def _resolve_part(cls, value: Any, info: ValidationInfo) -> Any:
        return _part(info.field_name or "", value, info)

    @field_validator("logits", "stop", mode="before")
    @classmethod
    def _resolve_parts(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Sequence) or isinstance(value, str):
            value = [value]
        return tuple(_part(info.field_name or "", item, info) for item in value)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Strategy, **overrides: Any) -> Self:
        """Accept a recipe name, a YAML path, a mapping or a strategy; `overrides` are dotted paths or fields.

        Raises:
            ConfigError: The source is unknown or does not validate; the message carries the path of the field.
        """
        from dllm_decode.registry import load_registry

        strategy = load_registry().strategy(source)
        return strategy.override(overrides) if overrides else strategy  # type: ignore[return-value]

    @classmethod
    def parse(cls, data: Mapping[str, Any], origin: str = "strategy") -> Self:
        """Validate a mapping; errors read `origin: path: what is wrong`."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ConfigError(_readable(error, origin)) from None

    @classmethod
    def from_yaml(cls, text: str, origin: str = "YAML") -> Self:
        """Read what `to_yaml` wrote."""
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{origin} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{origin} should hold a mapping with block, layering, scheduler and confidence.")
        return cls.parse(data, origin)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with every part's defaults written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the strategy as YAML that `--strategy FILE` accepts."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def override(self, changes: Mapping[str, Any]) -> Self:
        """Return a strategy with fields changed, validated as if written by hand.

        Keys are dotted paths: `steps`, `layering.parity`, `scheduler` (a name or a mapping), `logits.0.weight`.
        Setting a part's `name` to another one keeps the fields that the new part also has.
        """
        data = self.to_dict()
        for path, value in changes.items():
            _assign(data, path, value, self)
        return self.parse(data, self.name)

    def digest(self) -> str:
        """Return 12 hex digits that name the resolved parts and budget; names and descriptions do not count."""
        data = {k: v for k, v in self.to_dict().items() if k not in ("name", "description")}
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def check(self) -> Self:
        """Refuse a budget that the parts cannot serve; return self.

        Raises:
            ConfigError: Fewer steps than blocks, or a setting that a part refuses.
        """
        self.block.check(self.steps, self.gen_length)
        self.layering.check(self.steps, self.block.count(self.gen_length))
        return self


def parse_override(text: str) -> tuple[str, Any]:
    """Split `path=value`; the value is read as YAML, so `0.9`, `null`, `true` and `[1, 2]` mean what they say."""
    path, separator, value = text.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"override {text!r} should look like path=value, e.g. scheduler.threshold=0.8")
    try:
        return path.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"override {text!r}: the value is not readable as YAML") from None


def _part(kind: str, value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, PartConfig):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or "name" not in value:
        raise ValueError(f"should be a part's name or a mapping with a name, got {value!r}")
    from dllm_decode.registry import load_registry

    try:
        cls = load_registry().part(kind, str(value["name"]))
    except DecodeError as error:
        raise ValueError(str(error)) from None
    return cls.model_validate(value)


def _assign(data: dict[str, Any], path: str, value: Any, strategy: Strategy) -> None:
    keys = path.split(".")
    target: Any = data
    for depth, key in enumerate(keys[:-1]):
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ConfigError(_no_such_path(path, keys[depth], target)) from None
        if not isinstance(target, dict | list):
            raise ConfigError(f"{path}: {'.'.join(keys[: depth + 1])} is a plain value and has no fields.")
    last = keys[-1]
    if isinstance(target, list):
        try:
            target[int(last)] = value
        except (IndexError, ValueError):
            raise ConfigError(_no_such_path(path, last, target)) from None
        return
    if last not in target:
        raise ConfigError(_no_such_path(path, last, target))
    if last == "name" and len(keys) == 2 and keys[0] in KINDS:
        from dllm_decode.registry import load_registry

        fields = load_registry().part(keys[0], str(value)).model_fields
        for gone in [field for field in target if field not in fields]:
            del target[gone]
    target[last] = value


def _no_such_path(path: str, key: str, target: Any) -> str:
    from dllm_decode.errors import unknown_name

    known = target if isinstance(target, dict) else [str(i) for i in range(len(target))]
    return f"{path}: " + unknown_name("field", key, known)


def _readable(error: ValidationError, origin: str) -> str:
    lines = []
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"])
        message = re.sub(r"^Value error, ", "", item["msg"])
        message = message[:1].lower() + message[1:]
        shown = "" if item["type"] in ("value_error", "missing") else f", got {item['input']!r}"
        if item["type"] == "extra_forbidden":
            message, shown = "no such field", ""
        lines.append(f"{path}: {message}{shown}" if path else message)
    return f"{origin}: " + "; ".join(lines)

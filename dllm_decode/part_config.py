"""The configs of parts: what every kind declares of itself, ranges for search, and fields that hold a part.

Knows nothing of tensors and of whole strategies. Names become classes through the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from dllm_decode.errors import DecodeError, unknown_name


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

    def __post_init__(self) -> None:
        if self.choices is None and (self.low is None or self.high is None or self.low > self.high):
            raise ValueError(f"Tune needs choices, or low and high with low <= high; got {self}")


class Frozen(BaseModel):
    """Data that is checked when it is made and never changed: no unknown fields, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PartConfig(Frozen):
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
    brief: ClassVar[bool] = False
    """Whether its blocks are `Block.brief`: cut anew after every commit, without what was decided."""
    probes: ClassVar[bool] = False
    """Whether it asks for forwards of its own, by `BlockContext.probe`; those are not shared with other decodes."""

    def plan(self, steps: int | None, gen_length: int) -> list[tuple[int, int | None]] | None:
        """Return each block's most columns and its share of the steps; None where that shows only while decoding.

        Raises:
            ConfigError: The policy cannot serve this budget and length.
        """
        return [(gen_length, steps)]


class LayeringConfig(PartConfig):
    """Config of a layering; `needs` names the vocabulary statistics its probes read."""

    kind: ClassVar[str] = "layering"
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def probes(self) -> bool:
        """Whether it asks for forwards of its own, by `StageContext.probe`; those are not shared with other decodes."""
        return False

    def forwards(self, steps: int | None, size: int) -> int:
        """Return the most forwards a block of `size` columns and `steps` steps can take, probes included.

        Raises:
            ConfigError: The layering cannot serve this budget and size.
        """
        return size if steps is None else min(steps, size)


class SchedulerConfig(PartConfig):
    """Config of a scheduler.

    `adaptive` ones run until nothing is open and ignore the number of steps. `exact` promises that a stage of n open
    positions and S steps is empty after exactly min(S, n) steps, so that the engine need not ask the device.
    """

    kind: ClassVar[str] = "scheduler"
    adaptive: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    reads_probabilities: ClassVar[bool] = False
    """Whether it compares scores with numbers between 0 and 1, so that only such scores make sense."""


class ConfidenceConfig(PartConfig):
    """Config of a confidence; `needs` names the vocabulary statistics it reads beyond token and probability."""

    kind: ClassVar[str] = "confidence"

    @property
    def needs(self) -> frozenset[str]:
        """Names of the `VocabStats` fields this confidence reads: "content", "second", "entropy", "distribution"."""
        return frozenset()

    @property
    def unit(self) -> bool:
        """Whether every score lies between 0 and 1, as a probability does."""
        return True


class LogitsConfig(PartConfig):
    """Config of a logits processor."""

    kind: ClassVar[str] = "logits"
    unconditional: ClassVar[bool] = False


class StopConfig(PartConfig):
    """Config of a stop rule."""

    kind: ClassVar[str] = "stop"
    adaptive: ClassVar[bool] = True


class ReviseConfig(PartConfig):
    """Config of a reviser; the class variables are those of `parts.Reviser`."""

    kind: ClassVar[str] = "revise"
    needs: ClassVar[frozenset[str]] = frozenset()
    reopens: ClassVar[bool] = False
    reach: ClassVar[Literal["block", "region"]] = "block"
    plan: ClassVar[str | None] = None
    """The forward plan whose `shadow` it reads, by name."""

    @property
    def closing_steps(self) -> int:
        """Forwards it may have after the last mask is gone."""
        return 0


class ForwardConfig(PartConfig):
    """Config of a forward plan."""

    kind: ClassVar[str] = "forward"


class CacheConfig(PartConfig):
    """Config of a cache policy."""

    kind: ClassVar[str] = "cache"
    fresh_blocks: ClassVar[bool] = False
    """Whether every block's first forward recomputes everything, where blocks have numbers of their own. A row that a
    block is done with can then be left out of the block's other forwards, and come back in the next block."""

    @property
    def batch_dependent(self) -> bool:
        """Whether a row may decode otherwise than alone because the policy counts the batch's forwards or windows.

        Said of blocks that are the same in every row; where blocks differ by row, a window covers all of them and any
        cache computes more for some rows than they would have alone.
        """
        return False


KINDS: dict[str, type[PartConfig]] = {
    cls.kind: cls
    for cls in (
        BlockConfig,
        LayeringConfig,
        SchedulerConfig,
        ConfidenceConfig,
        LogitsConfig,
        StopConfig,
        ReviseConfig,
        ForwardConfig,
        CacheConfig,
    )
}
SEVERAL = ("logits", "stop", "revise")
"""Kinds of which a strategy holds none, one or several."""


def part_of(kind: str) -> BeforeValidator:
    """Annotate a field that holds a part: a name, or a mapping with a name, becomes the config registered under it.

    `Annotated[SerializeAsAny[LayeringConfig], part_of("layering")]` is how a part nests another.
    """

    def resolve(value: Any) -> Any:
        if isinstance(value, PartConfig):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or "name" not in value:
            raise ValueError(f"should be a part's name or a mapping with a name, got {value!r}")
        try:
            cls = registered(kind, str(value["name"]))
        except DecodeError as error:
            raise ValueError(str(error)) from None
        refuse_unknown_fields(value, cls)
        return cls.model_validate(value)

    return BeforeValidator(resolve)


def as_list(value: Any) -> Any:
    """Wrap one part given where several may stand."""
    return [value] if isinstance(value, str | Mapping | PartConfig) else value


def registered(kind: str, name: str) -> type[PartConfig]:
    """Return the config class that a plugin registered under a name."""
    # The registry imports this module, so it is asked for only when a name is to be resolved.
    from dllm_decode.registry import load_registry

    return load_registry().part(kind, name)


def refuse_unknown_fields(data: Mapping[str, Any], cls: type[BaseModel]) -> None:
    """Raise `ValueError` with a suggestion for a key that is no field."""
    for key in data:
        if key not in cls.model_fields:
            raise ValueError(unknown_name("field", str(key), cls.model_fields))

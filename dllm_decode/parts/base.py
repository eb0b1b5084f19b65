"""What every part's config is: frozen data with a name, ranges for search, and fields that hold other parts.

Knows nothing of tensors and of whole strategies. Who finds a part by its name says so with `find_parts_with`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from dllm_decode.errors import DecodeError, shown, unknown_name


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


LARGEST = 2**20
"""What a number of a part or a strategy is at most, where its field does not say so itself: a length, a step count."""
HUGE = 2**63 - 1
"""What any number is at most."""


class Frozen(BaseModel):
    """Data that is checked when it is made and never changed: no unknown fields, no infinities, no endless numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth_for_a_number(cls, data: Any) -> Any:
        """`true` would count as 1."""
        fields = cls.model_fields
        truths = [name for name, value in data.items() if isinstance(value, bool)] if isinstance(data, Mapping) else []
        cls._refuse(
            {
                name: (data[name], f"should not be true or false, got {str(data[name]).lower()}")
                for name in truths
                if name in fields and not _takes_bool(fields[name].annotation)
            }
        )
        return data

    @model_validator(mode="after")
    def _refuse_numbers_without_end(self) -> Self:
        """What is far too large fills the memory, or overflows somewhere else."""
        wrong: dict[str, tuple[Any, str]] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            limit = HUGE if _is_bounded(field) else LARGEST
            if _largest(value) > limit:
                wrong[name] = (value, f"should be no larger than {limit:,} in size, got {shown(value)}")
        self._refuse(wrong)
        return self

    @classmethod
    def _refuse(cls, wrong: Mapping[str, tuple[Any, str]]) -> None:
        """Raise for fields and what is wrong with their values, if there are any."""
        found: list[InitErrorDetails] = [
            {"type": PydanticCustomError("number", "{said}", {"said": said}), "loc": (name,), "input": value}
            for name, (value, said) in wrong.items()
        ]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)


def _largest(value: Any) -> float:
    """Return the size of a number, or of the largest in a list; 0 of anything else."""
    if isinstance(value, list | tuple):
        return max(map(_largest, value), default=0)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0
    # Infinities and NaN are refused as such.
    return min(abs(value), 2**200) if isinstance(value, int) or math.isfinite(value) else 0


def _is_bounded(field: Any) -> bool:
    """Return whether a field says itself how large its number may be."""
    limits = [*field.metadata, *getattr(field.annotation, "__metadata__", ())]
    for argument in get_args(field.annotation):
        for one in getattr(argument, "__metadata__", ()):
            limits.extend(getattr(one, "metadata", (one,)))
    return any(getattr(one, "le", None) is not None or getattr(one, "lt", None) is not None for one in limits)


def _takes_bool(annotation: Any) -> bool:
    """Return whether a field's type names bool, or is open to anything."""
    return annotation in (bool, Any) or any(
        argument in (True, False) if isinstance(argument, bool) else _takes_bool(argument)
        for argument in get_args(annotation)
    )


class PartConfig(Frozen):
    """The base of every part's config.

    A subclass gives `name` a kebab-case `Literal` type with that default, documents its fields, and either obeys
    its kind's protocol itself (`build` returns `self`) or overrides `build`.
    """

    kind: ClassVar[str]
    """What it is: "scheduler", "stop", ..."""
    method: ClassVar[str]
    """The method of its kind's protocol."""
    kind_order: ClassVar[int]
    """Where a decode meets its kind among the others; listings and documents follow it."""
    several: ClassVar[bool] = False
    """Whether a strategy may hold more than one of its kind."""
    only_time: ClassVar[bool] = False
    """Whether its kind makes forwards cheaper and spares none, so that a search tries it where time is the cost."""
    digested_empty: ClassVar[bool] = False
    """Whether a strategy's digest tells that it holds none of its kind. So it is for kinds that are as old as recorded
    digests; a kind that comes later leaves the digests of strategies without it as they were."""
    model_needs: ClassVar[frozenset[str]] = frozenset()
    """What only some models have and it cannot do without as it is by default: "eos" (an
    end-of-sequence token), "newlines" (tokens that break a line), "cache" (keys and values that can be reused), "plan"
    (inputs with extra columns). A search leaves it out where the model has none."""
    name: str

    def build(self) -> Any:
        """Return the object that the engine calls; one per decode, so it may hold state."""
        return self


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
            raise ValueError(f"should be a part's name or a mapping with a name, got {shown(value)}")
        try:
            cls = registered(kind, str(value["name"]))
        except DecodeError as error:
            raise ValueError(str(error)) from None
        refuse_unknown_fields(value, cls)
        try:
            return cls.model_validate(value)
        except ValueError:  # among others what pydantic found
            raise
        except RecursionError:
            raise ValueError("parts within parts without end") from None
        except Exception as error:
            # A check of the part's own that fails is a mistake of its author.
            said = f"{kind} {value['name']!r} ({cls.__module__}) failed: {type(error).__name__}: {error}"
            raise ValueError(said) from error

    return BeforeValidator(resolve)


def as_list(value: Any) -> Any:
    """Wrap one part given where several may stand."""
    return [value] if isinstance(value, str | Mapping | PartConfig) else value


_finders: list[Callable[[str, str], type[PartConfig]]] = []


def find_parts_with(find: Callable[[str, str], type[PartConfig]]) -> None:
    """Say who knows the class of a (kind, name); the registry does, above this module."""
    _finders[:] = [find]


def registered(kind: str, name: str) -> type[PartConfig]:
    """Return the config class that a plugin registered under a name.

    Raises:
        ConfigError: No such name.
    """
    if not _finders:
        import_module("dllm_decode.plugins.registry")
    return _finders[0](kind, name)


def refuse_unknown_fields(data: Mapping[str, Any], cls: type[BaseModel]) -> None:
    """Raise `ValueError` with a suggestion for a key that is no field."""
    for key in data:
        if key not in cls.model_fields:
            raise ValueError(unknown_name("field", str(key), cls.model_fields))

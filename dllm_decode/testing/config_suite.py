"""What every part's config promises: a name, documented fields, honest ranges, a round trip through YAML and JSON.

The base of the suites for parts that stand in a strategy. Knows nothing of decoding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from dllm_decode.errors import DecodeError, readable
from dllm_decode.parts.base import PartConfig, Tune
from dllm_decode.parts.kinds import KINDS, SEVERAL
from dllm_decode.strategy.strategy import Strategy
from dllm_decode.testing.isolation import Source, isolated_registry

HOST: dict[str, Any] = {
    "block": "whole",
    "layering": "single",
    "scheduler": "even",
    "confidence": "top-probability",
    "gen_length": 9,
}
"""The plainest strategy: what a part is put into."""


def fail(message: str) -> None:
    """Fail the test with a sentence and without a traceback into the kit."""
    pytest.fail(message, pytrace=False)


class PartSuite:
    """Checks of a config. Subclasses for one kind are what plugin authors use."""

    kind: ClassVar[str]
    parts: ClassVar[Sequence[PartConfig]] = ()
    """What is tested: the part with its defaults and in the settings that differ."""
    plugins: ClassVar[Sequence[Source]] = ()
    """Further classes or modules that the parts need by name."""
    host: ClassVar[dict[str, Any]] = {}
    """Fields of a strategy that the parts cannot do without, such as {"scheduler": "threshold"}."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test that asks for a `part` on each of `parts`."""
        if "part" not in metafunc.fixturenames:
            return
        owner, base = type(self).__name__, KINDS[self.kind]
        if not self.parts:
            raise pytest.UsageError(f"{owner} tests nothing: give it `parts = [MyPart(), MyPart(field=2)]`.")
        for part in self.parts:
            if not isinstance(part, base):
                raise pytest.UsageError(
                    f"{owner}.parts holds {part!r}, which is no {base.__name__}; a {self.kind} part is an instance of "
                    f"a subclass of dllm_decode.strategy.strategy.{base.__name__}."
                )
        metafunc.parametrize("part", self.parts, ids=[label(part) for part in self.parts])

    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        """Make the parts known by name, as their plugin does, and hide everything else that is installed."""
        with ExitStack() as stack:
            known = stack.enter_context(isolated_registry(*self.plugins))
            missing = {
                type(part): None
                for part in self.parts
                if known.tables.get(self.kind, {}).get(part.name) is not type(part)
            }
            if missing:
                stack.enter_context(isolated_registry(*self.plugins, *missing))
            yield

    def strategy(self, part: PartConfig, **fields: Any) -> Strategy:
        """Return a strategy that holds the part.

        Raises:
            ConfigError: The parts refuse each other.
        """
        slot = [part] if self.kind in SEVERAL else part
        return Strategy.parse({**HOST, **fields, **self.host, self.kind: slot}, origin=label(part)).check()

    def test_the_name_is_a_kebab_case_literal(self, part: PartConfig) -> None:
        """`name: Literal["a-name"] = "a-name"` is what recipes, overrides and listings go by."""
        field = type(part).model_fields["name"]
        if get_origin(field.annotation) is not Literal or get_args(field.annotation) != (field.default,):
            fail(f'{type(part).__name__} should declare its name as `name: Literal["a-name"] = "a-name"`.')
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", part.name):
            fail(f"{type(part).__name__} is named {part.name!r}; names are kebab-case, e.g. 'my-rule'.")

    def test_the_part_and_its_fields_are_documented(self, part: PartConfig) -> None:
        """Descriptions are what the CLI, the JSON Schema and the generated pages show."""
        if not (type(part).__doc__ or "").strip():
            fail(f"{type(part).__name__} has no docstring; its first line is what listings show.")
        for path, config in _configs(type(part)):
            for name, field in config.model_fields.items():
                if not (field.description or "").strip() and name != "name":
                    fail(f"{path}.{name} has no description; declare it with Field(description=...).")

    def test_unknown_fields_are_refused(self, part: PartConfig) -> None:
        """A misspelt field must not pass in silence."""
        try:
            type(part).model_validate({**part.model_dump(), "no_such_field": 1})
        except ValidationError:
            return
        fail(f"{label(part)} accepts fields it does not have; leave `extra='forbid'` of its base as it is.")

    def test_the_config_round_trips_through_yaml_and_json(self, part: PartConfig) -> None:
        """A strategy that was written and read again is the same strategy, down to its digest."""
        strategy = self.strategy(part)
        for written in (strategy.to_yaml(), json.dumps(strategy.to_dict())):
            try:
                read = Strategy.from_yaml(written)
            except DecodeError as error:
                fail(f"{label(part)} is not read back from what it wrote: {error}")
            if read != strategy or read.digest() != strategy.digest():
                fail(
                    f"{label(part)} is another part after it was written and read: "
                    f"{getattr(read, self.kind)!r}. Use plain fields: numbers, text, tuples, other parts."
                )

    def test_both_ends_of_every_search_range_are_valid(self, part: PartConfig) -> None:
        """Search draws from `Tune` ranges; a value outside the field's bounds would end a trial.

        The other fields stand at their defaults: that some values refuse each other is no fault of either's range.
        """
        required = {name for name, field in type(part).model_fields.items() if field.is_required()}
        base = type(part).model_validate({name: getattr(part, name) for name in required})
        for name, field in type(part).model_fields.items():
            for tune in _tunes([*field.metadata, field.annotation]):
                ends = tune.choices if tune.choices is not None else (tune.low, tune.high)
                for end in ends:
                    _accepts(base, name, end)

    def test_building_leaves_the_config_as_it_was(self, part: PartConfig) -> None:
        """A config is data shared by decodes; what a decode remembers belongs to what `build` returns."""
        before = part.model_dump_json()
        part.build()
        if part.model_dump_json() != before:
            fail(f"{label(part)}.build() changed its own fields; return a new object that holds the state.")


def label(part: PartConfig) -> str:
    """Name a part with the fields that differ from its defaults: `cosine power=2.0`."""
    fields = type(part).model_fields
    given = [
        f"{name}={getattr(part, name)!s}"
        for name in fields
        if name != "name" and getattr(part, name) != fields[name].get_default(call_default_factory=True)
    ]
    return " ".join([str(getattr(part, "name", type(part).__name__)), *given])


def _accepts(part: PartConfig, name: str, value: Any) -> None:
    """Fail unless the field takes a value its `Tune` mark names."""
    info = type(part).model_fields[name]
    whole = isinstance(value, float) and value.is_integer() and "int" in str(info.annotation)
    try:
        type(part).model_validate({**part.model_dump(mode="json"), name: int(value) if whole else value})
    except ValidationError as error:
        fail(
            f"{label(part)}: Tune allows {name}={value!r}, which the field refuses "
            f"({readable(error, type(part).__name__)}); narrow the Tune range or widen the field's bounds."
        )


def _tunes(marks: Sequence[Any]) -> Iterator[Tune]:
    """Yield the `Tune` marks of a field, those inside `Annotated[int, Tune(1, 8)] | None` too."""
    for mark in marks:
        if isinstance(mark, Tune):
            yield mark
        elif get_args(mark):
            yield from _tunes(get_args(mark))


def _configs(root: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a config and the plain models in its fields; a nested part has a suite of its own."""
    yield root.__name__, root
    for field in root.model_fields.values():
        for inner in _classes(field.annotation):
            if issubclass(inner, BaseModel) and not issubclass(inner, PartConfig):
                yield from _configs(inner)


def _classes(annotation: Any) -> Iterator[type[Any]]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


__all__ = ["HOST", "PartSuite", "fail", "label"]

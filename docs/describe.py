"""Reads what the code says of itself: signatures, docstrings, and the strings that stand below attributes.

Knows Python and pydantic; leaves what goes on which page to `hooks_page` and `parts_page`.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dllm_decode.parts.base import PartConfig, Tune
from dllm_decode.parts.kinds import WORDS


@dataclass(frozen=True, slots=True)
class Attribute:
    """An annotated attribute of a class, as its source has it."""

    name: str
    annotation: str
    default: str
    """Source of the default; empty where there is none."""
    text: str
    """The string below it; empty where there is none."""


def attributes(cls: type[Any]) -> list[Attribute]:
    """Return the annotated attributes in a class's own body, with the strings that stand below them."""
    (body,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    found: list[Attribute] = []
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            text = after.value.value if _is_text(after) else ""  # type: ignore[union-attr]
            default = "" if node.value is None else ast.unparse(node.value)
            found.append(Attribute(node.target.id, ast.unparse(node.annotation), default, _one_line(text)))
    return found


def _is_text(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def methods(cls: type[Any]) -> dict[str, Callable[..., Any]]:
    """Return the public methods and properties in a class's own body, in order."""
    found: dict[str, Callable[..., Any]] = {}
    for name, value in vars(cls).items():
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(value):
            found[name] = value
    return found


def signature(function: Callable[..., Any]) -> str:
    """Return `name(arguments) -> result` as the source has it."""
    return f"{function.__name__}{inspect.signature(function)}".replace("'", "")


def docstring(value: Any) -> str:
    """Return a docstring as Markdown: lines joined into paragraphs, Google's sections as lists."""
    lines: list[str] = []
    for line in (inspect.getdoc(value) or "").splitlines():
        section = re.fullmatch(r"(Args|Returns|Raises|Yields|Attributes):", line)
        entry = re.fullmatch(r" {4}(\w+): (.*)", line)
        if section:
            lines += [f"*{section[1]}*", ""]
        elif entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif line.strip() and lines and _goes_on(lines[-1], line):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return "\n".join(lines).strip()


def _goes_on(before: str, line: str) -> bool:
    """Say whether a line continues the one before it: an entry's if it is indented, a paragraph's otherwise."""
    if before.startswith("- "):
        return line.startswith("    ")
    return bool(before) and not before.startswith("*")


def first_paragraph(value: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    return _one_line((inspect.getdoc(value) or "").split("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Described:
    """A field of a part, in words."""

    name: str
    type: str
    default: str
    bounds: str
    searched: str
    text: str


def fields(cls: type[BaseModel]) -> list[Described]:
    """Describe the fields of a config, the name that it is registered under left out."""
    found = []
    for name, field in cls.model_fields.items():
        if name == "name" and get_origin(field.annotation) is Literal:
            continue
        marks = list(_marks(field))
        found.append(
            Described(
                name,
                type_name(field.annotation),
                _default(field),
                ", ".join(text for mark in marks if (text := _bound(mark))),
                next((_tuned(mark) for mark in marks if isinstance(mark, Tune)), ""),
                _one_line(field.description or ""),
            )
        )
    return found


def nested_models(cls: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models that stand in a config's fields and are no parts themselves, such as a scaffold's patterns."""
    found: list[type[BaseModel]] = []
    for field in cls.model_fields.values():
        for value in _leaves(field.annotation):
            model = (
                inspect.isclass(value) and issubclass(value, BaseModel) and not issubclass(value, PartConfig)
            )
            if model and value not in found:
                found.append(value)
    return found


def type_name(annotation: Any) -> str:
    """Return a type in the words of YAML's users."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(each) for each in arguments))
    if origin is tuple:
        inner = type_name(arguments[0])
        return f"list of {inner.removeprefix('a ')}s" if inner.startswith("a ") else f"list of {inner}"
    if annotation is type(None):
        return "null"
    if inspect.isclass(annotation) and issubclass(annotation, PartConfig):
        return f"a {WORDS[annotation.kind]}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        named = annotation.model_fields.get("name")
        return annotation.__name__ if named is None else str(named.default)
    return {"str": "text", "bool": "true or false"}.get(annotation.__name__, str(annotation.__name__))


def _leaves(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal or not arguments:
        yield annotation
        return
    for each in arguments:
        yield from _leaves(each)


def _marks(field: FieldInfo) -> Iterator[Any]:
    """Yield bounds and ranges, also those that stand inside a union, as in `Annotated[int, Field(ge=1)] | None`."""
    yield from field.metadata
    for inner in (field.annotation, *get_args(field.annotation)):
        if get_origin(inner) is Annotated:
            for mark in get_args(inner)[1:]:
                yield from mark.metadata if isinstance(mark, FieldInfo) else [mark]


def _bound(mark: Any) -> str:
    for kind, sign, value in (
        (annotated_types.Gt, ">", "gt"),
        (annotated_types.Ge, "≥", "ge"),
        (annotated_types.Lt, "<", "lt"),
        (annotated_types.Le, "≤", "le"),
    ):
        if isinstance(mark, kind):
            return f"{sign} {getattr(mark, value):g}"
    return ""


def _tuned(mark: Tune) -> str:
    if mark.choices is not None:
        return " or ".join(str(choice) for choice in mark.choices)
    scale = ", log" if mark.log else f", step {mark.step:g}" if mark.step else ""
    assert mark.low is not None and mark.high is not None
    return f"{mark.low:g} to {mark.high:g}{scale}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        return str(getattr(value, "name", type(value).__name__))
    if value == ():
        return "none"
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return str(value)

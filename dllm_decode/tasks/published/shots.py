"""Finds the worked examples of a shape's prompt: a file the user names, an installed evaluator, or training rows.

The published examples are long texts of others and no part of this package. Which ones were used is said, with a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dllm_decode.errors import DataError
from dllm_decode.tasks.published.shape import Row, Shape, Shot
from dllm_decode.tasks.published.shots_files import read_shots


@dataclass(frozen=True, slots=True)
class Worked:
    """The worked examples for each row asked, and what a record says of them.

    Attributes:
        shots: One list a row, in the rows' order.
        origin: Where they are from.
        published: Whether they are the published ones, by their digest; None where that is not known.
    """

    shots: list[list[Shot]]
    origin: str
    published: bool | None


def digest(shots: Sequence[Shot]) -> str:
    """Returns what tells these worked examples from any others."""
    texts = [[shot.user, shot.assistant] for shot in shots]
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()


def shots_for(
    shape: Shape, rows: Sequence[Row], file: Path | None = None, train: Sequence[Row] = ()
) -> Worked:
    """Returns the worked examples for these rows: from `file`, else from the installed evaluator, else of `train`.

    Raises:
        DataError: None of the three has them, or there are not as many as the shape shows.
    """
    examples = shape.examples
    if examples is None:
        return Worked([[] for _ in rows], "none", True)
    path = file or _installed(examples.installed)
    if path is not None:
        found = [read_shots(path, shape)] * len(rows)
        origin = str(path)
    elif train and examples.shot is not None:
        make = examples.shot
        found = [[make(row) for row in chosen] for chosen in examples.choose(train, rows, examples.count)]
        origin = "the data set's own training rows"
    else:
        raise DataError(_missing(shape))
    if short := next((shots for shots in found if len(shots) != examples.count), None):
        raise DataError(
            f"{origin}: {shape.name} shows {examples.count} worked examples, this holds {len(short)}"
        )
    known = bool(examples.digest) and bool(found)
    return Worked(found, origin, digest(found[0]) == examples.digest if known else None)


def _installed(place: str) -> Path | None:
    """Returns an evaluator's own file where it is installed; imports nothing of it."""
    package, _, name = place.partition(":")
    spec = find_spec(package) if package else None
    paths = [Path(folder) / name for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((path for path in paths if path.is_file()), None)


def _missing(shape: Shape) -> str:
    examples = shape.examples
    assert examples is not None
    package, _, name = examples.installed.partition(":")
    ways = ["name a file of them (JSON lines with `user` and `assistant`"]
    if package:
        ways[0] += f", or {package}'s own {name}"
    ways[0] += ")"
    if package:
        ways.append(f"install {package}")
    if examples.shot is not None:
        ways.append("name the data set's training file")
    return f"{shape.name} shows {examples.count} worked examples, which are no part of this package: " + ", or ".join(ways)

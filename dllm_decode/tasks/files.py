"""Reads the lines of other people's data files; says file and line number when one is bad."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError


def read_text(path: Path) -> str:
    """Returns the file's text.

    Raises:
        DataError: The file cannot be opened or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from error


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) for every line that is not blank.

    Raises:
        DataError: A line is no JSON object, or the file holds none.
    """
    found = False
    # A JSON string may hold U+2028 and its like, at which `splitlines` would cut.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: not JSON ({error.msg} at column {error.colno})"
            ) from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}")
        found = True
        yield number, record
    if not found:
        raise DataError(f"{path}: holds no examples")


def csv_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number from 1, row) of a CSV file whose first line names at least `columns`.

    Raises:
        DataError: A column is missing, a row is short, or the file holds none.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    header = reader.fieldnames or []
    missing = [column for column in columns if column not in header]
    if missing:
        given = ",".join(header) or "nothing"
        raise DataError(f"{path}, line 1: expected the columns {','.join(columns)}, got {given}")
    found = False
    for row in reader:
        if any(row[column] is None for column in columns):
            raise DataError(f"{path}, line {reader.line_num}: expected {','.join(columns)}")
        found = True
        yield reader.line_num, {column: row[column].strip() for column in columns}
    if not found:
        raise DataError(f"{path}: holds no examples")

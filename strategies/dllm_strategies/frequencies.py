"""Files of token frequencies: JSON or CSV, read once and checked line by line.

Knows the two formats and what a person may get wrong in them; knows nothing of scores.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError
from dllm_decode.plugin import user_path

TABLES = Path(__file__).parent / "tables"
"""Tables that come with the package, each known by its name without a suffix."""

LARGEST_ID = 10_000_000
"""Larger ids are mistakes; a table has an entry for every id up to its largest."""


def fingerprint_of(file: str) -> str:
    """Return the first 12 hex digits of the file's SHA-256.

    Raises:
        ValueError: The file cannot be read.
    """
    return _fingerprint(_contents(file))


@lru_cache(maxsize=4)
def read_frequencies(file: str, fingerprint: str) -> dict[int, float]:
    """Return token id -> frequency of a file with this fingerprint.

    JSON is an object such as `{"13": 0.041}`; CSV, by its suffix `.csv`, is `13,0.041` a line with or without a header.

    Raises:
        ValueError: The file cannot be read, has another fingerprint, or an entry is no id with a share between 0 and 1.
    """
    contents = _contents(file)
    if _fingerprint(contents) != fingerprint:
        raise ValueError(f"{file} has changed since the strategy was read; read the strategy again")
    try:
        text = contents.decode("utf-8")
        entries = _csv_entries(text) if Path(file).suffix.lower() == ".csv" else _json_entries(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    found: dict[int, float] = {}
    for token, frequency in entries:
        number, share = _number(token, int), _number(frequency, float)
        if number is None or number < 0:
            raise ValueError(f"{file}: {token!r} is no token id; ids are whole numbers from 0")
        if number > LARGEST_ID:
            raise ValueError(f"{file}: {number} is no token id; no vocabulary has more than {LARGEST_ID:,} entries")
        if share is None or not 0 <= share <= 1:
            raise ValueError(
                f"{file}: token {number} has the frequency {frequency!r}, which is no share between 0 and 1; "
                "divide counts by their sum"
            )
        if number in found:
            raise ValueError(f"{file}: token {number} stands there twice")
        found[number] = share
    if not found:
        raise ValueError(f"{file} names no token")
    return found


def _fingerprint(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()[:12]


def _contents(file: str) -> bytes:
    try:
        path = user_path(file)
    except DataError as error:
        raise ValueError(str(error)) from None
    shipped = TABLES / f"{file}.json"
    try:
        return (shipped if path.name == file and not path.suffix and shipped.is_file() else path).read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from None


def _json_entries(text: str) -> Iterable[tuple[Any, Any]]:
    try:
        # As pairs, since a dict would drop all but the last of a token's entries.
        data = json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"is not JSON (line {error.lineno}: {error.msg}); CSV needs the suffix .csv"
        ) from None
    if not isinstance(data, tuple):
        raise ValueError('should be an object of token id and frequency, such as {"13": 0.041}')
    return data


def _csv_entries(text: str) -> Iterable[tuple[Any, Any]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and _number(rows[0][0], int) is None:
        rows = rows[1:]
    for row in rows:
        if len(row) != 2:
            raise ValueError(f"{','.join(row)!r} should be a token id and a frequency, such as 13,0.041")
    return [(row[0], row[1]) for row in rows]


def _number(value: Any, kind: type[int] | type[float]) -> Any:
    """Return the value as a number of the kind, or None where it is none."""
    if isinstance(value, bool):
        return None
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return None

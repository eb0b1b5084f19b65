"""Reads other people's data files, row by row; says file and line number when one is bad.

Knows jsonl, json, csv and parquet, each also packed with gzip, and folders of them. What a row means is each task's.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError

Row = dict[str, Any]
Numbered = Iterator[tuple[int, Row]]
"""(line number, or place counted from 1 where a file has no lines; row)."""


def read_rows(path: Path) -> list[tuple[str, Row]]:
    """Return (where, row) for every row of a file.

    Args:
        path: A file ending in jsonl, json, csv or parquet, or that and `.gz`.

    Raises:
        DataError: The format is unknown, a row is no object, or there are none.
    """
    try:
        return [(f"{path.name}:{number}", row) for number, row in _reader(path)(path)]
    except csv.Error as error:
        raise DataError(f"{path}: not CSV ({error})") from None


def data_files(path: Path) -> list[Path]:
    """Return the file itself, or the data files of a folder, sorted by name.

    Raises:
        DataError: The folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.is_file() and _kind(file) in _READERS)
    if not found:
        raise DataError(f"{path}: holds no data files ({', '.join(_READERS)}, each also with .gz)")
    return found


def read_text(path: Path) -> str:
    """Return the file's text, unpacked.

    Raises:
        DataError: The file cannot be opened or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: not packed with gzip ({error})") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from error


def json_lines(path: Path) -> Numbered:
    """Yield (line number from 1, object) for every line that is not blank.

    Raises:
        DataError: A line is no JSON object, or the file holds none.
    """
    found = False
    # Not splitlines(): a JSON string may hold U+2028 and the like as they are.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON ({_json_reason(error)})") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}")
        found = True
        yield number, record
    if not found:
        raise DataError(f"{path}: holds no examples")


def json_list(path: Path) -> Numbered:
    """Yield (place from 1, object) of a JSON file that holds a list of objects, or lines of them.

    Raises:
        DataError: It is neither, or holds none.
    """
    text = read_text(path)
    try:
        records = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            yield from json_lines(path)
            return
        raise DataError(f"{path}: not JSON ({_json_reason(error)})") from error
    if not isinstance(records, list):
        records = [records]
    for place, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}, entry {place}: expected a JSON object, got {type(record).__name__}")
        yield place, record
    if not records:
        raise DataError(f"{path}: holds no examples")


def csv_rows(path: Path, columns: tuple[str, ...] = ()) -> Numbered:
    """Yield (line number from 1, row) of a CSV file whose first line names at least `columns`.

    Args:
        path: The file.
        columns: Those that are wanted, their blanks at both ends cut off; all of them, as they are, if empty.

    Raises:
        DataError: A column is missing, a row is short, or the file holds none.
    """
    # Not splitlines(): a cell may hold U+2028 and the like, and line breaks between quotes.
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    header = reader.fieldnames or []
    missing = [column for column in columns if column not in header]
    if missing:
        given = ",".join(header) or "nothing"
        raise DataError(f"{path}, line 1: expected the columns {','.join(columns)}, got {given}")
    found = False
    for row in reader:
        wanted = columns or tuple(header)
        if any(row[column] is None for column in wanted):
            raise DataError(f"{path}, line {reader.line_num}: expected {','.join(wanted)}")
        found = True
        yield reader.line_num, {name: row[name].strip() if columns else row[name] for name in wanted}
    if not found:
        raise DataError(f"{path}: holds no examples")


def parquet_rows(path: Path) -> Numbered:
    """Yield (place from 1, row) of a parquet file.

    Raises:
        DataError: pyarrow is not installed, or the file cannot be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{path}: reading parquet needs pyarrow, which is not installed: pip install 'dllm-decode[benchmarks]'"
        ) from None
    try:
        records = parquet.read_table(path).to_pylist()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({' '.join(str(error).split())})") from None
    if not records:
        raise DataError(f"{path}: holds no examples")
    yield from enumerate(records, start=1)


_READERS: dict[str, Callable[[Path], Numbered]] = {
    ".jsonl": json_lines,
    ".json": json_list,
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}


def _reader(path: Path) -> Callable[[Path], Numbered]:
    kind = _kind(path)
    if kind not in _READERS:
        raise DataError(
            f"{path}: the format is told by the name, which should end in {', '.join(_READERS)}, or that and .gz"
        )
    return _READERS[kind]


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _json_reason(error: json.JSONDecodeError | RecursionError) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deep"

"""Where a data set's rows come from: the model hub through `datasets`, or files in the format it is published in.

Knows splits and revisions; what a row means is each task's. Imports neither `datasets` nor torch before rows are wanted.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from dllm_decode.errors import DataError
from dllm_decode.fingerprints import file_fingerprint, fingerprint
from dllm_decode.tasks.files import Row, data_files, read_rows

Item = TypeVar("Item")

_SEED = "20260101/halves"
_TUNE_NAME = re.compile(r"(^|[^a-z])(tune|train|validation|valid|val|dev)([^a-z]|$)")


@dataclass(frozen=True, slots=True)
class Source:
    """A published data set and which of its splits are tuned and tested on.

    Either `tune` and `test` name two splits, or `halves` names one, which is cut in two halves by a fixed seed.
    """

    hub: str
    """The data set on the hub, e.g. "openai/gsm8k"."""
    config: str | None = None
    """Its configuration, where it has several."""
    tune: str = ""
    test: str = ""
    halves: str = ""
    tune_hub: str = ""
    """The data set that `tune` is a split of, where it is another one."""
    shown: str = ""
    """The split that worked examples in prompts are made of; the tuning split if there is none for that."""
    revision: str | None = None
    """A commit of the data set; None is the newest."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Published rows that a split is made of, and what names them exactly."""

    rows: list[tuple[str, Row]]
    """(where, row)."""
    origin: str
    """E.g. "openai/gsm8k main train @0123abcd", or a file and its fingerprint."""
    halved: bool
    """Whether the split is only its `half` of them."""


def hub_rows(source: Source, split: str) -> Rows:
    """Return a split's rows from the hub, or from what `datasets` has kept of it; "shown" is a split as well.

    Raises:
        DataError: `datasets` is not installed, or the data set cannot be had.
    """
    halved = bool(source.halves) and split != "shown"
    part = source.halves if halved else getattr(source, split)
    if split == "tune" and source.tune_hub:
        source = replace(source, hub=source.tune_hub, config=None, revision=None)
    data = _load(source, part)
    revision = source.revision or _revision(data)
    rows = [(f"{part}:{place}", dict(row)) for place, row in enumerate(data)]
    commit = f"@{revision[:12]}" if revision else "of an unknown revision"
    return Rows(rows, " ".join(filter(None, (source.hub, source.config, part, commit))), halved)


def file_rows(path: Path, split: str) -> Rows:
    """Return a split's rows from a file, or from the files of a folder.

    In a folder, files whose names hold a word for it (train, validation, dev, tune) are tuned on and the others tested on;
    where that leaves either without files, and of a single file, the two splits are seeded halves.

    Raises:
        DataError: A file cannot be read.
    """
    files = data_files(path)
    tune = [file for file in files if _TUNE_NAME.search(file.name.lower())]
    test = [file for file in files if file not in tune]
    halved = not (tune and test)
    chosen = files if halved else tune if split == "tune" else test
    rows = [row for file in chosen for row in read_rows(file)]
    return Rows(rows, ", ".join(f"{file.name} {file_fingerprint(file)}" for file in chosen), halved)


def half(items: list[Item], split: str) -> list[Item]:
    """Return the half of a list that a split gets: every second one of a seeded order, in the order of the list."""
    order = list(range(len(items)))
    random.Random(_SEED).shuffle(order)
    kept = sorted(order[0 if split == "tune" else 1 :: 2])
    return [items[place] for place in kept]


def files_origin(path: Path) -> str:
    """Name a file, or all data files of a folder, by content.

    Raises:
        DataError: It cannot be read.
    """
    files = data_files(path)
    if files == [path]:
        return file_fingerprint(path)
    return fingerprint("\n".join(f"{file.name} {file_fingerprint(file)}" for file in files).encode())


def _load(source: Source, part: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{source.hub}: reading a data set of the hub needs `datasets`, which is not installed: "
            "pip install 'dllm-decode[benchmarks]'; or give its published file with --data"
        ) from None
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(source.hub, source.config, split=part, revision=source.revision)
    except Exception as error:
        # What goes wrong is the network's, the hub's or the data set's; each has errors of its own.
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{source.hub}: the split {part!r} cannot be had from the hub ({reason}); give its published file with --data"
        ) from None


def _revision(data: Any) -> str | None:
    """Return the commit that rows were read at, told by the addresses of the files they come from."""
    found = re.search(r"@([0-9a-f]{40})", " ".join(map(str, getattr(data.info, "download_checksums", None) or ())))
    return found[1] if found else None

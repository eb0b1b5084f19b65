"""Outcomes of examples, kept on disk so that an interrupted evaluation goes on where it stopped.

One append-only JSONL file for everything that decides an outcome. Knows nothing of how outcomes come about; no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dllm_decode.errors import DataError
from dllm_decode.fingerprints import fingerprint

CACHE_VARIABLE = "DLLM_DECODE_CACHE"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one example went."""

    id: str
    correct: bool
    """Whether it is wholly right."""
    text: str
    """What was judged: the answer up to the first of the task's stop strings."""
    forward_passes: int
    positions: int
    tokens: int
    """Tokens before the first EOS or EOT."""
    visible: int
    """Those of them that show in the text."""
    model_calls: float
    """The example's share of the calls of the model since the examples that were finished before."""
    seconds: float
    """The example's share of the decoding time since then."""
    score: float
    """How good it is, from 0 to 1; 1 or 0 where a task knows right and wrong only."""


class OutcomeStore:
    """The outcomes of one evaluation, by example.

    Several processes may write at once: a batch is appended with one `write` to a file opened for appending. A line
    that was torn by a kill is ignored, and the next writer starts on a line of its own.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        """Open the file that `key` names; `key` is everything that decides an outcome besides the example.

        Raises:
            DataError: The folder cannot be made or read.
        """
        canonical = json.dumps(key, sort_keys=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, error) from None
        self.path = folder / f"{hashlib.sha256(canonical.encode()).hexdigest()[:20]}.jsonl"
        self._header = json.dumps({"key": dict(key)}, sort_keys=True)
        self._known = self._read()

    def get(self, example: str) -> Outcome | None:
        """Return the outcome kept for an example, named by `example_key`."""
        return self._known.get(example)

    def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """Keep outcomes, by `example_key`.

        Raises:
            DataError: The folder cannot be written.
        """
        lines = [json.dumps({"example": name, **asdict(outcome)}) for name, outcome in outcomes.items()]
        try:
            with open(self.path, "ab+", buffering=0) as stream:
                if stream.seek(0, os.SEEK_END) == 0:
                    lines.insert(0, self._header)
                else:
                    stream.seek(-1, os.SEEK_END)
                    if stream.read(1) != b"\n":
                        lines.insert(0, "")
                stream.write(("\n".join(lines) + "\n").encode())
        except OSError as error:
            raise _unusable(self.path.parent, error) from None
        self._known.update(outcomes)

    def _read(self) -> dict[str, Outcome]:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unusable(self.path.parent, error) from None
        known = {}
        names = [field.name for field in fields(Outcome)]
        for line in text.splitlines():
            try:
                data = json.loads(line)
                data.setdefault("score", float(data["correct"]))
                known[data["example"]] = Outcome(**{name: data[name] for name in names})
            except (ValueError, KeyError, TypeError):
                continue
        return known


def cache_folder() -> Path:
    """Return the folder for what may be thrown away: `$DLLM_DECODE_CACHE`, or `~/.cache/dllm-decode`."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "dllm-decode"


def example_key(identity: str, content: Iterable[Any]) -> str:
    """Name an example by its id and a hash of its content, so that an edited example is decoded anew."""
    return f"{identity}:{fingerprint(json.dumps(list(content), sort_keys=True, default=repr).encode())}"


def _unusable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"outcomes cannot be kept in {folder}: {error.strerror}; "
        f"set {CACHE_VARIABLE} to a folder that can be written, or pass --no-cache"
    )

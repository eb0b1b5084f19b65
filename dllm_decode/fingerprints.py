"""Short names of files and folders by what is in them. Imports no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dllm_decode.errors import DataError

CONTENT_LIMIT = 64 * 2**20
"""Weights up to this many bytes are named by their content, larger ones by size and time of change."""


def fingerprint(content: bytes) -> str:
    """Name bytes by 16 hex digits of their sha256."""
    return hashlib.sha256(content).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Name a file by its content.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return fingerprint(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def folder_fingerprint(folder: Path, times: bool = True) -> str:
    """Name a checkpoint folder: its JSON files by content, its weights by content or, if large, size and time.

    Args:
        folder: The checkpoint.
        times: Whether the time counts; copies on several machines differ in it.

    Raises:
        DataError: A file cannot be read.
    """
    parts = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            parts.append(f"{path.name} {file_fingerprint(path)}")
        elif path.suffix in (".safetensors", ".bin", ".model"):
            status = path.stat()
            small = status.st_size <= CONTENT_LIMIT
            large = f"{status.st_size} {status.st_mtime_ns}" if times else f"{status.st_size}"
            state = file_fingerprint(path) if small else large
            parts.append(f"{path.name} {state}")
    return fingerprint("\n".join(parts).encode())

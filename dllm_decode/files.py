"""Files that are written whole or not at all, and devices and pipes that are written to and never replaced.

Knows nothing of what files hold; imports no torch.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dllm_decode.errors import DataError


def write_atomically(path: str | Path, text: str) -> None:
    """Write UTF-8 text to a temporary file beside `path`, then rename it over `path`.

    A link is followed. What is no regular file (a device, a pipe, `/dev/stdout`) is written to as it is.

    Raises:
        DataError: The folder does not exist or cannot be written.
    """
    target = Path(path)
    if _is_stream(target):
        try:
            with open(target, "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror}") from None
        return
    target = Path(os.path.realpath(target))
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, target)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DataError(f"{target} cannot be written: {error.strerror}") from None
        raise


def check_writable(path: str | Path) -> None:
    """Refuse a file that `write_atomically` could not write.

    Raises:
        DataError: The folder is missing or closed to the user, or `path` is a folder.
    """
    target = Path(path)
    if _is_stream(target):
        if not os.access(target, os.W_OK):
            raise DataError(f"{target} cannot be written: it is closed to you")
        return
    target = Path(os.path.realpath(target))
    if target.is_dir():
        raise DataError(f"{target} cannot be written: it is a folder")
    if not target.parent.is_dir():
        raise DataError(f"{target} cannot be written: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise DataError(f"{target} cannot be written: the folder {target.parent} is closed to you")


def _is_stream(path: Path) -> bool:
    """Return whether a path names something that a renamed file must not take the place of."""
    if not path.exists() or path.is_dir():
        return False
    # `/dev/stdout` may lead to a regular file that somebody else has open.
    return not path.is_file() or str(path.absolute()).startswith(("/dev/", "/proc/"))

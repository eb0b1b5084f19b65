"""Files that are written whole or not at all, and devices and pipes that are written to and never replaced.

Knows nothing of what files hold; imports no torch.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dllm_decode.errors import DataError, shown


def user_path(text: str | Path) -> Path:
    """Return the path that a user wrote, `~` expanded.

    Raises:
        DataError: No file can be called that.
    """
    try:
        path = Path(text).expanduser()
        path.is_file()  # the file system is asked nothing else than whether it can be asked
        os.fspath(path).encode()
    except RuntimeError:
        raise DataError(f"{shown(str(text))}: there is no user of that name to find the home folder of") from None
    except UnicodeEncodeError:
        raise DataError(f"{shown(str(text))} is no path: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{shown(str(text))} is no path: {reason}") from None
    if "\0" in os.fspath(path):
        raise DataError(f"{shown(str(text))} is no path: it holds a NUL character")
    return path


def read_text(path: Path, limit: int) -> str:
    """Return the UTF-8 text of a file of at most `limit` bytes; nothing is read beyond them.

    Raises:
        DataError: It cannot be read, is longer, or is no UTF-8 text.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise DataError(f"{path} cannot be read: it is longer than {limit:,} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} cannot be read: not UTF-8 text") from None


def write_atomically(path: str | Path, text: str) -> None:
    """Write UTF-8 text to a temporary file beside `path`, then rename it over `path`.

    A link is followed. What is no regular file (a device, a pipe, `/dev/stdout`) is written to as it is.

    Raises:
        DataError: The folder does not exist or cannot be written.
    """
    target = user_path(path)
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
    target = user_path(path)
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

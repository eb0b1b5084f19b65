"""Files and signals by Linux's Landlock, which needs no privileges: what a program may write to, and whom it may signal."""

from __future__ import annotations

import os
import struct

from dllm_decode.programs.inside import linux

# Rights of landlock(7) that change files, and the version that each came with.
_WRITE, _REMOVE_FOLDER, _REMOVE_FILE = 1 << 1, 1 << 4, 1 << 5
_MAKE = sum(1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3


def confine(folder: str | None) -> bool:
    """Let this process, and all that it starts, change files only below a folder, and signal only each other.

    Args:
        folder: Where it may write; None is nowhere.

    Returns:
        Whether the system has Landlock.
    """
    try:
        version = linux.landlock_version()
    except OSError:
        return False
    files = _WRITE | _REMOVE_FOLDER | _REMOVE_FILE | _MAKE
    files |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", files)
    if version >= 4:
        attributes += struct.pack("=Q", _BIND_AND_CONNECT)
    if version >= 6:
        attributes += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    rules = linux.landlock_rules(attributes)
    try:
        if folder is not None:
            _allow(rules, folder, files)
        _allow(rules, os.devnull, _WRITE)
        linux.landlock_apply(rules)
    finally:
        os.close(rules)
    return True


def _allow(rules: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH)
    try:
        linux.landlock_allow(rules, struct.pack("=Qi", rights, descriptor))
    finally:
        os.close(descriptor)

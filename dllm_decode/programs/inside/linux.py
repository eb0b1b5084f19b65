"""The calls to Linux that Python 3.11 has no functions for."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
NOSUID, NODEV, BIND, REC, PRIVATE = 2, 4, 0x1000, 0x4000, 1 << 18
_DETACH, _RECURSIVE, _HERE, _SET_ATTRIBUTES, _RDONLY_AND_NOSUID = 2, 0x8000, -100, 442, 3
_PDEATHSIG, _DUMPABLE, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS = 1, 4, 24, 36, 38
_SECCOMP = 22
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _call(name: str, *arguments: int | bytes | None) -> int:
    if _libc is None:
        raise OSError(f"{name}: only on Linux")
    packed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = getattr(_libc, name)(*packed)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for fresh ones."""
    _call("unshare", flags)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mount; see mount(2)."""
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _call("mount", *texts, flags, None if options is None else options.encode())


def unmount(target: str) -> None:
    """Unmount what is mounted there, as soon as nobody uses it."""
    _call("umount2", target.encode(), _DETACH)


def make_read_only(target: str) -> None:
    """Make what is mounted there, and below it, read-only; other attributes stay as they are."""
    attributes = struct.pack("=4Q", _RDONLY_AND_NOSUID, 0, 0, 0)
    _call("syscall", _SET_ATTRIBUTES, _HERE, target.encode(), _RECURSIVE, attributes, len(attributes))


def pivot_root(new: str, old: str) -> None:
    """Make one folder the root of everything, and put the old root at another."""
    _call("syscall", _PIVOT_ROOT[os.uname().machine], new.encode(), old.encode())


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends."""
    _call("prctl", _PDEATHSIG, 9, 0, 0, 0)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory."""
    _call("prctl", _DUMPABLE, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents have ended."""
    _call("prctl", _SUBREAPER, 1, 0, 0, 0)


def gain_nothing() -> None:
    """Keep this process, and all that it starts, from getting privileges that it does not have now."""
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capability_bounds() -> None:
    """Give up getting any capability by starting a program."""
    for capability in range(64):
        try:
            _call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
        except OSError:
            break


def drop_capabilities() -> None:
    """Give up every capability."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _call("capset", bytes(header), bytes(6 * 4))


def filter_calls(program: bytes) -> None:
    """Install a filter of system calls, a `sock_fprog`."""
    _call("prctl", _SECCOMP, 2, program, 0, 0)


def landlock_version() -> int:
    """Return what the kernel's Landlock can do; see landlock_create_ruleset(2)."""
    return _call("syscall", 444, None, 0, 1)


def landlock_rules(attributes: bytes) -> int:
    """Return the descriptor of a set of rules."""
    return _call("syscall", 444, attributes, len(attributes), 0)


def landlock_allow(rules: int, below: bytes) -> None:
    """Add what may be done below a path."""
    _call("syscall", 445, rules, 1, below, 0)


def landlock_apply(rules: int) -> None:
    """Have the rules hold for this process from now on."""
    _call("syscall", 446, rules, 0)

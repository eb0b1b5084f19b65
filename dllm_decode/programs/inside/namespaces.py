"""A world of its own for programs, by Linux namespaces: no network, no other processes, no files but Python's, read-only.

Needs no privileges where the system lets users make user namespaces; many containers do not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dllm_decode.programs.inside import linux
from dllm_decode.programs.inside.limits import NOBODY

SCRATCH = "/scratch"
"""The one folder that programs can write to: in memory, and gone with the program."""
SCRATCH_BYTES = 64 << 20
SHOWN = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/nix/store", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("null", "zero", "full", "random", "urandom")


def enter(folder: str) -> None:
    """Take this process, which has to be the only thread, to a root of its own; `folder` is empty and stays so.

    Raises:
        OSError: The system does not allow it.
    """
    _become_user_namespace()
    linux.unshare(linux.NEWNS | linux.NEWNET | linux.NEWIPC | linux.NEWUTS)
    linux.mount(None, "/", None, linux.REC | linux.PRIVATE)
    linux.mount("programs", folder, "tmpfs", linux.NOSUID, "mode=755")
    old = f"{folder}/.old"
    os.mkdir(old)
    linux.pivot_root(folder, old)
    os.chdir("/")
    for path in _shown():
        _show(path)
    os.makedirs("/dev", exist_ok=True)
    for device in DEVICES:
        Path(f"/dev/{device}").touch()
        linux.mount(f"/.old/dev/{device}", f"/dev/{device}", None, linux.BIND)
    os.mkdir(SCRATCH)
    if not os.path.exists("/tmp"):
        os.symlink(SCRATCH, "/tmp")
    # Where locks and queues of `multiprocessing` lie.
    os.symlink(SCRATCH, "/dev/shm")
    linux.unmount("/.old")
    os.rmdir("/.old")
    linux.make_read_only("/")


def enter_own() -> None:
    """Take what this process starts next to process numbers, a network and message queues of their own."""
    linux.unshare(linux.NEWPID | linux.NEWNS | linux.NEWNET | linux.NEWIPC)


def scratch() -> None:
    """Give this process and its children a scratch folder of their own, and go there."""
    linux.mount("scratch", SCRATCH, "tmpfs", linux.NOSUID | linux.NODEV, f"mode=1777,size={SCRATCH_BYTES},nr_inodes=4096")
    os.chdir(SCRATCH)


def _become_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    if user != 0:
        linux.unshare(linux.NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return
    # Only who stays outside may map two users, root and the one that programs run as.
    into, out = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        try:
            os.read(into, 1)
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{os.getppid()}/{name}").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n")
            os._exit(0)
        finally:
            os._exit(1)
    try:
        linux.unshare(linux.NEWUSER)
    finally:
        os.write(out, b".")
        os.close(out)
        os.close(into)
        _, status = os.waitpid(mapper, 0)
    if status != 0:
        raise OSError("the users of a namespace could not be set")


def _shown() -> list[str]:
    """Return the folders and files that Python and its packages lie in, outer ones first."""
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path]
    found = {os.path.realpath(path) for path in python if path}
    found.update(SHOWN)
    ordered = sorted(found, key=lambda path: path.count("/"))
    kept: list[str] = []
    for path in ordered:
        if path != "/" and not any(path.startswith(f"{above}/") for above in kept):
            kept.append(path)
    return kept


def _show(path: str) -> None:
    """Bind one folder or file into the new root."""
    there = f"/.old{path}"
    if not os.path.lexists(there):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(there):
        os.symlink(os.readlink(there), path)
        return
    if os.path.isdir(there):
        os.makedirs(path, exist_ok=True)
    else:
        Path(path).touch()
    linux.mount(there, path, None, linux.BIND | linux.REC)

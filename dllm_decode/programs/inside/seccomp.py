"""A filter of system calls (Linux, x86-64 and arm64): no sockets but pairs, no look into other processes, no kill of all.

Needs no privileges, so that there is no network where there are no namespaces either.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from dllm_decode.programs.inside import linux

_MACHINES = {
    # architecture word of the kernel, then: socket, kill, ptrace, process_vm_readv, process_vm_writev
    "x86_64": (0xC000003E, (41, 62, 101, 310, 311)),
    "aarch64": (0xC00000B7, (198, 129, 117, 270, 271)),
}
_IO_URING_SETUP = 425
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_OTHER_NUMBERS = 0x40000000
"""System calls of x86-64's second table, by which the first one's numbers could be avoided."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def install() -> None:
    """Filter the calls of this process and all that it starts; nothing on other machines.

    Raises:
        OSError: The kernel has no filters.
    """
    known = _MACHINES.get(os.uname().machine)
    if known is None:
        return
    architecture, (socket, kill, *looking) = known
    refused = [socket, *looking, _IO_URING_SETUP]
    # (code, argument, steps over if true, if false); every check that holds returns at once.
    program = [(_LOAD, _ARCHITECTURE, 0, 0), (_EQUAL, architecture, 1, 0), (_RETURN, _KILL, 0, 0)]
    program += [(_LOAD, _NUMBER, 0, 0), (_AT_LEAST, _OTHER_NUMBERS, 0, 1), (_RETURN, _REFUSE, 0, 0)]
    for number in refused:
        program += [(_EQUAL, number, 0, 1), (_RETURN, _REFUSE, 0, 0)]
    program += [(_EQUAL, kill, 0, 3), (_LOAD, _FIRST_ARGUMENT, 0, 0)]
    program += [(_EQUAL, 0xFFFFFFFF, 0, 1), (_RETURN, _REFUSE, 0, 0), (_RETURN, _ALLOW, 0, 0)]
    code = b"".join(struct.pack("=HBBI", kind, yes, no, word) for kind, word, yes, no in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    linux.filter_calls(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer)))

"""Isolation of a process by the Linux kernel, in layers that each suffice against most attempts.

Namespaces take the network away, Landlock the files (kernel 5.13), a seccomp filter the calls that
start programs, open sockets or look into other processes, resource limits memory, time and disk.
What a machine does not have is told, and without Landlock or seccomp no code runs at all.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = [
    "end_with_parent",
    "enter_namespaces",
    "forbid_calls",
    "limit_resources",
    "restrict_files",
]

_LIBC = ctypes.CDLL(None, use_errno=True)

# <linux/sched.h>: user, mount, UTS, IPC and network namespaces.
_NAMESPACES = 0x10000000 | 0x00020000 | 0x04000000 | 0x08000000 | 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_PDEATHSIG = 38, 4, 22, 1
_SECCOMP_MODE_FILTER = 2

# <linux/landlock.h>, which has the same numbers on every processor.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_WRITE = 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14  # write, remove a file, make a regular file, truncate
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}

# Numbers of system calls that no analysis needs: sockets, programs, other processes, the kernel.
_FORBIDDEN: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41, "connect": 42, "socketpair": 53, "bind": 49, "execve": 59, "kill": 62,
            "ptrace": 101, "mount": 165, "umount2": 166, "add_key": 248, "request_key": 249,
            "keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "bpf": 321,
            "execveat": 322, "userfaultfd": 323, "io_uring_setup": 425, "pidfd_open": 434,
            "pidfd_getfd": 438, "fork": 57, "vfork": 58, "shmget": 29, "msgget": 68,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198, "connect": 203, "socketpair": 199, "bind": 200, "execve": 221,
            "kill": 129, "ptrace": 117, "mount": 40, "umount2": 39, "add_key": 217,
            "request_key": 218, "keyctl": 219, "unshare": 97, "perf_event_open": 241,
            "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
            "process_vm_writev": 271, "bpf": 280, "execveat": 281, "userfaultfd": 282,
            "io_uring_setup": 425, "pidfd_open": 434, "pidfd_getfd": 438, "shmget": 194,
            "msgget": 186,
        },
    ),
}  # fmt: skip
# Threads are begun by clone with this flag; without it, it is a process, which could outlive ours.
_CLONE_THREAD = 0x10000
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
# x86-64 has a second table of calls by number, which would pass a filter of the first.
_X32_BIT = 0x40000000


def enter_namespaces() -> bool:
    """Leave the network, the mounts and the host's names; False where the machine lets nobody."""
    user, group = os.getuid(), os.getgid()
    if _LIBC.unshare(_NAMESPACES):
        return False
    # The same user inside: files of the account stay readable as far as Landlock lets them.
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", "ascii")
    return True


def end_with_parent(parent: int) -> None:
    """Let the operating system kill this process when the thread that started it ends.

    Ends it at once where its parent is not `parent` any more.
    """
    # After the namespaces: new credentials would take it back.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def restrict_files(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Let the process read and write these folders and no other file; False without Landlock."""
    abi = _LIBC.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    handled = _ALL_BY_ABI[max(known for known in _ALL_BY_ABI if known <= abi)]
    # Of version 4 TCP, of version 6 signals and abstract sockets of others.
    attributes = struct.pack("=QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _LIBC.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if ruleset < 0:
        return False
    for folders, access in (
        (readable, _READ_FILE | _READ_FOLDER),
        (writable, (_READ_FILE | _READ_FOLDER | _WRITE) & handled),
    ):
        for folder in folders:
            _allow(ruleset, folder, access)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    is_restricted: bool = _LIBC.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return is_restricted


def forbid_calls() -> bool:
    """Forbid the calls of the list to this process and its threads; False without a filter."""
    table = _FORBIDDEN.get(platform.machine())
    if table is None:
        return False
    architecture, calls = table
    load, equal, at_least, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    denied, unknown, allowed, killed = 0x00050001, 0x00050026, 0x7FFF0000, 0x80000000
    numbers = sorted(calls.values())
    program = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, architecture),
        (give, 0, 0, killed),
        (load, 0, 0, 0),  # the number of the call
        (at_least, len(numbers) + 8, 0, _X32_BIT),
        # The C library then takes clone, whose flags a filter can read.
        (equal, 0, 1, _CLONE3),
        (give, 0, 0, unknown),
        (equal, 0, 4, _CLONE[platform.machine()]),
        (load, 0, 0, 16),  # its first argument
        (has_bit, 0, 1, _CLONE_THREAD),
        (give, 0, 0, allowed),
        (give, 0, 0, denied),
        *((equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)),
        (give, 0, 0, allowed),
        (give, 0, 0, denied),
    ]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("=H6xQ", len(program), ctypes.addressof(buffer))
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    is_forbidden: bool = _LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) == 0
    return is_forbidden


def limit_resources(memory_mb: int, seconds: int, output_mb: int) -> None:
    """Limit memory that is written to, processor time, file size and open files; dump no core."""
    for kind, most in (
        (resource.RLIMIT_DATA, memory_mb * 2**20),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, output_mb * 2**20),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _allow(ruleset: int, folder: Path, access: int) -> None:
    descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    if not folder.is_dir():
        access &= ~_READ_FOLDER
    # Packed: Landlock's structure has no padding.
    rule = struct.pack("=Qi", access, descriptor)
    if _LIBC.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0):
        raise OSError(ctypes.get_errno(), "Landlock took no rule for a folder.")
    os.close(descriptor)

"""Walls around a process that reads hostile bytes. Linux; standard library and raw system calls only.

Limits on memory, processor time and files are never optional. The kernel's own layers (no new privileges, a network
namespace without a network, Landlock, seccomp) are put up where the kernel has them, and it is told which are in force.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import select
import struct
from collections.abc import Mapping

Layers = Mapping[str, bool | str]
"""Layer -> True (in force), or why it is not."""

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same number on every architecture
_LANDLOCK_FS_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # bits of `handled_access_fs`; 5 and later have 16
_LANDLOCK_NET_SINCE_ABI, _LANDLOCK_SCOPE_SINCE_ABI = 4, 6

_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_ALLOWED_CALLS = {
    # Working on memory, the channel and the one open file. Whatever is not here fails with EPERM: opening paths,
    # sockets, processes, threads, tracing, signals to others.
    # name: number on x86_64 (-1: has none), on aarch64
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "newfstatat": (262, 79),  # how glibc says fstat
    "poll": (7, -1),
    "ppoll": (271, 73),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "dup": (32, 23),
    "fcntl": (72, 25),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrusage": (98, 165),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "futex": (202, 98),
    "getrandom": (318, 278),
    "rseq": (334, 293),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_ALLOWED_ON_ITSELF = {"tgkill": (234, 131), "prlimit64": (302, 261)}  # first argument: its own process, or 0 for that


def die_with_parent(lifeline_fd: int) -> None:
    """End this process when the last writer of the pipe `lifeline_fd` is gone, even in the middle of a long C call.

    The kernel sends SIGIO when the other end closes, and its default action ends the process. `PR_SET_PDEATHSIG` would
    fire when the *thread* that started us ends, which need not mean that the process did.
    """
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
    poller = select.poll()
    poller.register(lifeline_fd, 0)
    if poller.poll(0):  # it had closed before we asked to be told
        raise SystemExit("the parent is gone")


def limit_resources(*, extra_memory_bytes: int, cpu_s: int, open_files: int = 16) -> None:
    """Put hard limits on this process, counted from what it has now. Call it after everything is imported.

    Args:
        extra_memory_bytes: address space beyond today's.
        cpu_s: processor seconds of its whole life; `limit_cpu` sets those of one task.
        open_files: more than that cannot be open at once.
    """
    memory = _address_space_bytes() + extra_memory_bytes
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CPU, cpu_s)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, open_files)
    # RLIMIT_NPROC counts the processes of the user, not ours, and root is exempt: seccomp denies new ones instead.


def limit_cpu(seconds: int) -> None:
    """Let this process use `seconds` more of processor time; SIGXCPU ends it after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def lock_down() -> Layers:
    """Put up every layer this kernel has; nothing can be undone. Call it with one thread, before the first bad byte."""
    layers: dict[str, bool | str] = {"rlimits": True, "no_new_privs": _no_new_privileges()}
    layers["network_namespace"] = _leave_the_network()
    layers["landlock"] = _landlock()
    layers["seccomp"] = _seccomp()
    return layers


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _outcome(result: int) -> bool | str:
    return True if result >= 0 else os.strerror(ctypes.get_errno())


def _no_new_privileges() -> bool | str:
    return _outcome(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _leave_the_network() -> bool | str:
    """Move to a namespace that has no interface. Without privileges, a user namespace of our own grants the right."""
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return _outcome(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET))


def _landlock() -> bool | str:
    """Deny every path, TCP port, abstract socket and signal to the outside; what is open stays open.

    Source: Linux, Documentation/userspace-api/landlock.rst.
    """
    abi = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return _outcome(-1)
    rights = (1 << _LANDLOCK_FS_RIGHTS_BY_ABI[min(abi, 5)]) - 1
    network = 0b11 if abi >= _LANDLOCK_NET_SINCE_ABI else 0
    scopes = 0b11 if abi >= _LANDLOCK_SCOPE_SINCE_ABI else 0
    attributes = struct.pack("<QQQ", rights, network, scopes)
    size = 24 if scopes else 16 if network else 8
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return _outcome(ruleset)
    try:
        return _outcome(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _seccomp() -> bool | str:
    """Allow the few system calls that decoding needs; any other returns EPERM."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        return f"no list of system calls for {machine}"
    code = _filter(_AUDIT_ARCH[machine], list(_AUDIT_ARCH).index(machine), os.getpid())
    program = _Program(len(code) // 8, code)
    return _outcome(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))


def _filter(architecture: int, column: int, pid: int) -> bytes:
    """Assemble the filter in classic BPF. Source: Linux, Documentation/userspace-api/seccomp_filter.rst."""
    load, equal, answer = 0x20, 0x15, 0x06
    allow, deny, kill = 0x7FFF_0000, 0x0005_0000 | errno.EPERM, 0x8000_0000
    number_at, architecture_at, first_argument_at = 0, 4, 16

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    code = [step(load, architecture_at), step(equal, architecture, 1, 0), step(answer, kill), step(load, number_at)]
    for numbers in _ALLOWED_ON_ITSELF.values():
        code += [step(equal, numbers[column], 0, 5), step(load, first_argument_at)]
        code += [step(equal, 0, 1, 0), step(equal, pid, 0, 1), step(answer, allow), step(answer, deny)]
    for numbers in _ALLOWED_CALLS.values():
        if numbers[column] >= 0:
            code += [step(equal, numbers[column], 0, 1), step(answer, allow)]
    return b"".join([*code, step(answer, deny)])

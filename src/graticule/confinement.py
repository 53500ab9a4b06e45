"""Owns what a process may still do after it has confined itself: compute, and read and write one folder.

For the processes that hand users' files to native code: conversion and rendering.

Linux only, by plain system calls; to be called before any library with threads is loaded, because a user namespace can
only be entered by a process with one thread (unshare(2)).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

# landlock(7). The system call numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
#: How many access rights to files each ABI version knows; a kernel refuses bits that it does not know.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_FOLDER_RIGHTS = _READ_FILE | _READ_DIR | _WRITE_FILE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 14
_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share", "/etc/ld.so.cache")
_SYSTEM_FILES = ("/dev/urandom", "/dev/null", "/proc/self", "/sys/devices/system/cpu")


@dataclass(frozen=True)
class Confinement:
    """How far this system let the process confine itself."""

    #: "namespace" (no interface at all), "landlock" (no TCP) or "none".
    network: str
    #: "landlock" or "none".
    files: str


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def confine(
    folder: str | None,
    *,
    parent_pid: int,
    memory_bytes: int,
    file_bytes: int,
    readable: Iterable[str] = (),
    open_files: int = 128,
    niceness: int = 5,
) -> Confinement:
    """Give up everything but computing and ``folder``; die when the parent does. Cannot be undone.

    Args:
        folder: the one folder that stays writable; None: none does.
        parent_pid: the process that waits for us; gone already means exit at once.
        memory_bytes: limit of the address space.
        file_bytes: limit of each file written.
        readable: folders whose files may still be read.
        open_files: limit of open descriptors.
        niceness: how far to stand back behind other processes.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    os.nice(niceness)
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        _lower(limit, value)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    no_network = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0
    landlock_version = _landlock(libc, folder, readable)
    # After unshare: a change of credentials clears the parent-death signal (prctl(2)).
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)
    return Confinement(
        network="namespace" if no_network else "landlock" if landlock_version >= 4 else "none",
        files="landlock" if landlock_version else "none",
    )


def limit_cpu(seconds: float) -> None:
    """Let this process use that much CPU time from now on; beyond it the kernel sends SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _landlock(libc: ctypes.CDLL, folder: str | None, readable: Iterable[str]) -> int:
    """Restrict the file system; the ABI version that does it, or 0 where the kernel has none."""
    version = int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_RULESET_VERSION)))
    if version < 1:
        return 0
    rights = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    ruleset = _RulesetAttr(fs=rights, net=0b11 if version >= 4 else 0, scoped=0b11 if version >= 6 else 0)
    size = ctypes.sizeof(ruleset) if version >= 6 else 16 if version >= 4 else 8
    ruleset_fd = int(libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    if ruleset_fd < 0:
        return 0
    try:
        _allow(libc, ruleset_fd, () if folder is None else (folder,), _FOLDER_RIGHTS & rights)
        readable = (*_LIBRARY_FOLDERS, *_SYSTEM_FILES, *_python_folders(), *readable)
        _allow(libc, ruleset_fd, readable, _READ_FILE | _READ_DIR)
        if libc.syscall(_RESTRICT_SELF, ruleset_fd, ctypes.c_uint32(0)) != 0:
            return 0
    finally:
        os.close(ruleset_fd)
    return version


def _allow(libc: ctypes.CDLL, ruleset_fd: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            path_fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this system
        try:
            is_folder = os.path.isdir(path)  # noqa: PTH112 - pathlib is not needed before confinement
            rule = _PathBeneathAttr(allowed=rights if is_folder else rights & ~_READ_DIR, parent_fd=path_fd)
            libc.syscall(_ADD_RULE, ruleset_fd, _RULE_PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
        finally:
            os.close(path_fd)


def _python_folders() -> list[str]:
    """Where Python and its packages are read from; the libraries of a Python built elsewhere lie in its prefix."""
    return [*(entry for entry in sys.path if entry), f"{sys.base_prefix}/lib", f"{sys.prefix}/lib"]

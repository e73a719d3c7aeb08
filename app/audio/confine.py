"""Taking away from a decoder process whatever decoding does not need, layer by layer, for good.

Each layer holds by itself, and a kernel that lacks one leaves the others in force. What is left to a process
after confine() is memory up to a limit, the descriptors that it has open, and its own computing: no new
descriptor of any kind, no other process, no signal to one, no code that was not there before.
"""

import ctypes
import importlib
import os
import resource
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

Facts: TypeAlias = dict[str, bool | int]
"""What is in force, by name."""

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PROT_EXEC: Final = 4
_EPERM: Final = 1
_NET_ABI: Final = 4
_SCOPE_ABI: Final = 6
_TCP: Final = 0b11
"""Binding and connecting. Source: linux/landlock.h."""
_SCOPES: Final = 0b11
"""Abstract UNIX sockets, and signals to processes outside. Source: linux/landlock.h."""

_ALLOWED: Final = (
    *("read", "write", "recvfrom", "close", "lseek", "fstat"),
    *("brk", "munmap", "mremap", "madvise", "futex"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "clock_getres", "gettimeofday", "time", "getrusage", "getrandom"),
    *("sched_getaffinity", "sched_yield", "getpid", "gettid", "exit", "exit_group"),
)
"""System calls about memory, time and descriptors that are open already. None of them names a file, an
address or another process."""


def _library(name: str) -> Any:
    """A library that knows one kernel; None on others, and where it misses something itself."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError):
        return None


landlock: Final = _library("landlock")
seccomp: Final = _library("pyseccomp")


def confine(memory_bytes: int, layers: frozenset[str] | None = None) -> Facts:
    """Confine this process, which has one thread, for the rest of its life.

    Args:
        memory_bytes: Address space that it may take beyond what it has now, in bytes.
        layers: Names of the layers to put up; None puts up all of them.

    Returns:
        What is in force; False or 0 where this system has no such thing.
    """
    address_space = memory_bytes + _address_space()
    facts: Facts = {}
    for name, layer in _LAYERS.items():
        if layers is None or name in layers:
            facts |= layer(address_space)
    return facts


def allow_cpu(seconds: float) -> None:
    """Let this process compute for so long from now on; the kernel ends it when it goes on.

    Args:
        seconds: Time on the processor; counted in whole seconds, rounded up.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (_within(limit, hard), hard))


def _within(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _address_space() -> int:
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def _privileges(_address_space: int) -> Facts:
    """No program started from here gains rights, and only root may look into this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    gains_none = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    hidden = libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
    return {"no_new_privileges": gains_none, "memory_hidden": hidden}


def _landlock(_address_space: int) -> Facts:
    """No file, no TCP, no abstract socket, no signal to a process outside; the version says which of them."""
    if landlock is None:
        return {"landlock": 0}

    class Ruleset(landlock.plumbing.RulesetAttr):  # type: ignore[misc,name-defined]
        """The library's own, which knows files only, with what came later."""

        _fields_ = (("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))

    ctypes.set_errno(0)  # the library takes what an earlier call left there for its own
    try:
        abi: int = landlock.plumbing.landlock_abi_version()
        net, scoped = _TCP if abi >= _NET_ABI else 0, _SCOPES if abi >= _SCOPE_ABI else 0
        everything = Ruleset(landlock.FSAccess.all(), net, scoped)
        size = 24 if scoped else 16 if net else 8
        ruleset = landlock.plumbing.get_create_ruleset()(ctypes.byref(everything), size, 0)
        landlock.plumbing.get_restrict_self()(ruleset, 0)
        os.close(ruleset)
    except landlock.SyscallError:  # an older kernel, or one that was started without it
        return {"landlock": 0}
    return {"landlock": abi}


def _limits(address_space: int) -> Facts:
    """Memory, and nothing that would be new."""
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        value = _within(value, resource.getrlimit(limit)[1])
        resource.setrlimit(limit, (value, value))
    return {"memory_limit_bytes": resource.getrlimit(resource.RLIMIT_AS)[0]}


def _seccomp(_address_space: int) -> Facts:
    """System calls outside the list fail with EPERM; those of another architecture end the process."""
    calls = call_filter()
    if calls is None:
        return {"seccomp": False}
    try:
        calls.load()
    except OSError:
        return {"seccomp": False}
    return {"seccomp": True}


@cache
def call_filter() -> Any:
    """The filter of system calls; building it takes longer than everything else here, so build it early.

    Returns:
        A filter of libseccomp that is not in force yet, None where there is no such library.
    """
    if seccomp is None:
        return None
    calls = seccomp.SyscallFilter(seccomp.ERRNO(_EPERM))

    def allow(name: str, **arguments: tuple[int, ...]) -> None:
        conditions = [seccomp.Arg(int(number[1:]), *wanted) for number, wanted in arguments.items()]
        try:
            calls.add_rule(seccomp.ALLOW, name, *conditions)
        except (OSError, ValueError):  # this architecture has no call of that name
            return

    for name in _ALLOWED:
        allow(name)
    # New memory never holds code, and no memory becomes code.
    allow("mmap", _2=(seccomp.MASKED_EQ, _PROT_EXEC, 0))
    allow("mprotect", _2=(seccomp.MASKED_EQ, _PROT_EXEC, 0))
    # To the other end of a socket that is open: without an address.
    allow("sendto", _4=(seccomp.EQ, 0))
    # allow_cpu() of this process, no other limit and no other process.
    allow("prlimit64", _0=(seccomp.EQ, 0), _1=(seccomp.EQ, resource.RLIMIT_CPU))
    return calls


_LAYERS: Final[Mapping[str, Callable[[int], Facts]]] = MappingProxyType(
    # In this order: each takes away what those before it need.
    {"privileges": _privileges, "landlock": _landlock, "limits": _limits, "seccomp": _seccomp}
    if sys.platform == "linux"
    else {"limits": _limits}
)
LAYERS: Final = frozenset(_LAYERS)
"""Names of the layers that this system may have."""

"""A decoder that tries to break out instead of decoding: born, confined and asked like every other."""

import ctypes
import errno
import mmap
import os
import resource
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from app.audio import decoder
from app.audio.confine import call_filter, confine
from app.audio.wire import Answer

_PARENT = os.getppid()
"""The server: this module is imported in the process that it started."""


def _computing() -> object:
    while True:
        sum(range(1000))


def _touching() -> object:
    return len(bytearray(2 << 30))


def _running_new_code() -> object:
    return mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _tracing() -> object:
    if ctypes.CDLL(None, use_errno=True).ptrace(16, _PARENT, 0, 0) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")
    return "attached"


def _forking() -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


def _abstract() -> object:
    with socket.socket(socket.AF_UNIX) as end:
        return end.connect("\0timbre-tests")


def _tcp() -> object:
    with socket.socket() as end:
        return end.connect(("127.0.0.1", 9))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "list a folder": lambda: os.listdir("/"),  # noqa: PTH208
    "write a file": lambda: Path("/tmp/timbre-prober").write_bytes(b"x"),
    "remove a file": lambda: Path("/tmp/timbre-prober").unlink(),
    "ask about a file": lambda: Path("/etc/passwd").stat(),
    "open a socket": socket.socket,
    "connect by TCP": _tcp,
    "connect to an abstract socket": _abstract,
    "open a pipe": os.pipe,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": _forking,
    "signal the server": lambda: os.kill(_PARENT, 0),
    "look into the server": _tracing,
    "read the server's environment": lambda: Path(f"/proc/{_PARENT}/environ").read_bytes(),
    "run new code": _running_new_code,
    "take more memory": _touching,
    "raise the limit of memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    "change the user": lambda: os.setuid(12345),
}


def probe(data: bytes, max_duration_s: float) -> Answer:
    """Try what the recording names.

    Returns:
        `done`, or what the attempt ended with.
    """
    order = data.decode()
    if order == "compute":
        return str(_computing())
    try:
        ATTEMPTS[order]()
    except OSError as refusal:
        return errno.errorcode[refusal.errno or 0]
    except (MemoryError, ValueError) as refusal:
        return type(refusal).__name__
    return "done"


def main(control: int) -> None:
    """Under every layer."""
    decoder._warm_up = call_filter  # it decodes nothing
    decoder.main(control, probe)


def _only(layer: str, control: int) -> None:
    decoder.confine = partial(confine, layers=frozenset({layer}))  # type: ignore[attr-defined]
    main(control)


landlock, seccomp, limits = (partial(_only, layer) for layer in ("landlock", "seccomp", "limits"))

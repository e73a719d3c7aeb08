"""Server processes that start at once and may be killed: forked from one that has imported everything.

The parent of the servers has no connection of any kind and no thread at work, so its children are as good as
new. What runs in them is the whole service: the application, its decoders, the tiny model, a real socket.
"""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from app.cli.process import free_port
from app.settings import Settings
from tests.chaos import client

_UP_S = 60.0
_PR_SET_PDEATHSIG = 1
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_codes: dict[int, int] = {}
"""How children of the parent have ended."""


def _parent(commands: Connection, signs: client.Signs) -> None:
    """The life of the parent: forks, waits, and says how a child ended."""
    commands.send(_import_everything())
    while True:
        try:
            what, *rest = commands.recv()
        except EOFError:
            return
        if what in {"service", "clients"}:
            pid = os.fork()
            if pid == 0:
                commands.close()
                _child(_serve if what == "service" else partial(client.write, signals=signs), *rest)
            _codes.pop(pid, None)  # after some ten thousand processes their numbers come again
            commands.send(pid)
        elif what == "ended":
            commands.send(_ended(*rest))


def _import_everything() -> int:
    """Returns the process from which decoders are forked."""
    import av  # noqa: F401
    import librosa
    import soundfile  # noqa: F401

    import app.audio.nursery as decoders
    import app.cli.serve
    import app.main  # noqa: F401

    librosa.resample  # noqa: B018  # loaded when it is first asked for
    decoders.PARENT = decoders.Nursery()
    assert decoders.PARENT._process is not None
    return decoders.PARENT._process.pid


def _ended(pid: int, longest_s: float) -> int | None:
    """How a child ended: minus the signal, or its exit code; None when it still runs."""
    deadline = time.monotonic() + longest_s
    while pid not in _codes:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _codes[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > deadline:
            return None
        else:
            time.sleep(0.002)
    return _codes[pid]


def _child(work: Callable[..., None], log: str, *rest: Any) -> None:
    """Do something in a child, which ends with it."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(
            _PR_SET_PDEATHSIG, signal.SIGKILL
        )  # a harness that dies leaves nothing behind
        os.setsid()
        with Path(log).open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 2)
            os.dup2(file.fileno(), 1)
        work(*rest)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(settings: Settings) -> None:
    """The service, until it is killed or told to end."""
    import logging

    import uvicorn

    from app.cli.serve import server_options
    from app.main import create_app

    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
    logging.getLogger("timbre").setLevel("WARNING")
    address: dict[str, Any] = {"host": settings.host, "port": settings.port, "log_level": "warning"}
    config = uvicorn.Config(create_app(settings, patient=True), **address, **server_options(settings))
    uvicorn.Server(config).run()


@dataclass
class Server:
    """One process of the service."""

    pid: int
    url: str
    _commands: Connection

    def kill(self, decoders: Collection[int] = ()) -> None:
        """End it as a power failure would; these decoders with it."""
        for victim in (self.pid, *decoders):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        assert self.ended(10.0) is not None

    def ended(self, longest_s: float) -> int | None:
        """How it ended, minus a signal or an exit code; None when it still runs after so long."""
        self._commands.send(("ended", self.pid, longest_s))
        found: int | None = self._commands.recv()
        return found


class Servers:
    """The parent of the servers, and one address for all of them, one after the other."""

    def __init__(self, commands: Connection, signs: client.Signs) -> None:
        self._commands, self.signs = commands, signs
        self._nursery: int = commands.recv()
        self.port = free_port()

    def clients(self, log: Path, *about: Any) -> Server:
        """Start the clients, which wait for the signs."""
        self.signs.reset()
        self._commands.send(("clients", str(log), f"http://127.0.0.1:{self.port}", *about))
        return Server(self._commands.recv(), "", self._commands)

    def start(self, settings: Settings, log: Path) -> Server:
        """Begin to start a server; see `up`."""
        chosen = settings.model_copy(update={"port": self.port, "host": "127.0.0.1"})
        self._commands.send(("service", str(log), chosen))
        return Server(self._commands.recv(), f"http://127.0.0.1:{self.port}", self._commands)

    def up(self, server: Server) -> bool:
        """Wait until it answers; False when it has ended before that."""
        deadline = time.monotonic() + _UP_S
        with httpx.Client(timeout=10, verify=False) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{server.url}/healthz").is_success:
                        return True
                if server.ended(0.005) is not None:
                    return False
        raise AssertionError("the service does not start")

    def decoders(self) -> set[int]:
        """The decoder processes of every server that was started here."""
        return set(_descendants(self._nursery))


def _descendants(pid: int) -> Iterator[int]:
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, place.read_text().split()):
                if alive(child):
                    yield child
                yield from _descendants(child)


def alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be buried."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """The parent of servers, for as long as the block lasts; what is still running then is killed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    signs = client.Signs()
    parent = context.Process(target=_parent, args=(theirs, signs), name="warm", daemon=True)
    os.environ.update(_ONE_THREAD)  # libraries make their threads when they are imported
    parent.start()
    theirs.close()
    try:
        yield Servers(ours, signs)
    finally:
        ours.close()
        parent.join(5)
        parent.kill()

"""The server's handle on the process in which its decoders are born."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from app.audio.wire import Order

_KEPT: Final = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR", "PATH", "TMPDIR")
"""Variables of the environment that decoders get; the others hold secrets, or may."""
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

PARENT: "Nursery | None" = None
"""A nursery that is warm already. A process that forks servers makes one before it has threads; each server's
own nursery is then a fork of it, and nothing is imported again."""


class Nursery:
    """Makes decoder processes and ends them; safe to share between threads.

    The process is started at once and warms up while the server does other things. Should it die, its
    decoders die with it, and the next one that is needed starts it again.
    """

    def __init__(self, program: str = "app.audio.decoder:main") -> None:
        """Start the process.

        Args:
            program: The function that it runs, `module:name`; it is given a descriptor.
        """
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control = self._started()

    def born(self, timeout_s: float, max_duration_s: float) -> socket.socket:
        """Make a decoder.

        Args:
            timeout_s: Time on the processor for one recording, in seconds.
            max_duration_s: Longest recording, in seconds.

        Returns:
            The socket to it. It speaks first, when it is ready.

        Raises:
            OSError: The process cannot be started.
        """
        order = Order("work", timeout_s=timeout_s, max_duration_s=max_duration_s)
        with self._lock:
            try:
                return _ask(self._control, order)
            except OSError:
                self._end()
                self._control = self._started()
                return _ask(self._control, order)

    def kill(self, pid: int) -> None:
        """End a decoder, whatever it does; one that has ended already is left in peace."""
        with self._lock:
            try:
                self._control.sendall(Order("kill", pid=pid).packed())
            except OSError:  # the process died, and its decoders with it
                return

    def close(self) -> None:
        """End the process and every decoder; safe to call again."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._control.close()
        if self._process is None:
            return
        self._process.terminate()  # it may be importing still; it holds nothing, and decoders end with it
        self._process.wait()

    def _started(self) -> socket.socket:
        if PARENT is not None:
            return _ask(PARENT._control, Order("tend"))
        ours, theirs = socket.socketpair()
        module, name = self._program.split(":")
        start = f"from {module} import {name} as main; main({theirs.fileno()})"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a signal to the server's group is for the server
            )
        return ours


def _ask(control: socket.socket, order: Order) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(control, [order.packed()], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
    return ours


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # As this process finds its modules, an empty entry being the working directory.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return kept | _ONE_THREAD | {"PYTHONPATH": path}

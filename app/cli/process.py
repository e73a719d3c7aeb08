"""`timbre serve` in a process of its own, for as long as a block lasts."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from app.cli.client import TIMEOUT_S, fail

START_S: Final = 300.0
"""Longest wait until it serves, in seconds."""
_STOP_S: Final = 30.0


@contextmanager
def own_server() -> Iterator[httpx.Client]:
    """A server with a temporary database, which is removed afterwards; a client of it."""
    with tempfile.TemporaryDirectory(prefix="timbre-") as folder:
        environment = os.environ | {"TIMBRE_DATABASE_URL": f"sqlite:///{folder}/timbre.db"}
        with server_process(environment, Path(folder) / "server.log") as (http, _):
            yield http


@contextmanager
def server_process(
    environment: Mapping[str, str], log: Path, flags: Sequence[str] = ()
) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """Starts a server on a free port, and stops it with the block unless somebody was faster.

    Args:
        environment: All its variables; address and port are set here.
        log: File that takes what it says, after what stands there; its end is quoted when it does not start.
        flags: Of the interpreter.

    Yields:
        A client of it, and the process.
    """
    port = free_port()
    variables = {**environment, "TIMBRE_HOST": "127.0.0.1", "TIMBRE_PORT": str(port)}
    command = [sys.executable, *flags, "-m", "app.cli", "serve"]
    with log.open("ab") as said:
        process = subprocess.Popen(command, env=variables, stdout=said, stderr=said)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as http:
            _wait_until_ready(http, process, log)
            yield http, process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        process.kill()
        process.wait()


def _wait_until_ready(http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if http.get("/readyz").is_success:
                return
        time.sleep(0.1)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    fail("the server did not start: " + " / ".join(lines[-5:]))


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])

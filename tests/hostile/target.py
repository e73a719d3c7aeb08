"""A server in a process of its own, to be attacked: `timbre serve` with the tiny model."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.cli.demo import free_port
from tests.tiny import write_tiny_model

_ROOT = Path(__file__).resolve().parents[2]
_START_LIMIT_S = 300.0


@dataclass(frozen=True)
class Target:
    """A running server.

    Attributes:
        port: where it listens, on the loopback.
        pid: the process that speaks HTTP.
        log: the file that it logs to.
    """

    port: int
    pid: int
    log: Path

    @property
    def url(self) -> str:
        """Its base address."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """What the process holds in memory, its decoders not counted, in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server is gone")

    def replaced(self) -> int:
        """Decoders that crashed or took too long, and were replaced."""
        return self.log.read_text(errors="replace").count("decoder process replaced")


@contextlib.contextmanager
def target(folder: Path, **settings: object) -> Iterator[Target]:
    """Start a server and end it with the block.

    Args:
        folder: an empty one for its model, its database and its log.
        settings: more of TIMBRE_<NAME>.

    Raises:
        RuntimeError: it does not start.
    """
    write_tiny_model(folder / "models" / "tiny")
    port, log = free_port(), folder / "server.log"
    chosen = {
        "models_dir": folder / "models",
        "model": "tiny",
        "digit_model": None,
        "provider": "cpu",
        "min_margin": 0.03,
        "database_url": f"sqlite:///{folder}/timbre.db",
        "erasure_ledger": folder / "erasures",
        "jobs_dir": folder / "jobs",
        "lockout_after": 0,
        **settings,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRE_")}
    environment = kept | {f"TIMBRE_{name.upper()}": str(value) for name, value in chosen.items()}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {"PYTHONPATH": str(_ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    with process:
        try:
            _wait(process, port, log)
            yield Target(port, process.pid, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server does not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)

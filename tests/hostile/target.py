"""A server in a process of its own, to be attacked: `timbre serve` with the tiny model."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.settings import Settings
from tests.served import MASTER_KEY, process
from tests.tiny import write_tiny_model


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
def target(folder: Path, **settings: Any) -> Iterator[Target]:
    """Start a server and end it with the block.

    Args:
        folder: an empty one for its model, its database and its log.
        settings: more of TIMBRE_<NAME>.

    Raises:
        RuntimeError: it does not start.
    """
    write_tiny_model(folder / "models" / "tiny")
    chosen: dict[str, Any] = {
        "models_dir": folder / "models",
        "model": "tiny",
        "digit_model": None,
        "provider": "cpu",
        "min_margin": 0.03,
        "database_url": f"sqlite:///{folder}/timbre.db",
        "erasure_ledger": folder / "erasures",
        "jobs_dir": folder / "jobs",
        "lockout_after": 0,
        "master_key": MASTER_KEY,
    }
    log = folder / "server.log"
    with process(Settings(_env_file=None, **(chosen | settings)), log=log) as (client, running):
        port = client.base_url.port
        assert port is not None
        yield Target(port, running.pid, log)

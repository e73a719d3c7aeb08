"""A PostgreSQL server that is meant to survive: every safeguard on, and everything may be done to it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from app.cli.process import free_port
from tests.chaos.servers import alive
from tests.postgres import _binary, _run, _server_user

SAFE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=60")


class Cluster:
    """One server on a folder."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.data, self.user = folder / "data", user
        self._log = folder / "server.log"
        self.port = free_port()
        self.owner = "postgres"
        self._running: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """SQLAlchemy address of a database."""
        return f"postgresql+psycopg://{self.owner}@127.0.0.1:{self.port}/{database}"

    def start(self, *settings: str) -> None:
        """Start it, and wait until it has recovered and answers."""
        chosen = ("listen_addresses=127.0.0.1", "unix_socket_directories=''", *SAFE, *settings)
        options = [word for setting in chosen for word in ("-c", setting.replace("''", ""))]
        command = [str(_binary("postgres")), "-D", str(self.data), "-p", str(self.port), *options]
        with self._log.open("a") as log:
            self._running = subprocess.Popen(command, user=self.user, stdout=log, stderr=log)
        self.wait()

    def wait(self, longest_s: float = 60.0) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + longest_s
        while True:
            try:
                with self.connect("postgres"):
                    return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self._log.read_text()[-2000:]
                time.sleep(0.02)

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of one's own."""
        address = f"host=127.0.0.1 port={self.port} user={self.owner} dbname={database} connect_timeout=5"
        return psycopg.connect(address, autocommit=True)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Carry out a statement outside of any transaction."""
        with self.connect(database) as connection:
            connection.execute(statement)

    def processes(self) -> list[int]:
        """The server and all that it has started."""
        assert self._running is not None
        found = [self._running.pid]
        for place in Path(f"/proc/{self._running.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in place.read_text().split()]
        return found

    def kill(self) -> None:
        """End all of its processes at once, as a power failure would."""
        assert self._running is not None
        victims = self.processes()
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        self._running.wait()
        deadline = time.monotonic() + 10  # what forked in between notices by itself
        while any(alive(victim) for victim in victims[1:]) and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it in an orderly way: SIGINT ends connections, SIGTERM waits for them."""
        if self._running is not None and self._running.poll() is None:
            self._running.send_signal(how)
            self._running.wait(timeout=60)

    def signal(self, number: signal.Signals) -> None:
        """Send all of its processes a signal."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def check(self, database: str) -> str | None:
        """What pg_amcheck says against a database; None when it is sound."""
        command = [str(_binary("pg_amcheck")), "--install-missing", "--heapallindexed", "--parent-check"]
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.owner, database]
        found = subprocess.run([*command, *where], capture_output=True, text=True, check=False)
        return None if found.returncode == 0 else (found.stdout + found.stderr)[-2000:]


@contextlib.contextmanager
def safe_cluster(place: Path | None = None) -> Iterator[Cluster]:
    """A cluster that runs and is removed in the end; in a folder of `place` when one is given."""
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="timbre-chaos-", dir=place))
    if user is not None:
        shutil.chown(folder, user)
    cluster = Cluster(folder, user)
    initdb = [str(_binary("initdb")), "-D", str(cluster.data), "-U", cluster.owner, "-A", "trust"]
    try:
        _run([*initdb, "-E", "UTF8", "--locale=C", "--no-sync"], folder, user)
        cluster.start()
        try:
            yield cluster
        finally:
            with contextlib.suppress(ProcessLookupError):
                cluster.signal(signal.SIGCONT)
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""What goes wrong while the calls are made: pauses, kills, and connections to the database that break."""

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import psycopg
from sqlalchemy import URL

from tests.soak.hosts import Host, signalled

_SETTLE_S: Final = 10.0


class Pace(NamedTuple):
    """How often and for how long, in seconds."""

    rest: tuple[float, float] = (2.0, 8.0)
    """Between the beginnings of two faults."""
    longest_pause: float = 15.0
    longest_cut: float = 12.0
    kills_share: float = 0.03


class Faults:
    """Breaks something now and then until it is stopped; everything is mended in the end."""

    def __init__(self, hosts: Sequence[Host], database: URL, seed: int, pace: Pace) -> None:
        """Break nothing yet.

        Args:
            hosts: Whose workers and connections.
            database: The PostgreSQL server that they share, as we reach it.
            seed: Of the choice of faults.
            pace: How often and for how long.
        """
        self.counts: Final[Counter[str]] = Counter()
        self._hosts, self._pace = hosts, pace
        self._database: Final = database.set(drivername="postgresql").render_as_string(hide_password=False)
        self._port: Final = str(database.port)
        self._server: Final = str(database.host)
        self._chance: Final = random.Random(seed)
        self._stopping: Final = threading.Event()
        self._running: list[threading.Thread] = []
        self._thread: Final = threading.Thread(target=self._run, name="faults")

    def __enter__(self) -> "Faults":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin no more faults, and wait until those that last are over."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for thread in self._running:
            thread.join()

    def _run(self) -> None:
        kinds: dict[Callable[[Host], None], float] = {
            self._pause: 0.75,
            self._terminate: 0.07,
            self._kill: self._pace.kills_share,
        }
        if all(host.namespace for host in self._hosts):
            kinds |= {self._silence: 0.08, self._reset: 0.07}
        while not self._stopping.wait(self._chance.uniform(*self._pace.rest)):
            (kind,) = self._chance.choices(list(kinds), list(kinds.values()))
            thread = threading.Thread(target=self._do, args=(kind, self._chance.choice(self._hosts)))
            thread.start()
            self._running = [each for each in self._running if each.is_alive()] + [thread]

    def _do(self, kind: Callable[[Host], None], host: Host) -> None:
        with suppress(psycopg.OperationalError):  # no connection is left for us, which is a fault too
            kind(host)

    def _pause(self, host: Host) -> None:
        workers = host.workers()
        if not workers:
            return
        pid = self._chance.choice(workers)
        if signalled(pid, signal.SIGSTOP):
            self.counts["pauses"] += 1
            # Mostly short, so that there is somebody to answer.
            self._wait(0.1 + self._chance.random() ** 5 * (self._pace.longest_pause - 0.1))
            signalled(pid, signal.SIGCONT)

    def _kill(self, host: Host) -> None:
        workers = host.workers()
        if len(workers) > 1 and signalled(self._chance.choice(workers), signal.SIGKILL):
            self.counts["kills"] += 1

    def _terminate(self, host: Host) -> None:
        """The server closes every connection of a host; without networks it cannot tell hosts apart."""
        peer = "client_addr = %(peer)s::inet" if host.namespace else "pid %% 2 = %(odd)s"
        clients = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        with psycopg.connect(self._database, autocommit=True) as connection:
            connection.execute(
                f"SELECT pg_terminate_backend(pid) {clients} AND {peer}",
                {"peer": host.address, "odd": self._chance.randrange(2)},
            )
        self.counts["cuts"] += 1

    def _silence(self, host: Host) -> None:
        """Packets between a host and the database vanish."""
        self._filtered(
            host,
            ["OUTPUT", "-p", "tcp", "-d", self._server, "--dport", self._port, "-j", "DROP"],
            ["INPUT", "-p", "tcp", "-s", self._server, "--sport", self._port, "-j", "DROP"],
        )

    def _reset(self, host: Host) -> None:
        """Whatever a host sends to the database is answered with a reset, unknown to the database."""
        rule = ["OUTPUT", "-p", "tcp", "-d", self._server, "--dport", self._port]
        self._filtered(host, [*rule, "-j", "REJECT", "--reject-with", "tcp-reset"])

    def _filtered(self, host: Host, *rules: list[str]) -> None:
        done: list[list[str]] = []
        try:
            for rule in rules:
                subprocess.run(
                    host.inside("iptables", "-w", "-I", *rule), check=True, stdout=subprocess.DEVNULL
                )
                done.append(rule)
            self.counts["cuts"] += 1
            self._wait(0.3 + self._chance.random() ** 3 * (self._pace.longest_cut - 0.3))
        finally:
            for rule in done:
                subprocess.run(host.inside("iptables", "-w", "-D", *rule), check=True)

    def _wait(self, seconds: float) -> None:
        """Until the time is over; when the run ends, no longer than it takes to see the end of it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopping.wait(min(left, _SETTLE_S)):
            pass

"""Takes away what the service stands on while clients write, gives it back, and looks whether all is well.

While an outage lasts, whatever needs the thing that is missing is answered 503 with Retry-After, in bounded
time, and everything else goes on. Afterwards the same process serves again, and nothing acknowledged is lost.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx

from tests.bulk import json_lines
from tests.chaos import client
from tests.chaos.crashes import Fault, Site, Tally, site
from tests.chaos.postgres import Cluster
from tests.chaos.servers import Servers

LONGEST_S = 40.0
"""Longest time that anybody waits for an answer, on a machine that has other things to do too."""
BACK_S = 30.0
"""Longest time until the service is itself again."""
_SMALL = 24 << 20
"""Bytes of a disk that is soon full."""


class NotHere(Exception):
    """The machine does not allow this one; the text says what is missing."""


class Probe:
    """Calls from outside of the crowd of clients, one at a time."""

    def __init__(self, place: Site) -> None:
        assert place.server is not None
        # A connection for each call: one that rests may be closed by the service just when it is used again.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=place.server.url, timeout=LONGEST_S, limits=fresh, verify=False)
        self._number = 1 << 30

    def close(self) -> None:
        self._http.close()

    def enroll(self) -> httpx.Response:
        """A new speaker, who is deleted again."""
        self._number += 1
        files = [("audio", ("recording", client.CLIPS.make(0, 0, self._number)))]
        answer = self._http.post("/enroll", files=files, data={"speaker_id": "probe"})
        if answer.is_success:
            return self._http.delete("/v1/speakers/probe")
        return answer

    def identify(self) -> httpx.Response:
        return self._http.post("/identify", content=client.CLIPS.make(0, 0, 0))

    def list(self) -> httpx.Response:
        return self._http.get("/v1/speakers")

    def alive(self) -> httpx.Response:
        return self._http.get("/healthz")

    def upload(self) -> httpx.Response:
        """An import, which is forgotten again."""
        line = {"speaker_id": "imported", "audio": client.CLIPS.make(1, 1, self._number)}
        answer = self._http.post("/v1/imports", content=json_lines(*[line] * 8))
        if answer.is_success:
            self._http.post(f"{answer.headers['location']}:cancel")
            return self._http.delete(answer.headers["location"])
        return answer


def unavailable(answer: httpx.Response) -> None:
    """Check that an answer is the refusal of an outage.

    Raises:
        Fault: It is another one.
    """
    if answer.status_code != 503 or answer.json()["code"] != "storage_unavailable":
        raise Fault(f"violation: {answer.request.url.path} says {answer.status_code} {answer.text[:300]}")
    if int(answer.headers["retry-after"]) < 1:
        raise Fault("violation: no Retry-After")


def fine(answer: httpx.Response) -> None:
    """Check that an answer is none of a failure.

    Raises:
        Fault: It is one.
    """
    if not answer.is_success:
        raise Fault(f"violation: {answer.request.url.path} says {answer.status_code} {answer.text[:300]}")


Call = Callable[[Probe], httpx.Response]
WRITES: Sequence[Call] = (Probe.enroll,)
READS: Sequence[Call] = (Probe.identify, Probe.list)


def endure(
    place: Site,
    outage: AbstractContextManager[object],
    seconds: float,
    *,
    lost: Sequence[Call],
    kept: Sequence[Call],
    wholly: bool = True,
) -> None:
    """Let clients write, begin an outage, see what is answered, end it, and see that all is as before.

    Args:
        place: Database, service and clients.
        outage: Lasts as long as it is entered.
        seconds: How long that is, at least.
        lost: Calls that cannot be answered meanwhile.
        kept: Calls that must be.
        wholly: Those that are lost are lost all the time; otherwise one may find room after all.

    Raises:
        Fault: Something was answered otherwise, or not, or is not there afterwards.
    """
    probe = Probe(place)
    with contextlib.closing(probe):
        place.signs.let(send=True)
        until(lambda: fine(probe.enroll()), BACK_S)
        with outage:
            began = time.monotonic()
            until(lambda: unavailable(lost[0](probe)), LONGEST_S)
            while time.monotonic() - began < seconds:
                for call in lost:
                    answer = call(probe)
                    if wholly or not answer.is_success:
                        unavailable(answer)
                for call in (*kept, Probe.alive):
                    fine(call(probe))
        for call in (*lost, *kept, Probe.alive):
            until(lambda call=call: fine(call(probe)), BACK_S)
        assert place.server is not None
        if place.server.ended(0) is not None:
            raise Fault("violation: the service has ended")
    place.end(Tally())


def until(holds: Callable[[], None], longest_s: float) -> None:
    """Wait until a check holds.

    Raises:
        Fault: It never does.
    """
    deadline = time.monotonic() + longest_s
    while True:
        try:
            return holds()
        except (Fault, httpx.ConnectError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


# ---------------------------------------------------------------- what happens


@contextlib.contextmanager
def gone(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL is stopped, and started again."""
    cluster.stop()
    try:
        yield
    finally:
        cluster.start()


@contextlib.contextmanager
def silent(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL is there and says nothing."""
    processes = cluster.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        cluster.wait()


@contextlib.contextmanager
def for_reading_only(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL takes no changes, as one that has become a replica."""
    cluster.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    cluster.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        with cluster.connect("postgres") as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        cluster.execute("SELECT pg_reload_conf()")


def cut(cluster: Cluster, times: int) -> None:
    """Cut every connection, again and again."""
    for _ in range(times):
        cluster.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname LIKE 'chaos%' AND pid <> pg_backend_pid()"
        )
        time.sleep(0.1)


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process writes into the SQLite file and does not end."""
    held = sqlite3.connect(database, isolation_level=None, timeout=60)
    held.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        held.execute("ROLLBACK")
        held.close()


@contextlib.contextmanager
def unchangeable(folder: Path) -> Iterator[None]:
    """A SQLite database and its log can be written no more, through files that are open either.

    Its third file, -shm, is memory that processes share: where that cannot be written, the system itself ends
    the process (SIGBUS), as docs/failures.md says.
    """
    files = [str(path) for path in folder.iterdir() if path.is_file() and path.suffix != ".db-shm"]
    _allowed(["chattr", "+i", *files], "files cannot be made immutable here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


@contextlib.contextmanager
def small_disk(owner: str | None = None) -> Iterator[Path]:
    """A disk of a few megabytes, in memory.

    Raises:
        NotHere: Nothing may be mounted.
    """
    folder = Path(tempfile.mkdtemp(prefix="timbre-disk-"))
    _allowed(
        ["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "tmpfs", str(folder)], "nothing may be mounted here"
    )
    try:
        inside = folder / "data"
        inside.mkdir(mode=0o700)
        if owner is not None:
            subprocess.run(["chown", "-R", owner, str(folder)], check=True)
        yield inside
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """A disk without a free byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    try:
        yield
    finally:
        filler.unlink()


def _allowed(command: Sequence[str], otherwise: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        raise NotHere(otherwise) from problem


# ---------------------------------------------------------------- the outages, by name


def on_sqlite(name: str, parent: Servers, seconds: float, seed: int) -> None:
    """One outage of a service on SQLite."""
    with ExitStack() as stack:
        if name == "disk full":
            disk = stack.enter_context(small_disk())
            place = stack.enter_context(site(parent, seed, place=disk))
            endure(place, full(disk), seconds, lost=WRITES, kept=READS)
        elif name == "jobs folder full":
            disk = stack.enter_context(small_disk())
            place = stack.enter_context(site(parent, seed, jobs_dir=disk / "jobs", job_workers=0))
            endure(place, full(disk), seconds, lost=(Probe.upload,), kept=(*READS, *WRITES))
        elif name == "locked":
            place = stack.enter_context(site(parent, seed))
            endure(place, locked(place.folder / "timbre.db"), seconds, lost=WRITES, kept=READS)
        elif name == "read-only":
            place = stack.enter_context(site(parent, seed, place=stack.enter_context(_folder())))
            database = Path(str(place.engine.url.database))
            endure(place, unchangeable(database.parent), seconds, lost=WRITES, kept=READS)
        else:
            raise ValueError(name)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="timbre-chaos-") as folder:
        yield Path(folder)


def on_postgresql(name: str, parent: Servers, cluster: Cluster, seconds: float, seed: int) -> None:
    """One outage of a service on PostgreSQL."""
    with ExitStack() as stack:
        if name == "disk full":
            disk = stack.enter_context(small_disk(cluster.user))
            cluster.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            stack.callback(cluster.execute, "DROP TABLESPACE small")
            place = stack.enter_context(site(parent, seed, cluster, tablespace="small"))
            # It clears dead rows out of its pages, and then one more fits in.
            endure(place, full(disk), seconds, lost=WRITES, kept=READS, wholly=False)
            return
        place = stack.enter_context(site(parent, seed, cluster))
        if name == "gone":
            endure(place, gone(cluster), seconds, lost=(*WRITES, *READS), kept=())
        elif name == "silent":
            endure(place, silent(cluster), seconds, lost=(*WRITES, *READS), kept=())
        elif name == "read-only":
            endure(place, for_reading_only(cluster), seconds, lost=WRITES, kept=READS)
        elif name == "connections cut":
            place.signs.let(send=True)
            cut(cluster, max(3, int(seconds * 10)))
            place.end(Tally())
        else:
            raise ValueError(name)


SQLITE = ("disk full", "jobs folder full", "locked", "read-only")
POSTGRESQL = ("gone", "silent", "read-only", "connections cut", "disk full")

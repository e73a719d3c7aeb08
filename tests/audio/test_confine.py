"""What a decoder can still do once it is confined, asked of a real one that tries."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.audio import nursery
from app.audio.nursery import Nursery
from app.audio.workers import DecoderPool, _WorkerLost
from tests.audio.prober import ATTEMPTS
from tests.speech import clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and Landlock are Linux's")

BY_LANDLOCK = {
    *("read a file", "list a folder", "write a file", "remove a file", "run a program"),
    "read the server's environment",
    *("connect by TCP", "connect to an abstract socket", "signal the server"),
}
BY_LIMITS = {
    "take more memory",
    "open a socket",
    "open a pipe",
    "read a file",
    "list a folder",
    "write a file",
}


@contextmanager
def prober(name: str = "main") -> Iterator[DecoderPool]:
    born = Nursery(f"tests.audio.prober:{name}")
    pool = DecoderPool(1, 20.0, 1.0, nursery=born)
    try:
        yield pool
    finally:
        pool.close()
        born.close()


def ask(pool: DecoderPool, order: str) -> str:
    (worker,) = pool._all
    return str(worker.ask(order.encode()))


def refused(pool: DecoderPool, attempts: Iterable[str] = ATTEMPTS) -> set[str]:
    return {order for order in attempts if ask(pool, order) != "done"}


def descriptors(pid: int) -> dict[str, str]:
    return {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.fixture(scope="module")
def confined() -> Iterator[DecoderPool]:
    with prober() as pool:
        yield pool


@pytest.mark.parametrize("order", ATTEMPTS)
def test_it_cannot(confined: DecoderPool, order: str) -> None:
    assert confined.in_force["seccomp"], "this kernel has no seccomp"
    otherwise = {"take more memory": "MemoryError", "raise the limit of memory": "ValueError"}
    assert ask(confined, order) == otherwise.get(order, "EPERM")


def test_it_has_one_socket_and_three_descriptors_to_nowhere(confined: DecoderPool) -> None:
    (pid,) = confined.pids
    opened = descriptors(pid)
    assert set(opened) == {"0", "1", "2", "3"}
    assert {opened[number] for number in "012"} == {"/dev/null"}
    assert opened["3"].startswith("socket:")


def test_landlock_by_itself() -> None:
    with prober("landlock") as pool:
        if pool.in_force["landlock"] < 6:
            pytest.skip("this kernel has no Landlock of version 6")
        assert "seccomp" not in pool.in_force
        assert refused(pool) - {"look into the server"} == BY_LANDLOCK


def test_seccomp_by_itself() -> None:
    with prober("seccomp") as pool:
        assert "landlock" not in pool.in_force
        # Memory is a matter of the limits; the other limits it cannot even ask for.
        assert refused(pool) == set(ATTEMPTS) - {"take more memory"}


def test_limits_by_themselves() -> None:
    with prober("limits") as pool:
        assert refused(pool, BY_LIMITS) == BY_LIMITS


def test_time_on_the_processor_is_limited_recording_by_recording() -> None:
    born = Nursery("tests.audio.prober:main")
    pool = DecoderPool(1, 1.0, 1.0, nursery=born)
    try:
        (worker,) = pool._all
        worker._timeout_s = 60.0  # so that it is not the clock on the wall that ends it
        with pytest.raises(_WorkerLost, match="crashes"):
            worker.ask(b"compute")
    finally:
        pool.close()
        born.close()


def test_no_secret_and_no_descriptor_of_the_server_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRE_MASTER_KEY", "c2VjcmV0")
    monkeypatch.setenv("TIMBRE_DATABASE_URL", "postgresql://timbre:secret@db/timbre")
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    with socket.create_server(("127.0.0.1", 0)) as listening, Path("/etc/passwd").open("rb") as file:
        os.set_inheritable(listening.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        pool = DecoderPool(2, 20.0, 5.0)
        try:
            born = pool._nursery._process
            assert born is not None
            for pid in (born.pid, *pool.pids):
                environment = Path(f"/proc/{pid}/environ").read_bytes()
                assert b"NUMBA" in environment or b"OPENBLAS_NUM_THREADS=1" in environment
                assert not [
                    word for word in (b"TIMBRE", b"POSTGRES", b"ecret", b"c2Vjcm") if word in environment
                ]
                links = descriptors(pid).values()
                assert len([link for link in links if link.startswith("socket:")]) == 1
                assert {link for link in links if not link.startswith("socket:")} == {"/dev/null"}
                assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
        finally:
            pool.close()


_SERVER = """
import os, sys
from app.audio.workers import DecoderPool
pool = DecoderPool(2, 20.0, 5.0)
print(pool._nursery._process.pid, *pool.pids, flush=True)
sys.stdin.read()
"""


def test_decoders_end_with_a_server_that_is_killed() -> None:
    root = str(Path(__file__).resolve().parents[2])
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True
    )
    with server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == 3
        server.kill()
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "they live on"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_when_the_process_that_decoders_are_born_in_dies_it_is_started_again() -> None:
    pool = DecoderPool(1, 20.0, 20.0)
    try:
        first = pool._nursery._process
        assert first is not None
        old = pool.pids
        first.kill()
        first.wait()
        deadline = time.monotonic() + 10
        while any(map(alive, old)):
            assert time.monotonic() < deadline, "the decoder outlives it"
            time.sleep(0.02)
        assert pool.prepare(clip("ada")).report.speech_s > 1
        assert not old & pool.pids
    finally:
        pool.close()


def test_a_server_can_fork_its_nursery_from_one_that_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    warm = Nursery()
    monkeypatch.setattr(nursery, "PARENT", warm)
    try:
        pools = [DecoderPool(1, 20.0, 20.0) for _ in range(2)]
        try:
            assert all(pool.prepare(clip("ada")).report.speech_s > 1 for pool in pools)
            assert pools[0]._nursery._process is None
        finally:
            for pool in pools:
                pool.close()
    finally:
        warm.close()

"""Hosts: each a server of several processes, in a network of its own or on a port of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from app.cli.process import free_port

_ROOT: Final = Path(__file__).resolve().parents[2]
_START_S: Final = 300.0


class NoNetworks(Exception):
    """This machine or this account cannot make network namespaces; the text says why."""


@dataclass
class Host:
    """One server: its parent process, its workers, and the address that clients reach it at."""

    name: str
    address: str
    port: int
    log: Path
    namespace: str | None = None
    """The network namespace that it lives in; None is our own."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self.address}:{self.port}"

    def inside(self, *command: str) -> list[str]:
        """A command as it runs in the host's network."""
        return ["ip", "netns", "exec", self.namespace, *command] if self.namespace else list(command)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the server; `wait` tells when it serves."""
        given = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRE_")}
        own = {"TIMBRE_HOST": self.address, "TIMBRE_PORT": str(self.port)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.inside(sys.executable, "-m", "app.cli", "serve"),
                cwd=self.log.parent,  # where no .env lies
                env={**given, "PYTHONPATH": str(_ROOT), **environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, workers: int) -> None:
        """Wait until all workers serve.

        Raises:
            RuntimeError: It ended, or takes too long.
        """
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended:\n{self.log.read_text()[-2000:]}")
            started = self.log.read_text(errors="replace").count("Application startup complete")
            if started >= workers and self._ready():
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not start:\n{self.log.read_text()[-2000:]}")

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def workers(self) -> list[int]:
        """Process ids of the workers, the oldest first."""
        if self.process is None:
            return []
        return [pid for pid in children(self.process.pid) if b"spawn_main" in _file(pid, "cmdline")]

    def stop(self) -> float:
        """End it as an operator does; returns how long that took, in seconds."""
        if self.process is None:
            return 0.0
        begun = time.monotonic()
        for pid in self.workers():
            signalled(pid, signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        return time.monotonic() - begun


def children(pid: int) -> list[int]:
    """Process ids of the direct children, the oldest first."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def left_over(hosts: Sequence[Host]) -> int:
    """Processes of hosts that were stopped; a moment is granted to those that are about to end."""
    for _ in range(50):
        found = sum(len(_remaining(host)) for host in hosts)
        if not found:
            return 0
        time.sleep(0.2)
    return found


def _remaining(host: Host) -> list[int]:
    """The processes in a host's network; without one, those of the server's session."""
    if host.namespace is not None:
        found = subprocess.run(
            ["ip", "netns", "pids", host.namespace], check=True, capture_output=True, text=True
        )
        return [int(pid) for pid in found.stdout.split()]
    session = host.process.pid if host.process is not None else 0
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
    # The fields behind the name, which may hold anything, are: state, parent, group, session.
    stats = {pid: _file(pid, "stat").rpartition(b")")[2].split() for pid in pids}
    return [pid for pid, fields in stats.items() if len(fields) > 3 and int(fields[3]) == session]


def resident_mb(pid: int) -> float:
    """Memory of a process without its children, in MB; 0 of one that is gone."""
    pages = _file(pid, "statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if pages else 0.0


def signalled(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when nobody is there any more."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _file(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


# ---------------------------------------------------------------- networks


def why_no_networks() -> str | None:
    """What is missing here for hosts in networks of their own; None when nothing is."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    missing = [program for program in ("ip", "iptables") if shutil.which(program) is None]
    if missing:
        return f"no {' and no '.join(missing)} here (packages iproute2 and iptables)"
    try:
        with bridged(1) as (_, (host,)):
            _ip("-n", host.namespace or "", "link", "show")
            subprocess.run(host.inside("iptables", "-S"), check=True, capture_output=True)
    except subprocess.CalledProcessError as problem:
        return f"this account may not make network namespaces ({problem.stderr.decode().strip()})"
    return None


@contextmanager
def bridged(count: int, folder: Path | None = None) -> Iterator[tuple[str, list[Host]]]:
    """Hosts in network namespaces, joined by a bridge; yields the bridge's own address and the hosts."""
    tag = f"{os.getpid() % 100_000:05d}"
    net = f"10.213.{os.getpid() % 250}"
    bridge = f"tmb{tag}"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        hosts = []
        for number in range(count):
            name, outer, address = f"tmb{tag}-{number}", f"tmb{tag}v{number}", f"{net}.{number + 2}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", outer, "master", bridge)
            _ip("link", "set", outer, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")
            hosts.append(
                Host(f"host-{number}", address, 8000, (folder or Path()) / f"host-{number}.log", name)
            )
        yield f"{net}.1", hosts


@contextmanager
def on_ports(count: int, folder: Path) -> Iterator[tuple[str, list[Host]]]:
    """The same on one address with a port for each, where networks cannot be made."""
    ports = [free_port() for _ in range(count)]
    yield (
        "127.0.0.1",
        [
            Host(f"host-{number}", "127.0.0.1", port, folder / f"host-{number}.log")
            for number, port in enumerate(ports)
        ],
    )


@contextmanager
def serving(hosts: Sequence[Host], environment: Mapping[str, str], workers: int) -> Iterator[None]:
    """All hosts at work, each with its number of workers, until the block ends."""
    with contextlib.ExitStack() as stack:
        for host in hosts:
            ledger = {"TIMBRE_ERASURE_LEDGER": str(host.log.with_suffix(".erasures"))}
            host.start({**environment, **ledger, "TIMBRE_WORKERS": str(workers)})
            stack.callback(host.stop)
        for host in hosts:
            host.wait(workers)
        yield


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)

"""Kills the service again and again while clients write, and looks each time at what is left.

    python -m tests.chaos.crashes --kills 1000 --database both

Each kill is a kill -9 at a random moment or at a failpoint: of the service, of its decoders too, or of
PostgreSQL. After it the rows are held against the ledger of the clients, and what the service then says, too.
"""

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine
from tqdm import tqdm

from app.failpoints import POINTS
from app.settings import Settings
from app.store import Repository, Vault, make_engine, upgrade
from tests.chaos import client, state
from tests.chaos.ledger import Read, faults
from tests.chaos.postgres import Cluster, safe_cluster
from tests.chaos.servers import Server, Servers, servers
from tests.served import MASTER_KEY, settings_for
from tests.tiny import write_tiny_model

_MOST_LINES = 24
"""The service is killed after at most so many lines of the ledger: intents and answers."""
_LAST_S = 0.04
"""And within this time of the last of them, in seconds."""
_POINT_S = 20.0
"""Longest wait for a failpoint to be reached."""
_KILLS_A_DATABASE = 50
"""Then a new one is begun, so that looking at everything stays quick."""
_LINE_BYTES = 250
"""Of the ledger, about."""
_FOCUS = {"enroll": "append", "replay": "append", "take_back": "take_back", "opt_out": "opt_out"}


class Fault(Exception):
    """Something acknowledged is lost, half written, double or back."""


@dataclass
class Tally:
    """What a run comes to."""

    kills: Counter[str] = field(default_factory=Counter)
    """By database."""
    points: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    """What was killed."""
    acknowledged: int = 0
    replayed: int = 0
    found: int = 0
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The figures."""
        kinds = Counter(fault.split(":")[0] for fault in self.faults)
        killed = ", ".join(f"{kills} kills on {database}" for database, kills in self.kills.items())
        points = ", ".join(f"{number} on {database}" for database, number in self.points.items())
        return (
            f"chaos: {killed} (failpoints: {points}; PostgreSQL itself {self.ways['postgresql']}); "
            f"{self.acknowledged:,} acknowledged, {self.replayed:,} answers repeated, {kinds['lost']} lost, "
            f"{kinds['half']} half written, {kinds['double']} doubles, {kinds['back']} back from the dead, "
            f"{kinds['strange'] + kinds['violation']} other faults"
        )


@dataclass
class Plan:
    """One kill."""

    point: str | None = None
    """A failpoint, or a random moment."""
    arrival: int = 1
    way: str = "service"
    """`service`, `decoders` (with it), `postgresql` (alone) or `both`."""

    @property
    def order(self) -> str | None:
        """What the service is armed with."""
        return None if self.point is None else f"{self.point}=kill@{self.arrival}"


def plans(kind: str, kills: int, dice: random.Random, points: Sequence[str]) -> list[Plan]:
    """So many kills at random moments, and one or more at each failpoint, in a random order."""
    ways = ["service"] * 6 + ["decoders"] * 2 + (["postgresql", "both"] if kind == "postgresql" else [])
    found = [Plan(way=dice.choice(ways)) for _ in range(kills)]
    for point in points:
        found.insert(dice.randrange(len(found) + 1), Plan(point, dice.choice((1, 1, 2, 3))))
    return found


class Site:
    """A database, the clients on it, and the service between the two."""

    def __init__(
        self, folder: Path, url: str, cluster: Cluster | None, parent: Servers, seed: int, **settings: Any
    ) -> None:
        self.folder, self._cluster, self._parent, self._seed = folder, cluster, parent, seed
        write_tiny_model(folder / "models" / "tiny")
        chosen: dict[str, Any] = {
            "jobs_dir": folder / "jobs",
            "migrate_on_start": False,
            "idempotency_lease_s": 0.4,
            "min_speech_s": 0.2,
            "required_speech_s": 0.3,
            "inconsistent": "allow",
            "same_voice": "allow",
            "several_voices": "allow",
            "lockout_after": 0,
            "sweep_s": 1.0,
        }
        self.settings: Settings = settings_for(folder / "models", url, **chosen | settings)
        self.vault = Vault.load(folder / "unused", MASTER_KEY)
        upgrade(url, self.vault)
        self.engine: Engine = make_engine(url)
        self.signs = parent.signs
        self._ledger, self._place, self._read = folder / "ledger", 0, Read()
        self.server: Server | None = None
        self._state = state.State()
        self._entries = 0
        self._armed: str | None = None
        self._clients: Server | None = None

    # ------------------------------------------------------------ the course of things

    def begin(self) -> None:
        """Start clients, which wait, and the first server."""
        self._ledger.touch()
        self._clients = self._parent.clients(self.folder / "clients.log", self._ledger, self._seed)
        self.up()

    def up(self, failpoints: str | None = None) -> None:
        """Start a server and wait until it answers."""
        log = self.folder / "service.log"
        self.server = self._parent.start(self.settings.model_copy(update={"failpoints": failpoints}), log)
        self._armed = failpoints
        if not self._parent.up(self.server):
            how = self.server.ended(0.0)
            raise Fault(f"violation: the service ends with {how} at its start: {log.read_text()[-1500:]}")

    def once(self, plan: Plan, then: Plan, dice: random.Random) -> None:
        """Let the clients write, kill, look, start again as the next one wants it, look again."""
        assert self.server is not None
        if plan.order != self._armed:
            self.server.kill(self._parent.decoders())
            self.up(plan.order)
        focus = -1
        if plan.point is not None:
            focus = client.KINDS.index(_FOCUS.get(plan.point.split(".")[0], "delete"))
        before = self._parent.decoders()
        self.signs.let(send=True, focus=focus)
        if plan.point is not None:
            if self.server.ended(_POINT_S) != -9:
                raise Fault(f"violation: nobody came to {plan.point}")
        else:
            self._wait_for(dice.randrange(_MOST_LINES))
            time.sleep(dice.uniform(0.0, _LAST_S))
            self._kill(plan)
        self.signs.let(send=False)
        self._quiet()
        self._gone(before, plan)
        if plan.way in {"postgresql", "both"}:
            assert self._cluster is not None
            self._cluster.start()
        if plan.way != "postgresql":
            self._look()
            # Looking passes that point, too.
            self.up(None if then.point == "enroll.decoded" else then.order)
        self._look()
        self._ask()

    def _wait_for(self, lines: int) -> None:
        """Wait until the clients have written so many more lines, or for a second where they must wait."""
        deadline, least = time.monotonic() + 1.0, self._ledger.stat().st_size + lines * _LINE_BYTES
        while self._ledger.stat().st_size < least and time.monotonic() < deadline:
            time.sleep(0.002)

    def forget(self, speaker_id: str) -> None:
        """Delete a speaker whom the clients do not know."""
        assert self.server is not None
        httpx.delete(f"{self.server.url}/v1/speakers/{speaker_id}", timeout=30).raise_for_status()

    def _kill(self, plan: Plan) -> None:
        assert self.server is not None
        if plan.way in {"postgresql", "both"}:
            assert self._cluster is not None
            self._cluster.kill()
        if plan.way == "postgresql":
            time.sleep(0.05)  # so that some find nobody there
        else:
            self.server.kill(self._parent.decoders() if plan.way == "decoders" else ())

    def _gone(self, decoders: set[int], plan: Plan) -> None:
        """Decoders whose server was killed end by themselves."""
        if plan.way == "postgresql":
            return
        deadline = time.monotonic() + 10
        while left := decoders & self._parent.decoders():
            if time.monotonic() > deadline:
                raise Fault(f"violation: decoders {left} outlive their server")
            time.sleep(0.002)

    def _quiet(self) -> None:
        """Wait until no request is on its way."""
        deadline = time.monotonic() + 60
        while not self.signs.quiet:
            if time.monotonic() > deadline:
                raise Fault("violation: a request hangs")
            time.sleep(0.002)

    # ------------------------------------------------------------ looking

    def _look(self) -> None:
        """Hold the rows against the ledger."""
        self._place = self._read.take(self._ledger, self._place)
        found = state.read(self.engine, self.vault, self._entries)
        found.entries = self._state.entries + found.entries
        self._entries = len(found.entries)
        ops = list(self._read.ops.values())
        wrong = [*self._read.notes["violation"], *found.faults, *faults(ops, found.clips)]
        wrong += state.doubles(ops, found.entries, found.names)
        wrong += state.integrity(self.engine)
        for model, version in self._state.versions.items():
            if found.versions.get(model, -1) < version:
                wrong.append(f"lost: gallery {model} went back from {version} to {found.versions.get(model)}")
        if files := [path.name for path in self.settings.jobs_dir.glob("*")]:
            wrong.append(f"half: files of jobs {files}")
        self._state = found
        if wrong:
            raise Fault("\n".join(wrong))

    def _ask(self) -> None:
        """Hold what the service says against the rows."""
        assert self.server is not None
        with httpx.Client(base_url=self.server.url, timeout=30, verify=False) as asking:
            found = asking.post("/identify", content=client.CLIPS.make(0, 0), params={"top_k": 100})
            listed = asking.get("/v1/speakers", params={"limit": 1000})
        if found.status_code != 200 or listed.status_code != 200:
            raise Fault(f"violation: {found.status_code} {listed.status_code} {found.text[:500]}")
        known = {each["speaker_id"] for each in found.json()["candidates"]}
        enrolled = {name for name, speech_s in self._state.speech_s.items() if speech_s >= 0.3}
        there = {each["speaker_id"] for each in listed.json()["speakers"]}
        if known != enrolled:
            raise Fault(f"back: the index finds {known - enrolled}; lost: not {enrolled - known}")
        if there != set(self._state.clips):
            raise Fault(f"back: the list has {there - set(self._state.clips)} or lacks the contrary")

    def end(self, tally: Tally) -> None:
        """Let every request be answered, and look at everything once more."""
        self.signs.let(send=True, rest=True)
        deadline = time.monotonic() + 60
        while not self.signs.all_rest:
            self._place = self._read.take(self._ledger, self._place)
            if self._read.notes["violation"] or time.monotonic() > deadline:
                raise Fault(
                    "\n".join(self._read.notes["violation"]) or "violation: requests are never answered"
                )
            time.sleep(0.01)
        self._look()
        if open_ops := [op.op_id for op in self._read.ops.values() if op.ended is None]:
            raise Fault(f"violation: {open_ops} were never answered")
        wrong = list(state.chain(Repository(self.engine, self.vault)))
        if self._cluster is not None and (found := self._cluster.check(str(self.engine.url.database))):
            wrong.append(f"half: pg_amcheck says {found}")
        log = (self.folder / "service.log").read_text()
        if '"event": "failure"' in log or "Traceback" in log:
            wrong.append(f"violation: the service has failed: {log[-3000:]}")
        self.count(tally)
        if wrong:
            raise Fault("\n".join(wrong))

    def count(self, tally: Tally) -> None:
        """Add what the clients were told."""
        tally.acknowledged += sum(op.done for op in self._read.ops.values())
        tally.replayed += len(self._read.notes["replayed"])
        tally.found += len(self._read.notes["found"])

    def close(self) -> None:
        """Leave nothing running."""
        self.signs.end()
        if self.server is not None:
            self.server.kill(self._parent.decoders())
        if self._clients is not None:
            self._clients.kill()
        self.engine.dispose()


@contextlib.contextmanager
def site(
    parent: Servers,
    seed: int,
    cluster: Cluster | None = None,
    *,
    place: Path | None = None,
    tablespace: str = "pg_default",
    **settings: Any,
) -> Iterator[Site]:
    """A fresh database with clients and a service; SQLite's lies in `place`, PostgreSQL's in `tablespace`."""
    folder = Path(tempfile.mkdtemp(prefix="timbre-chaos-"))
    url = f"sqlite:///{(place or folder) / 'timbre.db'}"
    if cluster is not None:
        cluster.execute(f"CREATE DATABASE chaos_{seed} TABLESPACE {tablespace}")
        url = cluster.url(f"chaos_{seed}")
    found = Site(folder, url, cluster, parent, seed, **settings)
    try:
        found.begin()
        yield found
    except Fault:
        kept = folder.with_name(f"{folder.name}-kept")
        shutil.copytree(folder, kept)
        print(f"kept: {kept}", file=sys.stderr)
        raise
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)
        if cluster is not None:
            cluster.execute(f"DROP DATABASE IF EXISTS chaos_{seed} WITH (FORCE)")


def run(
    plans: Sequence[Plan],
    seed: int,
    tally: Tally,
    parent: Servers,
    cluster: Cluster | None = None,
    **bar: Any,
) -> None:
    """Carry the kills out on one kind of database, and count.

    Raises:
        Fault: Something is not as it was acknowledged.
    """
    kind, dice = "sqlite" if cluster is None else "postgresql", random.Random(seed)
    with tqdm(total=len(plans), desc=kind, **bar) as progress:
        for start in range(0, len(plans), _KILLS_A_DATABASE):
            now = plans[start : start + _KILLS_A_DATABASE]
            with site(parent, seed * 10_000 + start, cluster) as place:
                for plan, then in zip(now, [*now[1:], Plan()], strict=True):
                    place.once(plan, then, dice)
                    tally.kills[kind] += plan.point is None
                    tally.points[kind] += plan.point is not None
                    tally.ways["postgresql"] += plan.way in {"postgresql", "both"}
                    progress.update()
                place.end(tally)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000, help="at random moments, on each database")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left running
    tally = Tally()
    with contextlib.ExitStack() as stack:
        parent = stack.enter_context(servers())
        for kind in ["sqlite", "postgresql"] if chosen.database == "both" else [chosen.database]:
            cluster = stack.enter_context(safe_cluster()) if kind == "postgresql" else None
            todo = plans(kind, chosen.kills, random.Random(chosen.seed), sorted(POINTS))
            try:
                run(todo, chosen.seed, tally, parent, cluster)
            except Fault as fault:
                print(fault, file=sys.stderr)
                tally.faults += str(fault).splitlines()
    print(tally.line())
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())

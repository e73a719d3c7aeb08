"""`python -m tests.soak.run`: many processes on several hosts, one PostgreSQL, and everything that can break.

Ends with one line of figures, and with exit code 1 when anything in it must not be.
"""

import argparse
import base64
import itertools
import json
import multiprocessing
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from sqlalchemy import make_url
from tqdm import tqdm

from app.scoring import centroid
from app.service.access import make_key
from app.store import Repository, Vault, make_engine, upgrade
from app.store.records import StoredSpeaker
from tests.postgres import cluster
from tests.soak.client import VOICES, Client, Tally
from tests.soak.faults import Faults
from tests.soak.history import Board, Slot, Verdict, judged
from tests.soak.hosts import Host, bridged, left_over, on_ports, serving, why_no_networks
from tests.soak.report import Findings, Plan
from tests.soak.watch import Watch
from tests.tiny import write_tiny_model

_MASTER_KEY: Final = base64.b64encode(bytes(range(32))).decode()
_VAULT: Final = Vault.load(Path("unused"), _MASTER_KEY)
_CALM_S: Final = 90.0
"""Longest time until everything serves again after the last fault."""
_LOOK_S: Final = 5.0
_FEW: Final = 200


def soak(plan: Plan, *, quiet: bool = False) -> Findings:
    """Run it.

    Args:
        plan: How long and how hard.
        quiet: Show no progress.

    Returns:
        What it has shown.
    """
    with ExitStack() as stack:
        folder = plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timbre-soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        joined = bridged(plan.hosts, folder) if plan.networks else on_ports(plan.hosts, folder)
        server, hosts = stack.enter_context(joined)
        trusted = f"{server.rsplit('.', 1)[0]}.0/24"
        # As many connections as PostgreSQL allows when nobody has said otherwise.
        database = stack.enter_context(
            cluster(["fsync=off", "max_connections=100"], listen=server, trusted=trusted)
        )
        keys = _prepared(database, folder, plan.tenants)
        with serving(hosts, _environment(database, folder), plan.workers):
            findings = _disturbed(plan, hosts, database, keys, quiet)
        return replace(findings, left_over=left_over(hosts))


def _prepared(database: str, folder: Path, tenants: int) -> list[str]:
    """A model, an empty schema, and an API key for each tenant, which are returned."""
    write_tiny_model(folder / "models" / "tiny")
    upgrade(database, _VAULT)
    with _repository(database) as repository:
        return [make_key(repository, f"tenant-{number}", ["admin"]).token for number in range(tenants)]


def _environment(database: str, folder: Path) -> dict[str, str]:
    return {
        "TIMBRE_DATABASE_URL": database,
        "TIMBRE_MODELS_DIR": str(folder / "models"),
        "TIMBRE_MODEL": "tiny",
        "TIMBRE_DIGIT_MODEL": "None",
        "TIMBRE_PROVIDER": "cpu",
        "TIMBRE_MASTER_KEY": _MASTER_KEY,
        "TIMBRE_JOBS_DIR": str(folder / "jobs"),
        "TIMBRE_INFERENCE_WORKERS": "1",
        "TIMBRE_REQUIRED_SPEECH_S": "0.4",
        "TIMBRE_INCONSISTENT": "allow",
        "TIMBRE_SAME_VOICE": "allow",
        "TIMBRE_SEVERAL_VOICES": "allow",
        "TIMBRE_LOCKOUT_AFTER": "0",
        # Clients that wait for a lock are no load to be shed.
        "TIMBRE_RECORDINGS_AT_ONCE": "8",
        "TIMBRE_RECORDINGS_WAITING": "32",
        "OMP_NUM_THREADS": "1",
    }


def _disturbed(
    plan: Plan, hosts: Sequence[Host], database: str, keys: Sequence[str], quiet: bool
) -> Findings:
    """Calls with faults, then calls without, then what is left of it all."""
    boards = [Board(tenant, plan.speakers, plan.budget, VOICES) for tenant in range(plan.tenants)]
    tally, calm = Tally(), Tally()
    watch = Watch(
        hosts, make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    )
    begun = time.monotonic()
    with Faults(hosts, make_url(database), plan.seed, plan.pace) as faults:
        _calls(_clients(plan, hosts, keys, boards, tally), plan.calls, tally, watch, quiet)
    not_serving = _settled(hosts, plan.workers)
    _calls(_clients(plan, hosts, keys, boards, calm, patient=True), plan.calm_calls, calm, watch, quiet)
    seconds = time.monotonic() - begun
    slots = [slot for board in boards for slot in board.slots]
    if plan.folder is not None:
        (plan.folder / "histories.pickle").write_bytes(pickle.dumps(slots))
    return Findings(
        plan=plan,
        tally=tally,
        calm=calm,
        faults=dict(faults.counts),
        verdicts=_judged(slots, quiet),
        in_sql=_wrong_in_sql(database, plan.tenants),
        seconds=seconds,
        most_connections=watch.most_connections,
        connections_left=watch.connections(),
        memory_mb=watch.growth(),
        not_serving=not_serving,
        left_over=0,
    )


def _clients(
    plan: Plan,
    hosts: Sequence[Host],
    keys: Sequence[str],
    boards: Sequence[Board],
    tally: Tally,
    *,
    patient: bool = False,
) -> list[Client]:
    """Clients of all hosts and all tenants in turn."""
    ways = itertools.islice(itertools.cycle(itertools.product(range(len(hosts)), boards)), plan.clients)
    return [
        Client(
            hosts, home, keys[board.tenant], board, tally, f"{plan.seed} {number} {patient}", patient=patient
        )
        for number, (home, board) in enumerate(ways)
    ]


def _judged(slots: Sequence[Slot], quiet: bool) -> list[Verdict]:
    """Every history's verdict, worked out by all cores where it is worth their start."""
    if len(slots) < _FEW:
        return [judged(slot) for slot in slots]
    with multiprocessing.get_context("spawn").Pool() as pool:
        found = pool.imap(judged, slots, chunksize=4)
        return list(tqdm(found, "histories", len(slots), mininterval=5, disable=quiet))


def _calls(clients: Sequence[Client], calls: int, tally: Tally, watch: Watch, quiet: bool) -> None:
    """All clients at work until they have made this many calls."""
    threads = [threading.Thread(target=client.run, args=(calls,)) for client in clients]
    with tqdm(total=calls, unit="call", mininterval=5, disable=quiet) as progress:
        try:
            for thread in threads:
                thread.start()
            while working := [thread for thread in threads if thread.is_alive()]:
                watch.look()
                progress.update(tally.calls - progress.n)
                working[0].join(_LOOK_S)
        except BaseException as stopped:  # the keyboard's, most likely
            tally.died.append(stopped)
        progress.update(tally.calls - progress.n)
    if tally.died:
        raise tally.died[0]


def _settled(hosts: Sequence[Host], workers: int) -> list[str]:
    """What does not serve again, a while after the last fault."""
    deadline, missing = time.monotonic() + _CALM_S, ["nothing was looked at"]
    while missing and time.monotonic() < deadline:
        time.sleep(1.0)
        missing = [f"{host.name}: {problem}" for host in hosts if (problem := _problem(host, workers))]
    return missing


def _problem(host: Host, workers: int) -> str | None:
    if len(host.workers()) != workers:
        return f"{len(host.workers())} workers"
    for _ in range(4 * workers):  # whichever worker takes it
        try:
            answer = httpx.get(f"{host.url}/readyz", timeout=10)
        except httpx.HTTPError as problem:
            return type(problem).__name__
        if answer.status_code != 200:
            return answer.text[:300]
    return None


@contextmanager
def _repository(database: str) -> Iterator[Repository]:
    engine = make_engine(database)
    try:
        yield Repository(engine, _VAULT)
    finally:
        engine.dispose()


def _wrong_in_sql(database: str, tenants: int) -> list[str]:
    """Centroids that are not the mean of the rows, counts that are not theirs, a log with a gap."""
    wrong = []
    with _repository(database) as repository:
        for tenant in [f"tenant-{number}" for number in range(tenants)]:
            for speaker in repository.list_speakers(tenant, limit=1000).speakers:
                wrong += _wrong_with(repository, tenant, speaker)
            if repository.check_audit(tenant).broken_at is not None:
                wrong.append(f"the audit log of {tenant} is broken")
    return wrong


def _wrong_with(repository: Repository, tenant: str, speaker: StoredSpeaker) -> list[str]:
    wrong, name = [], speaker.speaker_id
    rows = repository.list_enrollments(tenant, name)
    (held,) = speaker.holdings
    stored = repository.centroid_of(tenant, held.model_id, name)
    mean = centroid(np.stack([row.embedding for row in rows]), [row.speech_s for row in rows])
    if stored is None or stored.embedding.tobytes() != mean.tobytes():
        wrong.append(f"the centroid of {name} is not the mean of its rows")
    if not len({row.audio_sha256 for row in rows}) == len(rows) == held.enrollments_count:
        wrong.append(f"{name} has {len(rows)} rows, counted {held.enrollments_count}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.run", description=__doc__)
    for name in (
        "calls",
        "calm_calls",
        "seed",
        "hosts",
        "workers",
        "clients",
        "tenants",
        "speakers",
        "budget",
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Plan, name))
    parser.add_argument("--one-network", action="store_true", help="hosts are ports: needs no rights")
    parser.add_argument("--folder", type=Path, help="keep logs and wrong histories here")
    options = vars(parser.parse_args(arguments))
    plan = Plan(networks=not options.pop("one_network"), **options)
    reason = why_no_networks() if plan.networks else None
    if reason is not None:
        print(f"soak: {reason}; --one-network does without", file=sys.stderr)
        return 2
    findings = soak(plan)
    if plan.folder is not None:
        _write_down(findings, plan.folder)
    for wrong in findings.wrong[:50]:
        print(wrong[:1000], file=sys.stderr)
    print(
        dict(findings.tally.answers.most_common()),
        f"slowest {findings.tally.slowest_s:.1f} s",
        file=sys.stderr,
    )
    print(findings.line())
    return 1 if findings.wrong else 0


def _write_down(findings: Findings, folder: Path) -> None:
    """The histories with something wrong in them, a call in each line."""
    for verdict in findings.verdicts:
        if verdict.wrong:
            lines = [
                json.dumps([call.invoked, call.returned, str(call.what), call.certain])
                for call in verdict.history
            ]
            (folder / f"{verdict.name}.jsonl").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

"""Every outage, one after the other, on both databases.

python -m tests.chaos.outages --seconds 10
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from tests.chaos.away import POSTGRESQL, SQLITE, NotHere, on_postgresql, on_sqlite
from tests.chaos.clock import jump, told_to_end
from tests.chaos.crashes import Fault, site
from tests.chaos.postgres import Cluster, safe_cluster
from tests.chaos.servers import Servers, servers
from tests.served import settings_for
from tests.tiny import write_tiny_model

Step = tuple[str, Callable[[int], object]]


def clock_jumps(url: str, folder: Path) -> None:
    """The clock of a service on a database."""
    write_tiny_model(folder / "models" / "tiny")
    chosen = {
        "lockout_after": 2,
        "lockout_first_s": 40.0,
        "lockout_longest_s": 60.0,
        "rate_limit": "90/hour",
    }
    settings = settings_for(folder / "models", url, jobs_dir=folder / "jobs", same_voice="allow", **chosen)
    jump(settings, folder)


def _end(parent: Servers, cluster: Cluster | None, seconds: float, seed: int) -> None:
    with site(parent, seed, cluster) as place:
        told_to_end(place, seconds)


def _clock(cluster: Cluster | None, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="timbre-chaos-") as folder:
        url = f"sqlite:///{folder}/timbre.db"
        if cluster is not None:
            cluster.execute(f"CREATE DATABASE clock_{seed}")
            url = cluster.url(f"clock_{seed}")
        clock_jumps(url, Path(folder))


def steps(parent: Servers, cluster: Cluster, seconds: float) -> Iterator[Step]:
    """What is tried; each takes a number of its own."""
    for name in SQLITE:
        yield f"sqlite, {name}", lambda seed, name=name: on_sqlite(name, parent, seconds, seed)
    for name in POSTGRESQL:
        yield (
            f"postgresql, {name}",
            lambda seed, name=name: on_postgresql(name, parent, cluster, seconds, seed),
        )
    for kind, where in (("sqlite", None), ("postgresql", cluster)):
        yield (
            f"{kind}, told to end",
            lambda seed, where=where: _end(parent, where, min(seconds, 5.0), seed),
        )
        yield f"{kind}, clock", lambda seed, where=where: _clock(where, seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each outage lasts, at least")
    parser.add_argument("--only", default="", help="those whose name has this in it")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left running
    endured, left_out, faults, began = 0, [], [], time.monotonic()
    with ExitStack() as stack:
        cluster, parent = stack.enter_context(safe_cluster()), stack.enter_context(servers())
        todo = [step for step in steps(parent, cluster, chosen.seconds) if chosen.only in step[0]]
        for number, (name, endure) in enumerate(tqdm(todo)):
            try:
                endure(number)
                endured += 1
            except NotHere as reason:
                left_out.append(f"{name} ({reason})")
            except Fault as fault:
                faults.append(f"{name}: {fault}")
                print(faults[-1], file=sys.stderr)
    print(
        f"chaos: {endured} outages endured in {time.monotonic() - began:.0f} s without a restart, "
        f"{len(faults)} not, left out: {', '.join(left_out) or 'none'}"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

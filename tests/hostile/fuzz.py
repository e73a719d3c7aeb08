"""`make fuzz`: the corpus, mutations of good files over HTTP, and a coverage-guided fuzz of the sniffing.

    python -m tests.hostile.fuzz --mutations 20000 --seed 1 --seconds-sniff 60

Ends with one line of figures, and with exit code 1 when anything was otherwise than it must be. A mutation
that brought the service down is written to the folder that --keep names; `mutated(seed, number)` is the same.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from rich.progress import track

from tests.hostile import corpus
from tests.hostile.mutations import mutated, seeds
from tests.hostile.target import Target, target

MEGABYTE: Final = 1 << 20
MOST_GROWTH: Final = 50 * MEGABYTE
HANG_S: Final = 30.0
"""An answer that takes longer is none; a decoder is given 20 s."""
_WARM: Final = 100
"""Mutations before the memory is looked at for the first time."""
_CALLS: Final = (
    ("/verify", {"speaker_id": "ada"}),
    ("/enroll", {"speaker_id": "eve", "dry_run": "true"}),
    ("/v1/audio/quality", {}),
)


@dataclass
class Tally:
    """What became of the mutations."""

    answers: dict[str, int] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    """Numbers of those that were answered with 5xx or otherwise than a recording may be."""
    hung: list[int] = field(default_factory=list)
    slowest_s: float = 0.0
    grown: int = 0
    replaced: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return not self.failed and not self.hung and self.grown <= MOST_GROWTH

    def line(self) -> str:
        """In figures."""
        usable = self.answers.get("usable", 0)
        return (
            f"{sum(self.answers.values())} mutations ({usable} still usable), {len(self.failed)} 5xx, "
            f"{len(self.hung)} hangs, slowest {self.slowest_s:.1f} s, {self.grown / MEGABYTE:+.0f} MB, "
            f"{self.replaced} decoders replaced"
        )


def send_mutations(
    server: Target, seed: int, numbers: range, connections: int = 3, *, quiet: bool = True
) -> Tally:
    """Send mutations over connections that stay open.

    Args:
        server: a running one, in which `ada` is enrolled.
        seed: of the mutations.
        numbers: which of them.
        connections: how many at the same time.
        quiet: show no progress.
    """
    tally, local = Tally(), threading.local()
    clients: list[httpx.Client] = []

    def send(number: int) -> None:
        if not hasattr(local, "client"):
            local.client = httpx.Client(base_url=server.url, timeout=HANG_S)
            clients.append(local.client)
        _send(local.client, tally, seed, number)

    before = replaced = 0
    with ThreadPoolExecutor(connections) as threads:
        sent = threads.map(send, numbers)
        for done, _ in enumerate(track(sent, "mutations", len(numbers), disable=quiet)):
            if done == _WARM:
                before, replaced = server.memory(), server.replaced()
            if before and done % 500 == 0:
                tally.grown = max(tally.grown, server.memory() - before)
    if before:
        tally.grown = max(tally.grown, server.memory() - before)
    tally.replaced = server.replaced() - replaced
    for client in clients:
        client.close()
    return tally


def _send(client: httpx.Client, tally: Tally, seed: int, number: int) -> None:
    call, fields = _CALLS[number % len(_CALLS)]
    data = mutated(seed, number)
    started = time.monotonic()
    try:
        answer = client.post(call, files={"audio": ("speech.wav", data)}, data=fields)
        code = "usable" if answer.is_success else str(answer.json()["code"])
        failed = answer.status_code not in (200, 415, 422)
    except httpx.TimeoutException:
        code, failed = "hung", False
        with tally.lock:
            tally.hung.append(number)
    except (httpx.TransportError, ValueError) as problem:
        code, failed = type(problem).__name__, True
    with tally.lock:
        tally.answers[code] = tally.answers.get(code, 0) + 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - started)
        if failed:
            tally.failed.append(number)


@dataclass(frozen=True)
class Sniffed:
    """What the coverage-guided fuzz did."""

    inputs: int
    edges: int
    crashed: str

    @property
    def ok(self) -> bool:
        """Nothing was raised that should not be."""
        return not self.crashed

    def line(self, seconds: int) -> str:
        """In figures."""
        if not self.inputs and self.ok:
            return "sniffing not fuzzed, for atheris is not here"
        crashes = f"CRASHED: {self.crashed}" if self.crashed else "0 crashes"
        return f"sniffing {seconds} s, {self.inputs / 1e6:.1f} M inputs, {self.edges} edges, {crashes}"


def fuzz_sniffing(seconds: int, seed: int) -> Sniffed:
    """Let libFuzzer look for bytes that the sniffing cannot bear, in a process of its own."""
    if importlib.util.find_spec("atheris") is None:
        return Sniffed(0, 0, "")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds()):
            Path(folder, str(number)).write_bytes(data[:64])
        limits = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", "-print_final_stats=1"]
        command = [
            sys.executable,
            "-m",
            "tests.hostile.sniffing",
            *limits,
            f"-artifact_prefix={folder}/",
            folder,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", cwd=Path(__file__).resolve().parents[2]
        )
    edges = [int(number) for number in re.findall(r"cov: (\d+)", done.stderr)]
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    crashed = "" if done.returncode == 0 else " ".join(done.stderr.split())[-500:]
    return Sniffed(int(inputs[1]) if inputs else 0, max(edges, default=0), crashed)


def main() -> int:
    """The whole of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-sniff", type=int, default=60)
    parser.add_argument("--keep", type=Path, default=Path("fuzz"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, target(Path(folder), **corpus.SETTINGS) as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            corpus.enroll_ada(client)
            outcomes = [corpus.send_recordings(server, client), corpus.send_exchanges(server, client)]
        tally = send_mutations(server, chosen.seed, range(chosen.mutations), chosen.connections, quiet=False)
    for number in (*tally.failed, *tally.hung):
        chosen.keep.mkdir(parents=True, exist_ok=True)
        (chosen.keep / f"{chosen.seed}-{number}.bin").write_bytes(mutated(chosen.seed, number))
    sniffed = fuzz_sniffing(chosen.seconds_sniff, chosen.seed)
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    tried = sum(outcome.tried for outcome in outcomes)
    hostile = f"{tried} hostile inputs as expected" if not wrong else f"{len(wrong)} of {tried} WRONG"
    print(f"fuzz: {hostile}; {tally.line()}; {sniffed.line(chosen.seconds_sniff)}")
    grown = max(outcome.grown for outcome in outcomes)
    return int(bool(wrong) or not tally.ok or not sniffed.ok or grown > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())

"""What /verify is like when four times as much is asked as the machine can do.

    python -m benchmarks.overload [--seconds 60] [--times 4]

Starts `timbre serve` with the shipped model, and a process that asks it over keep-alive connections: first
one call after the other (unloaded), then with rising numbers of clients until no more is answered (capacity),
then as many calls a second as `--times` the capacity, each at its own random moment whether or not the ones
before were answered (overload). Times count from that moment. In the end all places are taken by long
recordings, and calls that wait behind them hang up: none of these may reach the model, by the server's own
count of its runs.

The figures of the overload begin with its first moment, in which the queue fills once before it is closed:
the last of those wait for all the others. The shorter the run, the more these few weigh in its p99.

Ends with one line of figures, and with 1 if a limit is not held. Server and generator share the machine, so
the fewer cores there are, the more of them the generator takes from the server.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import random
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import numpy as np
import soundfile
import uvloop

from app.cli.process import own_server
from app.settings import Settings
from benchmarks.verify import DATA, three_seconds

SLOWEST_RATIO: Final = 2.0
"""p99 of accepted calls over that of unloaded ones, at most."""
SLOWEST_REFUSAL_MS: Final = 50.0
_SETTLE_S: Final = 2.0
"""Until a crowd is over, in seconds."""


@dataclass
class Seen:
    """What was answered: milliseconds by status."""

    ms: dict[int, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    latest_ms: float = 0.0
    """How late the generator itself was, at worst."""

    def add(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.ms.setdefault(status, []).append(1000 * seconds)

    def quantile(self, status: int, share: float) -> float:
        """Milliseconds within which this share of the answers came; not a number where there is none."""
        found = self.ms.get(status)
        return float(np.quantile(found, share)) if found else float("nan")

    def rate(self, status: int) -> float:
        """Answers a second."""
        return len(self.ms.get(status, ())) / self.seconds


class Client:
    """One keep-alive connection that sends the same request again and again."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> int:
        """Send the request and read the answer; its status, 0 where there was none."""
        if self._streams is None or self._streams[0].at_eof():  # it was idle for too long
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._streams = None
            return 0
        return int(head[9:12])


def repeated(clip: bytes, times: int) -> bytes:
    """The same words again and again, as one wav."""
    samples, rate = soundfile.read(io.BytesIO(clip), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, times), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def multipart(clip: bytes) -> bytes:
    """A whole POST /verify, header and body."""
    edge = "7b0d6ff2"
    body = b"".join(
        (
            f'--{edge}\r\nContent-Disposition: form-data; name="speaker_id"\r\n\r\nada\r\n'.encode(),
            f'--{edge}\r\nContent-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'.encode(),
            clip,
            f"\r\n--{edge}--\r\n".encode(),
        )
    )
    head = f"POST /verify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: multipart/form-data; boundary={edge}\r\n\r\n".encode() + body


async def closed(port: int, request: bytes, clients: int, seconds: float) -> Seen:
    """Each client asks, waits for the answer, and asks again."""
    seen, end = Seen(), time.perf_counter() + seconds

    async def loop() -> None:
        client = Client(port, request)
        while (began := time.perf_counter()) < end:
            seen.add(await client.ask(), time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(clients)))
    seen.seconds = time.perf_counter() - began
    return seen


async def opened(port: int, request: bytes, rate: float, seconds: float) -> Seen:
    """Calls at random moments, `rate` a second, whatever became of the ones before."""
    seen, idle, calls = Seen(), list[Client](), set[asyncio.Task[None]]()
    chance = random.Random(6)

    async def call(moment: float) -> None:
        client = idle.pop() if idle else Client(port, request)
        seen.add(await client.ask(), time.perf_counter() - moment)
        idle.append(client)

    began = moment = time.perf_counter()
    while moment < began + seconds:
        moment += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        seen.latest_ms = max(seen.latest_ms, 1000 * (time.perf_counter() - moment))
        task = asyncio.create_task(call(moment))
        calls.add(task)
        task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    seen.seconds = time.perf_counter() - began
    return seen


async def abandon(port: int, long: bytes, short: bytes, places: int, waiting: int) -> int:
    """Take all places by long recordings, hang up on what waits behind them; long ones answered."""
    working = [asyncio.create_task(Client(port, long).ask()) for _ in range(places)]
    await asyncio.sleep(0.15)
    for _ in range(waiting):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(short)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
    return sum([status == 200 for status in await asyncio.gather(*working)])


def _generate(pipe: Any) -> None:
    while (order := pipe.recv()) is not None:
        work, arguments = order
        pipe.send(uvloop.run(work(*arguments)))


class Generator:
    """The process that asks."""

    def __enter__(self) -> "Generator":
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_generate, args=(theirs,), daemon=True)
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._pipe.send(None)
        self._process.join()

    def run(self, work: Any, *arguments: Any) -> Any:
        """Let it do one of the coroutines above."""
        self._pipe.send((work, arguments))
        return self._pipe.recv()


def enroll(http: httpx.Client) -> None:
    """The one speaker."""
    voice = [("audio", path.read_bytes()) for path in sorted(DATA.glob("ada-*.opus"))]
    http.post("/enroll", files=voice, data={"speaker_id": "ada"}).raise_for_status()


def figure(http: httpx.Client, name: str) -> float:
    """One number of /metrics."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def model_runs(http: httpx.Client) -> float:
    return figure(http, f'timbre_model_runs_total{{model="{Settings().model}"}}')


def measure(
    http: httpx.Client, generator: Generator, port: int, wanted: argparse.Namespace
) -> dict[str, Any]:
    """All of it."""
    clip = three_seconds("ada")
    request = multipart(clip)
    generator.run(closed, port, request, 1, 2.0)  # warm
    unloaded: Seen = generator.run(closed, port, request, 1, wanted.seconds / 4)
    rates = {}
    for clients in range(2, wanted.clients + 1):
        rates[clients] = generator.run(closed, port, request, clients, wanted.seconds / 20).rate(200)
    capacity = max(rates.values())
    time.sleep(_SETTLE_S)
    loaded: Seen = generator.run(opened, port, request, wanted.times * capacity, wanted.seconds)
    time.sleep(_SETTLE_S)
    long = multipart(repeated(clip, 80))
    before, dropped, answered = model_runs(http), 0, 0
    for _ in range(wanted.rounds):
        answered += generator.run(abandon, port, long, request, wanted.places, wanted.waiting)
        dropped += wanted.waiting
    time.sleep(_SETTLE_S)
    accepted, asked = len(loaded.ms.get(200, ())), sum(map(len, loaded.ms.values()))
    return {
        "unloaded_p50_ms": unloaded.quantile(200, 0.5),
        "unloaded_p99_ms": unloaded.quantile(200, 0.99),
        "capacity_per_s": capacity,
        "asked_per_s": asked / loaded.seconds,
        "accepted_share": accepted / asked,
        "accepted_over_capacity": loaded.rate(200) / capacity,
        "accepted_p50_ms": loaded.quantile(200, 0.5),
        "accepted_p99_ms": loaded.quantile(200, 0.99),
        "accepted_max_ms": loaded.quantile(200, 1.0),
        "accepted_p99_over_unloaded": loaded.quantile(200, 0.99) / unloaded.quantile(200, 0.99),
        "refused_p50_ms": loaded.quantile(503, 0.5),
        "refused_p99_ms": loaded.quantile(503, 0.99),
        "refused_max_ms": loaded.quantile(503, 1.0),
        "otherwise": asked - accepted - len(loaded.ms.get(503, ())),
        "generator_late_max_ms": loaded.latest_ms,
        "abandoned": dropped,
        "abandoned_at_the_model": model_runs(http) - before - answered,
        "long_answered": answered,
    }


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Which limits are held."""
    return {
        "accepted_p99": found["accepted_p99_over_unloaded"] <= SLOWEST_RATIO,
        "refused_p99": found["refused_p99_ms"] < SLOWEST_REFUSAL_MS,
        "none_abandoned": found["abandoned_at_the_model"] == 0 and found["long_answered"] > 0,
        "nothing_else": found["otherwise"] == 0,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (default: %(default)s)")
    parser.add_argument("--times", type=float, default=4.0, help="the capacity (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of hanging up (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=6, help="at most, for the capacity")
    parser.add_argument("--places", type=int, default=2, help="recordings that the server works on at once")
    parser.add_argument("--waiting", type=int, default=4, help="recordings that may wait there")
    wanted = parser.parse_args()
    # The same clip again and again is what this is about, and not what a speaker does.
    os.environ["TIMBRE_LOCKOUT_AFTER"] = "0"
    with own_server() as http, Generator() as generator:
        enroll(http)
        found = measure(http, generator, http.base_url.port or 80, wanted)
    held = verdicts(found)
    shown = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps(shown | {name: "PASS" if good else "FAIL" for name, good in held.items()}))
    sys.exit(not all(held.values()))


if __name__ == "__main__":
    main()

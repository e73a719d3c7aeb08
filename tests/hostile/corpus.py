"""The whole corpus against a running server: every bad recording and every bad exchange."""

import contextlib
import functools
import http.server
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx

from tests.hostile.containers import good
from tests.hostile.exchanges import WAIT_S, Wire, say, wires
from tests.hostile.recordings import Bad, recordings
from tests.hostile.target import Target

MAX_BYTES: Final = 8 << 20
IDLE_S: Final = 2.0
SETTINGS: Final = {"max_upload_bytes": MAX_BYTES, "idle_timeout_s": IDLE_S, "header_timeout_s": IDLE_S}
"""Limits of the server that is attacked, small enough to be reached."""


class _Canary(http.server.BaseHTTPRequestHandler):
    """Whoever comes here was led astray by a recording."""

    def do_GET(self) -> None:
        self.server.visitors.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(good("wav"))

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """An address that recordings point to, and who came there."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Canary) as server:
        server.visitors = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/x", server.visitors  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Outcome:
    """What became of an attack.

    Attributes:
        tried: inputs that were sent.
        wrong: a line for each that was answered otherwise than it must be.
        grown: bytes that the server holds more than before.
    """

    tried: int
    wrong: tuple[str, ...]
    grown: int


def enroll_ada(client: httpx.Client) -> None:
    """Somebody whom the attacks claim to be."""
    files = [("audio", ("a", good("wav"))), ("audio", ("b", good("mp3")))]
    client.post("/enroll", files=files, data={"speaker_id": "ada"}).raise_for_status()


def send_recordings(server: Target, client: httpx.Client) -> Outcome:
    """Every bad recording, to /verify and to /enroll."""
    with canary() as (address, visitors):
        every = list(recordings(address))
        outcome = _attack(server, client, functools.partial(_recording, client), every, threads=2)
    led = tuple(f"a recording led a decoder to {visitor}" for visitor in visitors)
    return Outcome(outcome.tried, outcome.wrong + led, outcome.grown)


def send_exchanges(server: Target, client: httpx.Client) -> Outcome:
    """Every bad exchange."""
    every = list(wires(MAX_BYTES, IDLE_S))
    return _attack(server, client, functools.partial(_exchange, server.port), every, threads=4)


def _attack(server: Target, client: httpx.Client, trial: Any, every: list[Any], threads: int) -> Outcome:
    before, memory, replaced = _stored(client), server.memory(), server.replaced()
    assert len({each.name for each in every}) == len(every), "two inputs have one name"
    with ThreadPoolExecutor(threads) as pool:
        wrong = [found for found in pool.map(trial, every) if found]
    if _stored(client) != before:
        wrong.append("something was stored")
    if server.replaced() != replaced:
        wrong.append("a decoder crashed")
    if "Traceback" in server.log.read_text(errors="replace"):
        wrong.append("there is a traceback in the log")
    return Outcome(len(every), tuple(wrong), server.memory() - memory)


def _stored(client: httpx.Client) -> object:
    speakers = client.get("/v1/speakers").json()["speakers"]
    takes = [client.get(f"/v1/speakers/{each['speaker_id']}/enrollments").json() for each in speakers]
    return speakers, [each["enrollments"] for each in takes]


def _recording(client: httpx.Client, bad: Bad) -> str | None:
    data = bad.make()
    dry = {"dry_run": "true"} if bad.status == 200 else {}
    for call, fields in (("/verify", {"speaker_id": "ada"}), ("/enroll", {"speaker_id": "eve", **dry})):
        started = time.monotonic()
        answer = client.post(call, files={"audio": ("speech.wav", data)}, data=fields)
        found = answer.status_code, None if answer.is_success else answer.json()["code"]
        if found != (bad.status, bad.code):
            return f"{bad.name}: {call} answers {found}, not {(bad.status, bad.code)}"
        if time.monotonic() - started > WAIT_S:
            return f"{bad.name}: {call} takes too long"
    return None


def _exchange(port: int, wire: Wire) -> str | None:
    try:
        found = say(port, wire)
    except TimeoutError:
        return f"{wire.name}: no answer"
    return (
        None if found == (wire.status, wire.code) else f"{wire.name}: {found}, not {wire.status, wire.code}"
    )

"""A service under a clock that jumps, and one that is told to end while it is busy."""

import contextlib
import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings
from app.store import Repository, Vault, make_engine
from tests.bulk import json_lines
from tests.chaos import client, state
from tests.chaos.away import BACK_S, NotHere, fine
from tests.chaos.crashes import Fault, Site, Tally
from tests.served import MASTER_KEY, audio, clip, process, wav
from training.signals import speech_like

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
_EXIT_S = 30.0
_JUMPS = ("-1h", "+1d", "-1d", "+0")


class Clock:
    """The clock of a service: a file with the distance to the true time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set("+0")

    def set(self, distance: str) -> None:
        """Let it jump."""
        self._file.write_text(distance)

    def environment(self) -> dict[str, str]:
        """What a process needs to believe it.

        Raises:
            NotHere: libfaketime is not installed.
        """
        library = next((path for each in _LIBRARIES for path in Path("/").glob(each[1:])), None)
        if library is None:
            raise NotHere("libfaketime is not installed (apt install libfaketime)")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextlib.contextmanager
def under(clock: Clock, settings: Settings, log: Path) -> Iterator[httpx.Client]:
    """`timbre serve` with that clock."""
    with process(settings, log=log, environment=clock.environment()) as (asking, _):
        yield asking


def jump(settings: Settings, folder: Path) -> None:
    """Let the clock jump between requests, and check what hangs on it.

    Args:
        settings: Lock after two failures for at most 60 s; at most 90 requests in an hour.
        folder: For the clock and the log.

    Raises:
        Fault: An answer, a lock, a limit, a job or the log does not stand it.
    """
    clock = Clock(folder / "clock")
    with under(clock, settings, folder / "clock.log") as asking:
        first = enrolled(asking, "ada", 1, "first")
        _lock(asking)
        before = first
        for distance in _JUMPS:
            clock.set(distance)
            # Its lock and the requests of the last hour lie in another time: nobody waits an hour for them.
            fine(asking.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"}))
            again = enrolled(asking, "ada", 1, "first")
            if [each["enrollment_id"] for each in again["enrollments"]] != _ids(before):
                raise Fault(f"double: a retry at {distance} was stored again")
            if asking.get("/v1/speakers/ada").json()["enrollments_count"] != 2:
                raise Fault(f"double: ada's takes at {distance}")
            _visit(asking, distance)
            _lock(asking)
            _exhaust(asking)
    engine = make_engine(settings.database_url)
    wrong = [*state.chain(Repository(engine, Vault.load(folder, MASTER_KEY))), *state.integrity(engine)]
    engine.dispose()
    log = (folder / "clock.log").read_text()
    if wrong or '"event": "failure"' in log:
        raise Fault("\n".join([*wrong, log[-2000:]]))


def enrolled(asking: httpx.Client, speaker: str, voice: int, key: str) -> dict[str, Any]:
    answer = asking.post(
        "/enroll",
        files=audio(clip(voice, 0), clip(voice, 1)),
        data={"speaker_id": speaker},
        headers={"idempotency-key": key},
    )
    fine(answer)
    return dict(answer.json())


def _ids(answer: dict[str, Any]) -> list[str]:
    return [each["enrollment_id"] for each in answer["enrollments"]]


def _lock(asking: httpx.Client) -> None:
    for take in range(3):
        found = asking.post("/verify", files=audio(clip(4, take)), data={"speaker_id": "ada"})
        if found.status_code not in {200, 423, 429}:
            raise Fault(f"violation: {found.status_code} {found.text[:200]}")
    if found.status_code not in {423, 429}:
        raise Fault("violation: no lock after failures")


def _exhaust(asking: httpx.Client) -> None:
    for _ in range(200):  # what was counted before a jump may be forgotten once
        if asking.get("/v1/speakers").status_code == 429:
            return
    raise Fault("violation: no rate is limited")


def _visit(asking: httpx.Client, distance: str) -> None:
    """Somebody comes, is found, is enrolled by a job too, and leaves."""
    enrolled(asking, "bob", 2, f"bob {distance}".replace(" ", "-"))
    line = {"speaker_id": "imported", "audio": wav(speech_like(1.5, speaker=5))}
    job = asking.post("/v1/imports", content=json_lines(line))
    fine(job)
    deadline = time.monotonic() + BACK_S
    while (found := asking.get(job.headers["location"]).json())["status"] != "succeeded":
        if found["status"] == "failed" or time.monotonic() > deadline:
            raise Fault(f"lost: a job at {distance}: {found}")
        time.sleep(1.0)
    fine(asking.delete("/v1/speakers/bob"))
    found = asking.post("/identify", files=audio(clip(2, 0)))
    fine(found)
    if any(each["speaker_id"] == "bob" for each in found.json()["candidates"]):
        raise Fault(f"back: bob at {distance}")


# ---------------------------------------------------------------- told to end


@dataclass
class _Crowd:
    """Clients that open a connection for each request, and what they were told."""

    url: str
    answered: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        sent = 0
        while not self.over.is_set():
            sent += 1
            recording = client.CLIPS.make(number, sent, number << 20 | sent)
            named = hashlib.sha256(recording).hexdigest()
            try:
                answer = httpx.post(
                    f"{self.url}/enroll", content=recording, params={"speaker_id": "crowd"}, timeout=60
                )
            except httpx.ConnectError:
                time.sleep(0.01)
                continue
            except httpx.TransportError:
                self.cut.add(named)
                continue
            self.statuses.add(answer.status_code)
            if answer.is_success:
                self.answered.add(named)


def told_to_end(place: Site, seconds: float) -> str:
    """SIGTERM under load: what was begun is answered, the rest refused, and the process ends.

    Returns:
        How long the end took.

    Raises:
        Fault: Something was carried out and not answered, or the other way round, or it does not end.
    """
    assert place.server is not None
    crowd = _Crowd(place.server.url)
    threads = [threading.Thread(target=crowd.run, args=(number,)) for number in range(6)]
    place.signs.let(send=True)
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    os.kill(place.server.pid, signal.SIGTERM)
    began = time.monotonic()
    ended = place.server.ended(_EXIT_S)
    took_s = time.monotonic() - began
    crowd.over.set()
    for thread in threads:
        thread.join()
    if ended not in {0, -signal.SIGTERM}:
        raise Fault(f"violation: told to end, it ends with {ended}")
    if not crowd.statuses <= {200, 201, 503}:
        raise Fault(f"violation: answers {crowd.statuses}")
    stored = set(state.read(place.engine, place.vault).clips.get("crowd", ()))
    if stored != crowd.answered:
        raise Fault(f"lost: {len(crowd.answered - stored)} answered; half: {len(stored & crowd.cut)} cut off")
    place.up()
    place.forget("crowd")
    place.end(Tally())
    return f"{took_s:.1f} s"

"""A client that calls as many do: at random, impatiently, and again when it was cut off."""

import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from tests.served import clip
from tests.soak.history import Board, Slot
from tests.soak.hosts import Host

VOICES: Final = 8
_TAKES: Final = 24
_FIRST_S, _STEP_S = 1.0, 0.01
"""Take n of a voice is this much longer than the first, which tells it apart in what the service lists."""
_PROBE: Final = 1000
_PATIENT_S, _IMPATIENT_S = 25.0, 2.5
_IDLE_S: Final = 2.0
_TRIES: Final = 4
_NO_EFFECT: Final = {"overloaded", "model_not_ready", "index_not_ready", "inference_timeout"}
_KINDS: Final = {
    "identify": 20,
    "verify": 6,
    "count": 20,
    "clips": 17,
    "list": 7,
    "append": 17,
    "create": 3,
    "replace": 3,
    "delete": 7,
}
"""How often each kind of call is made."""


@dataclass
class Tally:
    """What all clients met; safe to share, since each entry is added to under the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """By status and code."""
    cut_off: int = 0
    """Calls without an answer."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no fault excuses."""
    slowest_s: float = 0.0
    died: list[BaseException] = field(default_factory=list)
    """What ended a client: a mistake in the client."""

    def add(self, answer: "Answer", seconds: float) -> None:
        with self.lock:
            self.calls += 1
            if answer.status == 0:
                self.cut_off += 1
                return
            self.slowest_s = max(self.slowest_s, seconds)
            self.answers[f"{answer.status} {answer.code}".strip()] += 1
            if answer.status not in _EXPECTED:
                self.wrong.append(f"{answer.status} {answer.code} {answer.text[:300]}")


_EXPECTED: Final = {200, 201, 204, 404, 408, 409, 503, 504}


@dataclass(frozen=True)
class Answer:
    """An answer; status 0 when there was none."""

    status: int = 0
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> dict[str, Any]:
        """The JSON in it."""
        return dict(json.loads(self.text)) if self.text else {}

    @property
    def code(self) -> str:
        """Of a refusal."""
        return str(self.content.get("code", "")) if self.status >= 400 else ""

    @property
    def had_no_effect(self) -> bool:
        """A refusal that comes before anything is changed."""
        return self.status == 408 or self.code in _NO_EFFECT or self.code == "concurrent_modification"


class Client:
    """Makes one call after the other, mostly to one host."""

    def __init__(
        self,
        hosts: Sequence[Host],
        home: int,
        key: str,
        board: Board,
        tally: Tally,
        seed: str,
        *,
        patient: bool = False,
    ) -> None:
        """Make a client; `run` lets it work.

        Args:
            hosts: All of them.
            home: The number of the host that it prefers; a retry may go to another.
            key: Its API key.
            board: The speakers.
            tally: Where it counts.
            seed: Of its choices.
            patient: Never give up early.
        """
        self._hurry: Final = 0.0 if patient else 0.03
        self._hosts, self._home, self._key = hosts, home, key
        self._board, self._tally = board, tally
        self._chance: Final = random.Random(seed)
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self._used: dict[int, float] = {}

    def run(self, calls: int) -> None:
        """Work until all clients together have made this many calls."""
        try:
            while self._tally.calls < calls and not self._tally.died:
                self.once()
        except BaseException as mistake:
            self._tally.died.append(mistake)
            raise
        finally:
            for connection in self._connections.values():
                connection.close()

    def once(self) -> None:
        """One call, and its retries."""
        (kind,) = self._chance.choices(list(_KINDS), list(_KINDS.values()))
        slots = self._board.open()
        # Some speakers have many callers at once, most have few.
        slot = slots[min(int(self._chance.expovariate(0.5)), len(slots) - 1)]
        if kind == "identify":
            self._identify(slots)
        elif kind == "list":
            self._list(slots)
        elif self._board.take(slot):
            self._farewell(slot)
        elif kind == "delete":
            self._delete(slot)
        elif kind in {"count", "clips", "verify"}:
            self._look(slot, kind)
        else:
            self._enroll(slot, kind)

    # -------------------------------------------------------- reads

    def _identify(self, slots: Sequence[Slot]) -> None:
        """All speakers are fewer than the candidates asked for, so each must be among them, or must not."""
        asked = ""
        if self._chance.random() < 0.3:
            slots = self._chance.sample(slots, 3)
            asked = "&candidate_ids=" + ",".join(slot.name for slot in slots)
        invoked = time.monotonic()
        probe = recording(self._chance.choice(slots).voice, _PROBE + self._chance.randrange(3))
        answer = self._call("POST", f"/identify?top_k=100{asked}", probe, "audio/wav")
        if answer.status == 200:
            self._seen(slots, invoked, {each["speaker_id"]: True for each in answer.content["candidates"]})

    def _list(self, slots: Sequence[Slot]) -> None:
        invoked = time.monotonic()
        answer = self._call("GET", "/v1/speakers?limit=1000")
        if answer.status == 200:
            found = {each["speaker_id"]: each["enrollments_count"] for each in answer.content["speakers"]}
            self._seen(slots, invoked, found)

    def _seen(self, slots: Sequence[Slot], invoked: float, found: dict[str, Any]) -> None:
        """Every speaker that was asked for was there or not; one that was not asked for must not be."""
        returned = time.monotonic()
        named = {name: self._board.named(name) for name in found}
        self._tally.wrong += [
            f"{name} is nobody of this tenant" for name, slot in named.items() if slot is None
        ]
        for slot in {*slots, *(slot for slot in named.values() if slot is not None)}:
            there = found.get(slot.name)
            if there is None or there is True:
                slot.saw(invoked, returned, "member", None, there is not None)
            else:
                slot.saw(invoked, returned, "count", None, there)

    def _look(self, slot: Slot, kind: str) -> None:
        invoked = time.monotonic()
        if kind == "verify":
            probe = recording(slot.voice, _PROBE + self._chance.randrange(3))
            answer = self._call("POST", f"/verify?speaker_id={slot.name}", probe, "audio/wav")
        else:
            tail = "/enrollments" if kind == "clips" else ""
            answer = self._call("GET", f"/v1/speakers/{slot.name}{tail}")
        if answer.status not in {200, 404}:
            return
        found = answer.status == 200
        result: object = None
        if kind == "verify":
            kind, result = "member", found
        elif found and kind == "count":
            result = answer.content["enrollments_count"]
        elif found:
            takes = [take_of(each["duration_s"]) for each in answer.content["enrollments"]]
            result = frozenset(takes)
            if len(takes) != len(set(takes)):
                self._tally.wrong.append(f"{slot.name} holds a clip twice: {sorted(takes)}")
        slot.saw(invoked, time.monotonic(), kind, None, result)

    # -------------------------------------------------------- changes

    def _delete(self, slot: Slot) -> bool:
        """Delete, and again when cut off: each try is a call of its own. True once one is acknowledged."""
        for _ in range(_TRIES):
            invoked = time.monotonic()
            answer = self._call("DELETE", f"/v1/speakers/{slot.name}")
            if answer.status == 204:
                there = "timbre-erasure-receipt" in answer.headers
                slot.saw(invoked, time.monotonic(), "delete", None, there)
                return True
            if not answer.had_no_effect:
                slot.lost(invoked, "delete", None)
            self._rest()
        return False

    def _farewell(self, slot: Slot) -> None:
        """The last calls to a speaker: what it holds, its deletion, and that it is gone."""
        self._look(slot, "clips")
        if not any(self._delete(slot) for _ in range(20)):
            self._tally.wrong.append(f"{slot.name} could not be deleted")
        self._look(slot, "count")

    def _enroll(self, slot: Slot, kind: str) -> None:
        """Enroll; when cut off, again under the same idempotency key, maybe at the other host.

        A retry that is answered anew, and not with the answer of an earlier try, leaves open whether that
        took effect; but it can do so no later than the retry is answered.
        """
        takes = {next(slot.clips) % _TAKES for _ in range(self._chance.choice([1, 1, 2]))}
        body = enrolment(slot, kind, sorted(takes))
        key, begun, lost = uuid.UUID(int=self._chance.getrandbits(128)).hex, time.monotonic(), list[float]()
        for _ in range(_TRIES):
            invoked = time.monotonic()
            answer = self._call("POST", "/enroll", body, _FORM, key)
            told = self._told(answer, sorted(takes))
            if told is not None:
                replayed = "idempotency-replayed" in answer.headers
                returned = time.monotonic()
                slot.saw(begun if replayed else invoked, returned, kind, frozenset(takes), told)
                for each in lost[:-1] if replayed else lost:
                    slot.lost(each, kind, frozenset(takes), until=returned)
                return
            if not (answer.had_no_effect or answer.code == "idempotency_in_progress"):
                lost.append(invoked)
            self._rest()
        for each in lost:
            slot.lost(each, kind, frozenset(takes))

    @staticmethod
    def _told(answer: Answer, takes: Sequence[int]) -> object:
        """What an answer says of an enrolment; None when it says nothing."""
        if answer.status == 409 and answer.code == "speaker_exists":
            return "exists"
        if answer.status not in {200, 201}:
            return None
        verdicts = zip(takes, answer.content["enrollments"], strict=True)
        fresh = frozenset(take for take, verdict in verdicts if not verdict["duplicate"])
        return answer.content["enrollments_count"], fresh

    # -------------------------------------------------------- HTTP

    def _call(self, method: str, path: str, body: bytes = b"", kind: str = "", key: str = "") -> Answer:
        host = self._home if self._chance.random() < 0.8 else self._chance.randrange(len(self._hosts))
        headers = {"X-Api-Key": self._key}
        if kind:
            headers["Content-Type"] = kind
        if key:
            headers["Idempotency-Key"] = key
        begun = time.monotonic()
        try:
            connection = self._connection(host)
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            text = response.read().decode()
            answer = Answer(response.status, text, {n.lower(): v for n, v in response.getheaders()})
        except (OSError, http.client.HTTPException):
            self._forget(host)
            answer = Answer()
        self._tally.add(answer, time.monotonic() - begun)
        return answer

    def _connection(self, host: int) -> http.client.HTTPConnection:
        """The connection to a host; now and then a new one, which another of its workers may take."""
        idle_s = time.monotonic() - self._used.get(host, 0.0)
        if self._chance.random() < 0.05 or idle_s > _IDLE_S:  # before the server closes it
            self._forget(host)
        self._used[host] = time.monotonic()
        timeout = _IMPATIENT_S if self._chance.random() < self._hurry else _PATIENT_S
        if host not in self._connections:
            chosen = self._hosts[host]
            self._connections[host] = http.client.HTTPConnection(chosen.address, chosen.port, timeout=timeout)
        connection = self._connections[host]
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def _forget(self, host: int) -> None:
        connection = self._connections.pop(host, None)
        if connection is not None:
            connection.close()

    def _rest(self) -> None:
        time.sleep(self._chance.uniform(0.05, 1.0))


_BOUNDARY: Final = "5bd1e3d0a7c94c5b"
_FORM: Final = f"multipart/form-data; boundary={_BOUNDARY}"


@cache
def recording(voice: int, take: int) -> bytes:
    """A short recording; those that are enrolled differ in length by their number."""
    return clip(voice, take, _FIRST_S + (take * _STEP_S if take < _TAKES else 0.0))


def take_of(duration_s: float) -> int:
    """The number of an enrolled recording."""
    return round((duration_s - _FIRST_S) / _STEP_S)


def enrolment(slot: Slot, kind: str, takes: Sequence[int]) -> bytes:
    """The body of an enrolment."""
    fields = {
        "speaker_id": slot.name,
        "on_existing": {"append": "append", "create": "fail", "replace": "replace"}[kind],
    }
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for take in takes:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        parts += [head.encode(), recording(slot.voice, take), b"\r\n"]
    return b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])

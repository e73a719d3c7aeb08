"""The clients: a process whose threads enroll, delete and take back until the harness lets them rest."""

import contextlib
import hashlib
import json
import multiprocessing
import random
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.arrays import SAMPLE_RATE_HZ
from app.service.replays import speaker_id_from
from tests.chaos.ledger import Op, Writer
from training.signals import speech_like

SECONDS = 1.0
_VOICES, _TAKES = 6, 3
_WEIGHTS = {"append": 8, "replace": 3, "new": 3, "delete": 4, "take_back": 4, "opt_out": 1}
_AGAIN = 0.2
"""Share of the requests that are sent once more after their answer."""
_LATER = frozenset({502, 503, 504, 429})
_CONNECTED_S = 60.0
THREADS = 4


class Signs:
    """What harness and clients tell each other: numbers in shared memory, with no lock that can die held."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._flags = context.RawArray("i", 4)
        self._busy, self._resting = context.RawArray("i", THREADS), context.RawArray("i", THREADS)

    def reset(self) -> None:
        """As at the beginning: nothing may be sent, nobody rests."""
        self._flags[:] = [0, 0, 0, -1]
        self._busy[:] = self._resting[:] = [0] * THREADS

    def let(self, *, send: bool | None = None, rest: bool | None = None, focus: int = -1) -> None:
        """Let clients send or wait, work or finish and rest, and do one kind of thing above all."""
        if rest is not None:
            self._flags[1] = rest
        self._flags[3] = focus
        if send is not None:
            self._flags[0] = send

    def end(self) -> None:
        """Let them leave everything where it is."""
        self._flags[2] = 1

    @property
    def sending(self) -> bool:
        """Requests may be sent."""
        return bool(self._flags[0])

    @property
    def rest(self) -> bool:
        """No further thing may be begun."""
        return bool(self._flags[1])

    @property
    def over(self) -> bool:
        """Nobody waits for anything any more."""
        return bool(self._flags[2])

    @property
    def focus(self) -> int:
        """Number of the kind that is wanted above all; -1 for none."""
        return self._flags[3]

    @property
    def quiet(self) -> bool:
        """No request is on its way."""
        return not any(self._busy)

    @property
    def all_rest(self) -> bool:
        """Every request was answered, and no other is begun."""
        return all(self._resting)

    def busy(self, thread: int, is_busy: bool) -> None:
        """Say that a thread's request is on its way, or was answered."""
        self._busy[thread] = is_busy

    def resting(self, thread: int, is_resting: bool) -> None:
        """Say that a thread rests, or works again."""
        self._resting[thread] = is_resting


KINDS = tuple(_WEIGHTS)


def write(url: str, ledger: Path, seed: int, signals: Signs) -> None:
    """The life of the process."""
    writer, failed = Writer(ledger), threading.Event()
    clients = [_Client(url, writer, seed, number, signals) for number in range(THREADS)]
    running = [threading.Thread(target=client.run, args=(failed,)) for client in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


class Clips:
    """Recordings that are all different and cost nothing to make: the number stands in the lowest bits."""

    def __init__(self) -> None:
        self._pcm = [
            [(speech_like(SECONDS, speaker=voice, take=take) * 32767).astype("<i2") for take in range(_TAKES)]
            for voice in range(_VOICES)
        ]

    def make(self, voice: int, take: int, number: int = 0) -> bytes:
        """A WAV file."""
        pcm = self._pcm[voice % _VOICES][take % _TAKES].copy()
        bits = np.array([number >> bit & 1 for bit in range(32)], dtype="<i2")
        pcm[:32] = pcm[:32] & ~1 | bits
        data = pcm.tobytes()
        head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1,
                           SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)  # fmt: skip
        return head + struct.pack("<4sI", b"data", len(data)) + data


CLIPS = Clips()


@dataclass
class _Speaker:
    name: str
    voice: int
    private: bool
    clips: dict[str, str] = field(default_factory=dict)
    """Enrollment id by recording, as far as this thread knows."""


class _Over(Exception):
    """Nobody wants an answer any more."""


class _Client:
    def __init__(self, url: str, writer: Writer, seed: int, number: int, signals: Signs) -> None:
        self._signs, self._writer = signals, writer
        self._random = random.Random(f"{seed} {number}")
        self._number, self._seed = number, seed
        self._made, self._ops = 0, 0
        self._http = httpx.Client(base_url=url, timeout=_CONNECTED_S, verify=False)
        own = [_Speaker(f"own-{number}-{each}", number, True) for each in range(3)]
        self._known = own + [_Speaker(f"shared-{each}", each, False) for each in range(2)]

    def run(self, failed: threading.Event) -> None:
        try:
            while not self._signs.over and not failed.is_set():
                if self._signs.rest:
                    self._signs.resting(self._number, True)
                    time.sleep(0.005)
                else:
                    self._signs.resting(self._number, False)
                    self._one()
        except _Over:
            pass
        except Exception as problem:
            self._writer.note("violation", f"client {self._number}: {type(problem).__name__}: {problem}")
            failed.set()

    def _one(self) -> None:
        kind = self._kind()
        speaker = self._random.choice(self._known)
        if kind == "opt_out" and not speaker.private:
            speaker = self._known[0]
        if kind == "take_back" and not speaker.clips:
            kind = "append"
        if kind == "new":
            self._new()
        elif kind in {"append", "replace"}:
            self._enroll(speaker, kind)
        elif kind == "take_back":
            self._take_back(speaker)
        else:
            self._delete(speaker, kind)

    def _kind(self) -> str:
        wanted = self._signs.focus
        if wanted >= 0 and self._random.random() < 0.5:
            return KINDS[wanted]
        return self._random.choices(KINDS, list(_WEIGHTS.values()))[0]

    # ------------------------------------------------------------ the kinds

    def _op(self, kind: str, speaker: str, **members: Any) -> Op:
        self._ops += 1
        return Op(f"{self._seed}-{self._number}-{self._ops}", kind, speaker, **members)

    def _new(self) -> None:
        """A speaker whose id the service makes up; an older one of these goes."""
        if len(self._known) > 8:
            gone = self._known.pop()
            return self._delete(gone, "delete")
        op = self._op("new", "", private=True)
        op.speaker = speaker_id_from("default", op.op_id)
        speaker = _Speaker(op.speaker, self._random.randrange(_VOICES), True)
        self._enrolled(speaker, op, {"display_name": op.op_id})
        self._known.append(speaker)
        return None

    def _enroll(self, speaker: _Speaker, kind: str) -> None:
        op = self._op(kind, speaker.name, private=speaker.private)
        self._enrolled(speaker, op, {"speaker_id": speaker.name, "on_existing": kind})

    def _enrolled(self, speaker: _Speaker, op: Op, fields: dict[str, str]) -> None:
        recordings = []
        for _ in range(self._random.choice((1, 1, 2))):
            self._made += 1
            number = self._number << 24 | self._made
            recordings.append(CLIPS.make(speaker.voice, self._random.randrange(_TAKES), number))
        op.clips = [hashlib.sha256(recording).hexdigest() for recording in recordings]
        files = [("audio", ("recording", recording)) for recording in recordings]
        answer = self._post(op, "/enroll", files=files, data=fields)
        assert answer.status_code in {200, 201, 409}, f"{op.op_id}: {answer.status_code} {answer.text[:300]}"
        found = answer.json()
        if answer.is_success:
            ids = [each["enrollment_id"] for each in found["enrollments"]]
            op.ids = dict(zip(op.clips, ids, strict=True))
            if op.kind == "replace":
                speaker.clips.clear()
            speaker.clips |= op.ids
            assert found["speaker_id"] == op.speaker, f"{op.op_id}: another speaker"
        self._end(op, answer)
        if speaker.private and self._random.random() < _AGAIN:
            self._send_again(op, answer, "/enroll", files=files, data=fields)

    def _delete(self, speaker: _Speaker, kind: str) -> None:
        op = self._op(kind, speaker.name, private=speaker.private)
        if kind == "delete":
            answer = self._send(op, "DELETE", f"/v1/speakers/{speaker.name}")
        else:
            answer = self._post(op, f"/v1/speakers/{speaker.name}:opt-out")
        assert answer.status_code in {200, 204, 409}, f"{op.op_id}: {answer.status_code} {answer.text[:300]}"
        speaker.clips.clear()
        self._end(op, answer)
        if kind == "opt_out":
            back = self._op("opt_in", speaker.name, private=True)
            answer = self._post(back, f"/v1/speakers/{speaker.name}:opt-in")
            assert answer.status_code == 200, answer.text
            self._end(back, answer)

    def _take_back(self, speaker: _Speaker) -> None:
        clip = self._random.choice(list(speaker.clips))
        op = self._op("take_back", speaker.name, target=clip, private=speaker.private)
        answer = self._send(
            op, "DELETE", f"/v1/speakers/{speaker.name}/enrollments/{speaker.clips.pop(clip)}"
        )
        assert answer.status_code in {204, 404, 409}, f"{op.op_id}: {answer.status_code} {answer.text[:300]}"
        if answer.status_code == 404:
            answer.status_code = 204  # an earlier try, or somebody else, has done it: it is gone either way
        self._end(op, answer)

    # ------------------------------------------------------------ sending

    def _post(self, op: Op, path: str, **content: Any) -> httpx.Response:
        return self._send(op, "POST", path, headers={"idempotency-key": op.op_id}, **content)

    def _send(self, op: Op, method: str, path: str, **content: Any) -> httpx.Response:
        """Write the intent, then send until there is an answer that says what became of it."""
        self._writer.intent(op)
        return self._until_answered(op.op_id, method, path, **content)

    def _until_answered(
        self, request_id: str, method: str, path: str, headers: dict[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            named = {**(headers or {}), "x-request-id": f"{request_id}/{attempt}"}
            try:
                with self._on_the_way():
                    answer = self._http.request(method, path, headers=named, **content)
                if not self._unsettled(answer):
                    return answer
            except httpx.TimeoutException:
                raise  # nobody is left waiting
            except httpx.TransportError:
                pass
            if self._signs.over:
                raise _Over
            time.sleep(0.02)

    def _unsettled(self, answer: httpx.Response) -> bool:
        """Whether the answer says to ask again; a failure of the service is none that it may give."""
        if answer.status_code in _LATER:
            assert int(answer.headers["retry-after"]) >= 1
            return True
        return answer.status_code == 409 and answer.json()["code"] == "idempotency_in_progress"

    @contextlib.contextmanager
    def _on_the_way(self) -> Iterator[None]:
        while True:
            self._signs.busy(self._number, True)  # first, so that whoever closes the door sees who is in it
            if self._signs.sending:
                break
            self._signs.busy(self._number, False)
            if self._signs.over:
                raise _Over
            time.sleep(0.002)
        try:
            yield
        finally:
            self._signs.busy(self._number, False)

    def _end(self, op: Op, answer: httpx.Response) -> None:
        op.status = answer.status_code
        self._writer.end(op)

    def _send_again(self, op: Op, first: httpx.Response, path: str, **content: Any) -> None:
        """A retry after the answer: it gets the same one."""
        again = self._until_answered(
            f"{op.op_id}/again", "POST", path, headers={"idempotency-key": op.op_id}, **content
        )
        if again.headers.get("idempotency-replayed") == "true":
            assert (again.status_code, again.content) == (first.status_code, first.content), op.op_id
            self._writer.note("replayed", op.op_id)
            return
        # The database went away between the commit and the keeping of the answer.
        ids = [each["enrollment_id"] for each in again.json()["enrollments"]]
        assert again.status_code == 200, f"{op.op_id}: {again.status_code} {json.dumps(again.json())[:300]}"
        assert ids == list(op.ids.values()), f"{op.op_id}: a retry was stored twice"
        self._writer.note("found", op.op_id)

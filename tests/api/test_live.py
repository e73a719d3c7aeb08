"""The WebSocket /v1/verify/live against a real server."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app.arrays import Waveform
from app.service.access import make_key
from app.store import Repository, Vault, make_engine
from tests.codecs import encode
from tests.served import assert_problem, clip, enroll, serving, settings_for, wav
from training.signals import speech_like

ADA, BOB = 1, 2
FRAME = 3_200
"""Samples of a fifth of a second."""


@contextmanager
def conversation(client: httpx.Client, headers: dict[str, str] | None = None) -> Iterator[ClientConnection]:
    address = str(client.base_url).replace("http", "ws").rstrip("/") + "/v1/verify/live"
    with connect(address, additional_headers=headers, open_timeout=20, close_timeout=20) as socket:
        yield socket


def samples(waveform: Waveform) -> bytes:
    return (np.clip(waveform, -1, 1) * 32_767).astype("<i2").tobytes()


def start(socket: ClientConnection, **fields: Any) -> None:
    socket.send(json.dumps({"speaker_id": "ada", "sample_rate_hz": 16_000, **fields}))


def say(socket: ClientConnection, data: bytes, size: int = 2 * FRAME) -> None:
    for place in range(0, len(data), size):
        socket.send(data[place : place + size])


def rest(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Every frame until the server closes, and the code it closes with."""
    frames = [json.loads(text) for text in iter(partial(received, socket), "")]
    assert socket.close_code is not None
    return frames, socket.close_code


def received(socket: ClientConnection) -> str:
    """The next frame; nothing once the server has closed."""
    try:
        return str(socket.recv(timeout=30))
    except ConnectionClosed:
        return ""


def problem(socket: ClientConnection) -> tuple[dict[str, Any], int]:
    frames, code = rest(socket)
    assert frames[-1]["type"] == "problem"
    return frames[-1]["problem"], code


def test_a_decision_comes_as_soon_as_there_is_enough_speech(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    spoken = speech_like(6.0, speaker=ADA, take=7)
    with conversation(client) as socket:
        start(socket, min_speech_s=2.0)
        say(socket, samples(spoken))
        socket.send(json.dumps({"type": "end"}))
        frames, code = rest(socket)
    assert code == 1000
    kinds = [frame["type"] for frame in frames]
    first = kinds.index("decision")
    assert set(kinds[:first]) == {"progress"}
    assert set(kinds[first:]) == {"decision"}
    left = [frame["remaining_speech_s"] for frame in frames[:first]]
    assert left == sorted(left, reverse=True)
    assert frames[first]["audio"]["duration_s"] < 4.0
    assert [frame["final"] for frame in frames[first:]] == [False] * (len(frames) - first - 1) + [True]
    heard = [frame["audio"]["speech_s"] for frame in frames[first:-1]]
    assert all(later - sooner >= 1.0 for sooner, later in pairwise(heard))
    assert all(frame["decision"] == "accept" for frame in frames[first:])


def test_the_last_decision_is_that_of_verify(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    spoken = speech_like(5.0, speaker=BOB, take=3)
    with conversation(client) as socket:
        start(socket, target_fmr=0.01)
        say(socket, samples(spoken))
        socket.send(json.dumps({"type": "end"}))
        last = rest(socket)[0][-1]
    form = {"speaker_id": "ada", "target_fmr": "0.01"}
    verified = client.post("/verify", files={"audio": wav(spoken)}, data=form).json()
    assert last["decision"] == verified["decision"] == "reject"
    assert last["score"] == pytest.approx(verified["score"], abs=1e-4)
    assert set(last) == {*verified, "type", "final"}
    assert last["threshold"] == verified["threshold"]


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_a_telephone_line_is_understood(client: httpx.Client, encoding: str, subtype: str) -> None:
    enroll(client, "ada", ADA)
    coded = encode(speech_like(5.0, speaker=ADA, take=4)[::2], "wav", 8_000, subtype=subtype)
    data = coded[coded.index(b"data") + 8 :]
    with conversation(client) as socket:
        start(socket, sample_rate_hz=8_000, encoding=encoding)
        say(socket, data, 1_600)
        socket.send(json.dumps({"type": "end"}))
        frames, code = rest(socket)
    assert code == 1000
    assert frames[-1]["audio"]["sample_rate_hz"] == 8_000
    assert frames[-1]["audio"]["codec"] == encoding
    assert frames[-1]["audio"]["duration_s"] == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize(
    ("first", "code", "field"),
    [
        ("{", "malformed_request", None),
        (b"\0\0", "malformed_request", None),
        (json.dumps([1]), "validation_error", None),
        (json.dumps({"speaker_id": "ada"}), "validation_error", "sample_rate_hz"),
        (json.dumps({"speaker_id": "ada", "sample_rate_hz": 16000, "x": 1}), "validation_error", "x"),
        (json.dumps({"speaker_id": "a b", "sample_rate_hz": 16000}), "invalid_speaker_id", None),
        (json.dumps({"speaker_id": "nobody", "sample_rate_hz": 16000}), "speaker_not_found", None),
        (json.dumps({"speaker_id": "ada", "sample_rate_hz": 4000}), "sample_rate_too_low", None),
        (
            json.dumps({"speaker_id": "ada", "sample_rate_hz": 16000, "threshold": 1, "target_fmr": 0.1}),
            "conflicting_parameters",
            None,
        ),
        (
            json.dumps({"speaker_id": "ada", "sample_rate_hz": 16000, "min_speech_s": 0.1}),
            "validation_error",
            "min_speech_s",
        ),
    ],
)
def test_a_wrong_beginning_is_refused(
    client: httpx.Client, first: str | bytes, code: str, field: str | None
) -> None:
    enroll(client, "ada", ADA)
    with conversation(client) as socket:
        socket.send(first)
        document, closed = problem(socket)
    assert (document["code"], closed) == (code, 1008)
    assert field is None or document["reasons"][0]["field"] == field
    assert document["request_id"]


def test_what_comes_later_is_checked_too(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    for frame in (b"\0\0\0", '{"type": "stop"}'):
        with conversation(client) as socket:
            start(socket)
            socket.send(frame)
            document, closed = problem(socket)
        assert (document["code"], closed) == ("malformed_request", 1008)
    with conversation(client) as socket:
        start(socket)
        socket.send(bytes((1 << 20) + 2))
        document, closed = problem(socket)
    assert (document["code"], closed) == ("payload_too_large", 1009)


def test_the_end_without_speech_is_a_refusal(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    for data, code in ((b"", "audio_empty"), (bytes(96_000), "no_speech")):
        with conversation(client) as socket:
            start(socket)
            say(socket, data)
            socket.send(json.dumps({"type": "end"}))
            document, closed = problem(socket)
        assert (document["code"], closed) == (code, 1008)
    with conversation(client) as socket:
        start(socket, min_speech_s=5.0)
        say(socket, samples(speech_like(3.0, speaker=ADA)))
        socket.send(json.dumps({"type": "end"}))
        document, closed = problem(socket)
    assert document["code"] == "insufficient_speech"
    assert document["audio"]["speech_s"] > 1.0


def test_the_limits_of_time_and_number(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url, live_max_duration_s=4.0, live_idle_s=1.0, live_at_once=2)
    with serving(settings) as client:
        enroll(client, "ada", ADA)
        with conversation(client) as socket:
            start(socket, min_speech_s=2.0)
            say(socket, samples(speech_like(6.0, speaker=ADA, take=2)))
            frames, code = rest(socket)
        assert (frames[-1]["type"], frames[-1]["final"], code) == ("decision", True, 1000)
        assert frames[-1]["audio"]["duration_s"] == pytest.approx(4.0, abs=0.01)
        with conversation(client) as socket:
            start(socket)
            document, closed = problem(socket)  # and nothing more: the client has fallen silent
        assert (document["code"], closed) == ("malformed_request", 1008)
        deadline = time.monotonic() + 20
        with conversation(client) as one, conversation(client) as two, conversation(client):
            start(one)  # the third says nothing and takes no place
            start(two)
            refused: tuple[str, int] = ("", 0)
            while refused[0] != "overloaded":
                assert time.monotonic() < deadline, "there is a place for everybody"
                say(one, bytes(640))
                say(two, bytes(640))
                with conversation(client) as four:
                    start(four, speaker_id="nobody")
                    document, closed = problem(four)
                refused = (document["code"], closed)
            assert refused == ("overloaded", 1013)
        while (code_of := decided(client, None, speaker_id="nobody")) == "overloaded":
            assert time.monotonic() < deadline, "the places do not come free again"
        assert code_of == "speaker_not_found"


def test_a_client_that_leaves_leaves_nothing_behind(
    models_dir: Path, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(models_dir, sqlite_url, lockout_after=2)
    with caplog.at_level(logging.INFO, "timbre.requests"), serving(settings) as client:
        enroll(client, "zaphod", ADA)
        for _ in range(2):
            with conversation(client, {"X-Request-Id": "gone"}) as socket:
                start(socket, speaker_id="zaphod", min_speech_s=1.0)
                say(socket, samples(speech_like(3.0, speaker=BOB, take=1)))
                while json.loads(socket.recv(timeout=20))["type"] != "decision":
                    pass
        deadline = time.monotonic() + 20
        while len(lines := ended(caplog)) < 2:
            assert time.monotonic() < deadline, "a conversation does not end"
            time.sleep(0.02)
        locked = client.post("/verify", files={"audio": clip(ADA)}, data={"speaker_id": "zaphod"})
        # Who saw a rejection and left has failed all the same.
        assert_problem(locked, 423, "verification_locked")
        with conversation(client) as socket:
            start(socket, speaker_id="zaphod")
            assert problem(socket)[0]["code"] == "verification_locked"
    assert all(line["request_id"] == "gone" for line in lines)
    assert all(line["code"] == "client_disconnected" for line in lines)
    assert all(line["route"] == "/v1/verify/live" and 1 < line["audio_s"] < 4 for line in lines)
    assert "zaphod" not in caplog.text


def ended(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The log lines of the conversations that are over."""
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "timbre.requests"]
    return [line for line in lines if line.get("method") == "WEBSOCKET"]


def test_a_page_of_another_origin_needs_a_key(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    assert decided(client, {"Origin": "https://elsewhere.example"}) == "unauthorized"
    assert decided(client, {"Origin": str(client.base_url).rstrip("/")}) == "accept"


def test_a_server_that_stops_ends_its_conversations(models_dir: Path, sqlite_url: str) -> None:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(serving(settings_for(models_dir, sqlite_url)))
        enroll(client, "ada", ADA)
        with conversation(client) as socket:
            start(socket)
            say(socket, samples(speech_like(1.0, speaker=ADA)))
            assert json.loads(socket.recv(timeout=20))["type"] == "progress"
            stopping = threading.Thread(target=stack.close)
            stopping.start()
            frames, code = rest(socket)
            stopping.join(20)
            assert not stopping.is_alive()
        assert (frames, code) == ([], 1012)


def test_keys_count_in_the_handshake_and_in_the_first_frame(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url)
    with serving(settings) as client:
        enroll(client, "ada", ADA)
        vault = Vault.load(settings.master_key_path, settings.given_master_key)
        engine = make_engine(sqlite_url)
        repository = Repository(engine, vault)
        good = make_key(repository, "default", ["verify"]).token
        other = make_key(repository, "default", ["read"]).token
        engine.dispose()
        for headers in ({"Authorization": f"Bearer {good}"}, {"X-Api-Key": good}):
            assert decided(client, headers) == "accept"
        assert decided(client, None, api_key=good) == "accept"
        assert decided(client, None) == "unauthorized"
        assert decided(client, {"X-Api-Key": other}) == "insufficient_scope"
        assert decided(client, {"X-Api-Key": other}, api_key=good) == "insufficient_scope"
        assert decided(client, None, api_key=good[:-1] + "!") == "unauthorized"


def decided(client: httpx.Client, headers: dict[str, str] | None, **fields: str) -> str:
    """The last decision of a conversation, or the code of its refusal."""
    with conversation(client, headers) as socket:
        with suppress(ConnectionClosed):
            start(socket, **fields)
            say(socket, samples(speech_like(4.0, speaker=ADA, take=5)))
            socket.send(json.dumps({"type": "end"}))
        last = rest(socket)[0][-1]
    return str(last["problem"]["code"] if last["type"] == "problem" else last["decision"])


def test_a_conversation_counts_once_and_is_written_down_once(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url, lockout_after=2, audit_decisions=True)
    with serving(settings) as client:
        enroll(client, "ada", ADA)
        with conversation(client) as socket:
            start(socket, min_speech_s=1.0)
            say(socket, samples(speech_like(5.0, speaker=BOB, take=1)))
            socket.send(json.dumps({"type": "end"}))
            frames = rest(socket)[0]
        decisions = [frame["decision"] for frame in frames if frame["type"] == "decision"]
        assert len(decisions) > 2
        assert set(decisions) == {"reject"}
        second = client.post("/verify", files={"audio": clip(BOB)}, data={"speaker_id": "ada"})
        assert second.status_code == 200, "one conversation is one failure"
        third = client.post("/verify", files={"audio": clip(ADA)}, data={"speaker_id": "ada"})
        assert_problem(third, 423, "verification_locked")
        written = client.get("/v1/audit").json()["entries"]
        assert [each["action"] for each in written].count("voice.verified") == 2

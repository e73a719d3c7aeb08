"""Shedding and abandoning: who finds no place is told at once, who has left never reaches the model."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from websockets.sync.client import connect

from app.api.lanes import Lane
from app.api.routes import ROUTERS
from app.errors import Overloaded
from app.main import create_app
from tests.api.wires import figure, one_answer, send, until, wire
from tests.served import assert_problem, audio, clip, enroll, serving_app, settings_for, wav
from training.signals import speech_like

Served = tuple[FastAPI, httpx.Client]
UPLOAD = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
LANES = ("recordings", "segments")
TAKEN = 'timbre_places_taken{lane="recordings"}'
UPLOADED = "timbre_upload_bytes"
WAITING = 'timbre_recordings_waiting{lane="recordings"}'
SHED = 'timbre_shed_total{lane="recordings"}'
RUNS = 'timbre_model_runs_total{model="tiny"}'
GONE = 'timbre_refusals_total{code="client_disconnected"}'


@pytest.fixture(scope="module")
def served(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that works on one recording at a time and lets two wait."""
    settings = settings_for(
        models_dir,
        f"sqlite:///{tmp_path_factory.mktemp('gate') / 'timbre.db'}",
        inference_workers=1,
        recordings_at_once=1,
        recordings_waiting=2,
        lockout_after=0,
    )
    app = create_app(settings)
    with serving_app(app, settings) as client:
        enroll(client, "ada", voice=1)
        yield app, client


@contextmanager
def model_held(app: FastAPI) -> Iterator[None]:
    """The model is busy within the block."""
    begun, leave = threading.Event(), threading.Event()

    def hold(_options: Any) -> None:
        begun.set()
        leave.wait(30)

    embedder = app.state.parts.shelf.serving("tiny").embedder
    holding = threading.Thread(target=embedder._admission.run, args=(hold,))
    holding.start()
    assert begun.wait(5)
    try:
        yield
    finally:
        leave.set()
        holding.join()


def calm(client: httpx.Client) -> None:
    """Nobody has been turned away for a while."""
    until(lambda: not any(figure(client, f'timbre_crowded{{lane="{lane}"}}') for lane in LANES))


@contextmanager
def full(served: Served) -> Iterator[list[Future[httpx.Response]]]:
    """One recording is worked on and two wait, as long as the block lasts; their answers."""
    app, client = served
    calm(client)
    with ThreadPoolExecutor(3) as pool:
        with model_held(app):
            answers = [pool.submit(client.post, "/identify", files=audio(clip(1, 5))) for _ in range(3)]
            until(lambda: figure(client, WAITING) == 2 or any(answer.done() for answer in answers))
            assert not [answer.result() for answer in answers if answer.done()], "nobody is answered yet"
            yield answers
        assert [answer.result().status_code for answer in answers] == [200] * 3


def nothing_is_held(client: httpx.Client) -> None:
    """Every place and all memory is given back, shortly after the answer."""
    until(lambda: figure(client, TAKEN) == 0)
    until(lambda: figure(client, UPLOADED) == 0)


def noticed(client: httpx.Client) -> None:
    """Let the server see who has left: it looks at every connection before it answers a second time."""
    for _ in range(3):
        client.get("/healthz")


def upload(body: bytes) -> bytes:
    return UPLOAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


# ---------------------------------------------------------------- turned away


def test_who_finds_no_place_is_told_before_the_upload(served: Served) -> None:
    _, client = served
    shed = figure(client, SHED)
    with full(served), wire(client) as connection, wire(client) as expecting:
        send(connection, UPLOAD + b"Content-Length: 100000\r\n\r\n")  # and nothing of the body
        status, document = one_answer(connection)
        assert (status, document["code"]) == (503, "overloaded")
        assert document["reasons"][0]["workers"] == 1
        assert document["reasons"][0]["waiting"] == 2
        send(expecting, UPLOAD + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        assert one_answer(expecting)[0] == 503, "it was not asked for the body"
        # The connection is good for more, once the body that nobody wants is through.
        send(connection, b"x" * 100_000 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one_answer(connection)[0] == 200
    assert figure(client, SHED) == shed + 2


def test_a_client_that_is_still_sending_sees_the_refusal(served: Served) -> None:
    _, client = served
    runs = figure(client, RUNS)
    with full(served):
        for content in (bytes(1_900_000), (bytes(50_000) for _ in range(30))):
            refused = client.post("/enroll", content=content, headers={"idempotency-key": "one"})
            assert_problem(refused, 503, "overloaded")
        large = client.post("/enroll", content=bytes(30_000_000))
        assert_problem(large, 503, "overloaded")
    assert figure(client, RUNS) == runs + 3


def test_everything_else_is_answered_meanwhile(served: Served) -> None:
    _, client = served
    with full(served):
        for path in ("/healthz", "/readyz", "/metrics", "/v1/speakers", "/v1/speakers/ada", "/v1/policy"):
            assert client.get(path).status_code == 200, path
        assert client.patch("/v1/speakers/ada", json={"display_name": "Ada"}).status_code == 200
        assert client.post("/v1/segments", content=b"").status_code == 422


def test_every_call_that_takes_a_recording_has_a_place(served: Served) -> None:
    _, client = served
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    bodies = {route.path: str((route.openapi_extra or {}).get("requestBody")) for route in routes}
    taking = [path for path, body in bodies.items() if "audio/" in body]
    assert {"/enroll", "/v1/enroll", "/verify", "/identify", "/v1/audio/quality"} <= set(taking)
    assert len(taking) >= 9
    with full(served):
        for path in taking:
            if path != "/v1/segments":
                answer = client.post(path.replace("{profile_id:profile}", "0" * 32), content=clip(1))
                assert answer.status_code == 503, path


def test_a_slow_upload_gives_its_place_away(served: Served) -> None:
    _, client = served
    calm(client)
    recording = clip(1, 5)
    with wire(client) as first, wire(client) as second, wire(client) as third:
        slow = (first, second, third)
        for connection in slow:
            send(connection, upload(recording)[:-1000])
        until(lambda: figure(client, UPLOADED) > 2.9 * len(recording))
        until(lambda: figure(client, TAKEN) == 0)
        assert client.post("/identify", files=audio(recording)).status_code == 200
        for connection in slow:
            send(connection, recording[-1000:])
        assert [one_answer(connection)[0] for connection in slow] == [200] * 3
    until(lambda: figure(client, UPLOADED) == 0)


def test_a_slow_upload_that_finds_no_place_in_the_end(served: Served) -> None:
    _, client = served
    calm(client)
    recording = clip(1, 5)
    with wire(client) as slow:
        send(slow, upload(recording)[:-1000])
        until(lambda: figure(client, UPLOADED) > 0)
        until(lambda: figure(client, TAKEN) == 0)
        with full(served):
            send(slow, recording[-1000:])
            status, document = one_answer(slow)
            assert (status, document["code"]) == (503, "overloaded")


# ---------------------------------------------------------------- left


def test_who_left_never_reaches_the_model(served: Served) -> None:
    app, client = served
    calm(client)
    runs, gone = figure(client, RUNS), figure(client, GONE)
    recording = clip(1, 5)
    with ThreadPoolExecutor(1) as pool, model_held(app):
        working = wire(client)
        with working as connection:
            send(connection, upload(recording))
            until(lambda: figure(client, 'timbre_recordings_working{lane="recordings"}') == 1)
            with wire(client) as waiting, wire(client) as uploading:
                send(waiting, upload(recording))
                until(lambda: figure(client, WAITING) == 1)
                send(uploading, upload(recording)[:-1000])
                until(lambda: figure(client, UPLOADED) > 2.5 * len(recording))
            until(lambda: figure(client, GONE) == gone + 2)  # at once, though nothing else moves
            until(lambda: figure(client, TAKEN) == 1)
            stays = pool.submit(client.post, "/identify", files=audio(recording))
            until(lambda: figure(client, WAITING) == 1)
        noticed(client)  # who waits for the model has left now too
    assert stays.result().json()["speaker_id"] == "ada"
    until(lambda: figure(client, GONE) == gone + 3)
    assert figure(client, RUNS) == runs + 1, "the model ran for the one that stayed"
    nothing_is_held(client)


def test_an_enrolment_that_was_left_stores_nothing_and_can_be_tried_again(served: Served) -> None:
    app, client = served
    calm(client)
    runs, gone = figure(client, RUNS), figure(client, GONE)
    head = b"POST /enroll?speaker_id=bob HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: again\r\n"
    with model_held(app):
        with wire(client) as connection:
            body = clip(2)
            send(connection, head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: figure(client, 'timbre_recordings_working{lane="recordings"}') == 1)
        noticed(client)
    until(lambda: figure(client, GONE) == gone + 1)
    assert_problem(client.get("/v1/speakers/bob"), 404, "speaker_not_found")
    assert figure(client, RUNS) == runs
    again = client.post(
        "/enroll", params={"speaker_id": "bob"}, content=clip(2), headers={"idempotency-key": "again"}
    )
    assert again.status_code == 201
    client.delete("/v1/speakers/bob")


def test_segments_that_nobody_waits_for(served: Served) -> None:
    app, client = served
    calm(client)
    runs, gone = figure(client, RUNS), figure(client, GONE)
    meeting = wav(np.concatenate([speech_like(5.0, speaker=speaker) for speaker in (1, 2, 1)]))
    with model_held(app):
        with wire(client) as connection:
            send(connection, upload(meeting).replace(b"/identify", b"/v1/segments"))
            until(lambda: figure(client, 'timbre_recordings_working{lane="segments"}') == 1)
            time.sleep(0.3)  # for the decoder
        noticed(client)
    until(lambda: figure(client, GONE) == gone + 1)
    assert figure(client, RUNS) == runs
    assert client.post("/v1/segments", content=meeting).status_code == 200


def test_a_live_verification_that_is_left_while_it_is_looked_at(served: Served) -> None:
    app, client = served
    calm(client)
    runs = figure(client, RUNS)
    address = str(client.base_url).replace("http", "ws").rstrip("/") + "/v1/verify/live"
    samples = (speech_like(4.0, speaker=1, take=7) * 32_767).astype("<i2").tobytes()
    with model_held(app):
        with connect(address) as socket:
            socket.send(json.dumps({"speaker_id": "ada", "sample_rate_hz": 16_000}))
            for begin in range(0, len(samples), 64_000):
                socket.send(samples[begin : begin + 64_000])
            until(lambda: figure(client, 'timbre_recordings_working{lane="recordings"}') == 1)
        noticed(client)
    until(lambda: figure(client, TAKEN) == 0)
    assert figure(client, RUNS) == runs


# ---------------------------------------------------------------- the lane by itself


def test_a_crowd_ends_the_queue_until_it_is_over() -> None:
    lane = Lane(4, 2, usual_s=0.1)
    for _ in range(6):
        lane.take()
    assert not lane.crowded
    with pytest.raises(Overloaded):
        lane.take()
    for _ in range(4):
        assert lane.crowded
        assert lane.full, "two are worked on, half of what could be"
        lane.leave()
    lane.leave()
    lane.take()
    with pytest.raises(Overloaded):
        lane.take()
    until(lambda: not lane.crowded)
    for _ in range(4):
        lane.take()


def test_the_refusal_says_when_a_place_should_be_free() -> None:
    lane = Lane(2, 4, usual_s=3.0)
    for _ in range(6):
        lane.take()
    with pytest.raises(Overloaded) as refused:
        lane.take()
    assert (refused.value.workers, refused.value.waiting) == (2, 4)
    assert refused.value.retry_after_s == 8  # five turns of three seconds, two at a time
    assert (lane.taken, lane.shed) == (6, 1)


def test_the_time_of_a_turn_is_learnt() -> None:
    lane = Lane(1, 0, usual_s=100.0)

    async def main() -> None:
        for _ in range(50):
            lane.take()
            await lane.run(time.sleep, 0)
            lane.leave()

    anyio.run(main)
    lane.take()
    assert lane.overloaded().retry_after_s == 1


def test_a_request_that_fails_gives_its_place_back(served: Served) -> None:
    _, client = served
    for _ in range(5):
        assert_problem(client.post("/identify", content=b"no recording"), 415, "unsupported_media_type")
    with wire(client) as connection:
        send(connection, upload(b"no recording"))
        assert one_answer(connection)[0] == 415
        send(connection, UPLOAD + b"Content-Length: 2000001\r\n\r\n")
        assert one_answer(connection)[0] == 413
    nothing_is_held(client)

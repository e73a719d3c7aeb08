"""Limits of size, number and time, over real sockets: what is beyond them is refused and holds nothing."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.api.wires import drip, everything, figure, one_answer, refusal, send, until, wire
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
UPLOAD = b"POST /identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
MB = 1_000_000


@pytest.fixture(scope="module")
def small(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with small limits."""
    settings = settings_for(
        models_dir,
        f"sqlite:///{tmp_path_factory.mktemp('limits') / 'timbre.db'}",
        header_timeout_s=0.6,
        idle_timeout_s=0.6,
        body_timeout_s=1.5,
        keep_alive_s=3,
        max_recording_bytes=200_000,
        max_uploads_bytes=1_000_000,
        recordings_waiting=20,
        lockout_after=0,
    )
    with serving(settings) as client:
        yield client


# ---------------------------------------------------------------- sizes and numbers


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /?" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "url_too_long"),
        (b"GET /" + b"x" * MB, 414, "url_too_long"),
        (GET + b"X: y\r\n" * 100 + b"\r\n", 431, "headers_too_large"),
        (GET + b"X: y\r\n" * 10_000 + b"\r\n", 431, "headers_too_large"),
        (GET + b"X: " + b"y" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"X: " + b"y" * MB, 431, "headers_too_large"),
        (GET + b"x" * MB, 431, "headers_too_large"),
        (b"\r\n" * MB, 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed_request"),
        (GET + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed_request"),
    ],
    ids=range(11),
)
def test_what_is_no_request_yet_is_refused(
    small: httpx.Client, request_: bytes, status: int, code: str
) -> None:
    with wire(small) as connection:
        send(connection, request_)
        assert refusal(everything(connection)) == (status, code)


def test_what_was_no_request_is_counted(small: httpx.Client) -> None:
    name = 'timbre_connections_refused_total{code="headers_too_large"}'
    before = figure(small, name)
    with wire(small) as connection:
        send(connection, GET + b"X: y\r\n" * 10_000)
        assert refusal(everything(connection)) == (431, "headers_too_large")
    assert figure(small, name) == before + 1


def test_just_within_the_limits_is_taken(small: httpx.Client) -> None:
    with wire(small) as connection:
        send(connection, GET + b"X: y\r\n" * 98 + b"X: " + b"y" * 30_000 + b"\r\n\r\n")
        assert one_answer(connection)[0] == 200
    assert small.get("/healthz", params={"x": "y" * 16_000}).status_code == 200


@pytest.mark.parametrize(
    ("rest", "status", "code"),
    [
        (b"0\r\nX: " + b"y" * MB, 431, "headers_too_large"),
        (b"0\r\n" + b"X: y\r\n" * 10_000, 431, "headers_too_large"),
        (b"5;" + b"y" * MB, 431, "headers_too_large"),
        (b"zz\r\n", 400, "malformed_request"),
        (b"f" * 18 + b"\r\n", 400, "malformed_request"),
    ],
    ids=range(5),
)
def test_a_body_that_is_none_frees_the_connection(
    small: httpx.Client, rest: bytes, status: int, code: str
) -> None:
    with wire(small) as connection:
        send(connection, UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        until(lambda: figure(small, "timbre_upload_bytes") == 1)
        send(connection, rest)
        assert refusal(everything(connection)) == (status, code)
    until(lambda: figure(small, 'timbre_places_taken{lane="recordings"}') == 0)
    assert figure(small, "timbre_upload_bytes") == 0


def test_a_part_that_is_too_large_names_itself(small: httpx.Client) -> None:
    files = [*audio(clip(1)), *audio(b"x" * 200_001)]
    document = assert_problem(small.post("/enroll", files=files), 413, "payload_too_large")
    assert document["reasons"][0]["field"] == "audio"
    assert document["reasons"][0]["limit_bytes"] == 200_000
    assert_problem(small.post("/verify", content=b"x" * 200_001), 413, "payload_too_large")


def test_parts_and_fields_are_few_and_short(small: httpx.Client) -> None:
    many = [("audio", (None, b""))] * 2_001
    assert_problem(small.post("/enroll", files=many), 400, "malformed_request")
    several = [("audio", (None, b""))] * 5
    assert_problem(small.post("/enroll", files=several), 422, "validation_error")
    long = {"speaker_id": "x" * 70_000}
    assert_problem(small.post("/verify", files=audio(clip(1)), data=long), 422, "validation_error")


def test_what_all_uploads_hold_is_bounded_and_given_back(small: httpx.Client) -> None:
    head = UPLOAD + b"Content-Length: 190000\r\n\r\n"
    with ExitStack() as open_:
        held = []
        for _ in range(6):
            held.append(open_.enter_context(wire(small)))
            send(held[-1], head + b"x" * 180_000)
        answers = [everything(connection) for connection in held]
    codes = sorted(refusal(answer) for answer in answers)
    assert codes == [(408, "request_timeout")] * 5 + [(503, "overloaded")]
    until(lambda: figure(small, "timbre_upload_bytes") == 0)


# ---------------------------------------------------------------- time


def test_a_header_that_does_not_come(small: httpx.Client) -> None:
    with wire(small) as silent, wire(small) as stopped, wire(small) as slow:
        send(stopped, b"GET /healthz HTT")
        threading.Thread(target=lambda: [time.sleep(0.1) or send(slow, b"G") for _ in range(20)]).start()
        assert everything(silent) == b""
        assert refusal(everything(stopped)) == (408, "request_timeout")
        assert everything(slow)[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 408"}


def test_a_body_that_stops_or_drips(small: httpx.Client) -> None:
    head = UPLOAD + b"Content-Length: 100000\r\n\r\n"
    with wire(small) as stopped, wire(small) as slow:
        send(stopped, head + b"x")
        send(slow, head)
        step = drip(slow, b"x", 0.2)
        began = time.monotonic()
        assert refusal(everything(stopped)) == (408, "request_timeout")
        slow.settimeout(0.05)
        answer = b""
        while not answer:
            assert step()
            try:
                answer = slow.recv(65536)
            except TimeoutError:
                assert time.monotonic() < began + 10
        assert answer.startswith(b"HTTP/1.1 408")
    until(lambda: figure(small, "timbre_upload_bytes") == 0)


@pytest.mark.parametrize("path", [b"/v1/speakers", b"/v1/policy"])
def test_json_that_does_not_come(small: httpx.Client, path: bytes) -> None:
    method = b"PATCH" if path.endswith(b"policy") else b"POST"
    with wire(small) as connection:
        send(connection, method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert refusal(everything(connection)) == (408, "request_timeout")


def test_a_body_that_goes_on_after_its_answer(small: httpx.Client) -> None:
    with wire(small) as connection:
        send(connection, UPLOAD.replace(b"identify", b"nowhere") + b"Content-Length: 9000\r\n\r\n")
        assert one_answer(connection)[0] == 404
        step, end = drip(connection, b"x", 0.1), time.monotonic() + 10
        while step():
            assert time.monotonic() < end, "it is read for ever"
            time.sleep(0.02)


def test_an_idle_connection_is_closed(small: httpx.Client) -> None:
    with wire(small) as connection:
        send(connection, GET + b"\r\n")
        assert one_answer(connection)[0] == 200
        assert everything(connection) == b""
    with wire(small) as connection:  # line ends are no request, and do not keep it open
        send(connection, GET + b"\r\n")
        assert one_answer(connection)[0] == 200
        step, end = drip(connection, b"\r\n", 0.1), time.monotonic() + 10
        while step():
            assert time.monotonic() < end, "it is kept for ever"
            time.sleep(0.02)


def test_a_connection_whose_upload_was_refused_stays_open_as_long_as_any_other(small: httpx.Client) -> None:
    with wire(small) as connection:
        send(connection, UPLOAD + b"Content-Length: %d\r\n\r\n" % (9 * MB))
        assert one_answer(connection)[0] == 413
        send(connection, bytes(9 * MB))
        time.sleep(0.8)  # longer than a header may take, shorter than a connection is kept
        send(connection, GET + b"\r\n")
        assert one_answer(connection)[0] == 200
        assert everything(connection) == b""


def test_answers_that_nobody_takes(small: httpx.Client) -> None:
    with wire(small) as connection:
        send(connection, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 60)
        time.sleep(2.0)
        taken = len(everything(connection))
    assert taken < 60 * len(small.get("/openapi.json").content)


# ---------------------------------------------------------------- the crowd


def test_two_hundred_slow_clients_keep_nobody_from_being_served(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(
        models_dir, sqlite_url, max_connections=120, recordings_at_once=1, recordings_waiting=1
    )
    beginnings = (
        b"",
        b"GET /heal",
        GET + b"X: ",
        UPLOAD + b"Content-Length: 100000\r\n\r\nx",
        UPLOAD.replace(b"/identify", b"/v1/segments") + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    )
    with serving(settings) as client, ExitStack() as open_:
        enroll(client, "ada", voice=1)
        for number in range(200):
            connection = open_.enter_context(wire(client))
            send(connection, beginnings[number % len(beginnings)])
        with httpx.Client(base_url=client.base_url, timeout=20) as newcomer:
            until(lambda: figure(newcomer, 'timbre_places_taken{lane="recordings"}') == 0)
            assert newcomer.get("/readyz").status_code == 200
            for take in range(3):
                heard = newcomer.post("/identify", files=audio(clip(1, 5 + take)))
                assert heard.json()["speaker_id"] == "ada"
            assert newcomer.post("/v1/segments", files=audio(clip(1, 5))).status_code == 200


def test_when_all_connections_are_at_work_the_next_is_told(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url, max_connections=8)
    with serving(settings) as client, ExitStack() as open_:
        for _ in range(8):
            connection = open_.enter_context(wire(client))
            send(connection, UPLOAD.replace(b"identify", b"v1/imports") + b"Content-Length: 10\r\n\r\n")
        time.sleep(0.3)
        with wire(client) as late:
            assert refusal(everything(late)) == (503, "overloaded")

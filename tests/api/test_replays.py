"""Idempotency keys, over HTTP, on both databases: a retry is answered as the first request was."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from app.api.replaying import _Digest
from app.settings import Settings
from app.store.tables import Replay
from tests.served import assert_problem, audio, clip, enroll

KEY = {"idempotency-key": "8c0f-first"}


@pytest.fixture
def rows(shared_settings: Settings) -> Iterator[Session]:
    """The table of kept answers, emptied."""
    engine = create_engine(shared_settings.database_url)
    with Session(engine) as session:
        session.query(Replay).delete()
        session.commit()
        yield session
    engine.dispose()


def kept(session: Session) -> list[Replay]:
    session.expire_all()
    found = list(session.scalars(select(Replay)))
    session.rollback()
    return found


def post(client: httpx.Client, *clips: bytes, headers: dict[str, str] = KEY, **fields: str) -> httpx.Response:
    return client.post("/enroll", files=audio(*clips), data=fields, headers=headers)


def test_the_same_request_is_answered_again_and_done_once(client: httpx.Client, rows: Session) -> None:
    first = post(client, clip(1), display_name="Ada")
    again = post(client, clip(1), display_name="Ada")
    assert first.status_code == again.status_code == 201
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == "application/json"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    speaker = client.get(first.headers["location"]).json()
    assert speaker["enrollments_count"] == 1
    assert len(client.get("/v1/speakers").json()["speakers"]) == 1


def test_both_addresses_of_a_call_and_a_raw_body_have_keys_too(client: httpx.Client, rows: Session) -> None:
    for number in range(2):
        answer = client.post("/v1/enroll", content=clip(1), params={"speaker_id": "ada"}, headers=KEY)
        assert answer.headers.get("idempotency-replayed") == ("true" if number else None)
    assert client.get("/v1/speakers/ada").json()["enrollments_count"] == 1


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"display_name": "Eve"}, "/enroll"),
        ({"speaker_id": "eve"}, "/enroll"),
        ({}, "/v1/enroll"),
        ({}, "/enroll?on_existing=replace"),
    ],
)
def test_the_key_of_another_request_is_refused(
    client: httpx.Client, rows: Session, changed: dict[str, str], path: str
) -> None:
    assert post(client, clip(1), display_name="Ada").status_code == 201
    other = client.post(path, files=audio(clip(1)), data={"display_name": "Ada"} | changed, headers=KEY)
    assert_problem(other, 422, "idempotency_key_reused")
    recording = post(client, clip(2), display_name="Ada")
    assert_problem(recording, 422, "idempotency_key_reused")
    assert len(client.get("/v1/speakers").json()["speakers"]) == 1


def test_a_refusal_is_remembered_too(client: httpx.Client, rows: Session) -> None:
    enroll(client, "ada", voice=1, takes=1)
    first = post(client, clip(2), speaker_id="ada", on_existing="fail")
    assert client.delete("/v1/speakers/ada").status_code == 204
    again = post(client, clip(2), speaker_id="ada", on_existing="fail")
    # The answer spoke of somebody who is gone: it went too, and the retry is a first request.
    assert (first.status_code, again.status_code) == (409, 201)
    first = post(client, b"no recording", headers={"idempotency-key": "b"})
    again = post(client, b"no recording", headers={"idempotency-key": "b"})
    assert_problem(first, 415, "unsupported_media_type")
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"


def test_a_repeated_answer_has_the_headers_of_the_first(client: httpx.Client, rows: Session) -> None:
    path = "/speaker/verification/v2.0/text-independent/profiles"
    first, again = (client.post(path, content=b"{", headers=KEY) for _ in range(2))
    own = {"date", "x-request-id", "idempotency-replayed"}
    assert first.headers.keys() == again.headers.keys() - {"idempotency-replayed"}
    for name in first.headers.keys() - own:
        assert again.headers[name] == first.headers[name]


def test_a_deletion_takes_the_kept_answers_along(client: httpx.Client, rows: Session) -> None:
    assert post(client, clip(1), speaker_id="zenobia").status_code == 201
    (row,) = kept(rows)
    assert row.subject is not None
    assert row.sealed is not None
    assert b"zenobia" not in row.sealed
    assert "zenobia" not in f"{row.route} {row.subject}"
    assert client.delete("/v1/speakers/zenobia").status_code == 204
    assert kept(rows) == []


def test_a_crash_between_storing_and_remembering_makes_no_double(client: httpx.Client, rows: Session) -> None:
    first = post(client, clip(1), clip(1, 1))
    # As if the process had died before the answer was kept, long ago.
    long_ago = datetime.now(UTC) - timedelta(minutes=6)
    rows.execute(update(Replay).values(fingerprint=None, sealed=None, status=None, created_at=long_ago))
    rows.commit()
    again = post(client, clip(1), clip(1, 1))
    assert again.status_code == 200
    assert again.json()["speaker_id"] == first.json()["speaker_id"]
    assert all(each["duplicate"] for each in again.json()["enrollments"])
    assert again.json()["enrollments_count"] == 2


@pytest.mark.parametrize("on_existing", ["fail", "replace", "append"])
def test_a_retry_after_a_crash_is_no_stranger_to_what_it_stored(
    client: httpx.Client, rows: Session, on_existing: str
) -> None:
    first = post(client, clip(1), speaker_id="ada", on_existing=on_existing)
    long_ago = datetime.now(UTC) - timedelta(minutes=6)
    rows.execute(update(Replay).values(fingerprint=None, sealed=None, status=None, created_at=long_ago))
    rows.commit()
    again = post(client, clip(1), speaker_id="ada", on_existing=on_existing)
    assert again.status_code == 200
    assert again.json()["enrollments"][0]["duplicate"]
    assert again.json()["enrollments"][0]["enrollment_id"] == first.json()["enrollments"][0]["enrollment_id"]


def test_while_the_first_is_at_work_the_second_waits(client: httpx.Client, rows: Session) -> None:
    assert post(client, clip(1)).status_code == 201
    rows.execute(update(Replay).values(fingerprint=None, created_at=datetime.now(UTC)))
    rows.commit()
    refused = post(client, clip(1))
    assert_problem(refused, 409, "idempotency_in_progress")
    assert int(refused.headers["retry-after"]) >= 1


def test_many_at_once_are_one(client: httpx.Client, rows: Session) -> None:
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(client, clip(3)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.status_code for each in answers} <= {201, 409}
    firsts = [each for each in answers if each.is_success and "idempotency-replayed" not in each.headers]
    assert len(firsts) == 1
    assert client.get(firsts[0].headers["location"]).json()["enrollments_count"] == 1


def test_a_key_is_forgotten_after_a_day(client: httpx.Client, rows: Session) -> None:
    assert post(client, clip(1), speaker_id="ada").status_code == 201
    rows.execute(update(Replay).values(created_at=datetime.now(UTC) - timedelta(hours=25)))
    rows.commit()
    other = post(client, clip(2), speaker_id="bob")
    assert other.status_code == 201
    assert "idempotency-replayed" not in other.headers
    assert len(kept(rows)) == 1


def test_what_says_not_now_is_not_remembered(client: httpx.Client, rows: Session) -> None:
    too_large = client.post("/enroll", content=bytes(2_000_001), headers=KEY)
    assert_problem(too_large, 413, "payload_too_large")
    assert kept(rows) == []
    assert post(client, clip(1)).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "ä".encode(), "x" * 129])
def test_a_key_that_is_none(client: httpx.Client, rows: Session, key: Any) -> None:
    refused = post(client, clip(1), headers={"idempotency-key": key})
    assert assert_problem(refused, 422, "validation_error")["reasons"][0]["field"] == "Idempotency-Key"
    assert client.get("/v1/speakers").json()["speakers"] == []


def test_a_key_does_nothing_where_nothing_is_changed(client: httpx.Client, rows: Session) -> None:
    for take in range(2):
        found = client.post("/identify", files=audio(clip(1, take)), headers=KEY)
        assert found.status_code == 200
        assert "idempotency-replayed" not in found.headers
    assert kept(rows) == []


def test_the_digest_is_blind_to_the_boundary_only() -> None:
    def digest(boundary: bytes, body: bytes, step: int) -> str:
        found = _Digest(boundary)
        found.start("POST", "/enroll", b"")
        for at in range(0, len(body), step):
            found.update(body[at : at + step])
        return found.hexdigest()

    def envelope(boundary: bytes, content: bytes) -> bytes:
        return b"--%b\r\nx: y\r\n\r\n%b\r\n--%b--\r\n" % (boundary, content, boundary)

    one = digest(b"abcab", envelope(b"abcab", b"voice"), 1000)
    for boundary in (b"abcab", b"zz", b"a-much-longer-boundary"):
        for step in (1, 2, 3, 7, 1000):
            assert digest(boundary, envelope(boundary, b"voice"), step) == one
    assert digest(b"abcab", envelope(b"abcab", b"voices"), 3) != one
    assert digest(b"", b"voice", 2) == digest(b"", b"voice", 5) != digest(b"", b"void", 2)


def test_an_import_may_be_larger_than_an_upload(client: httpx.Client, rows: Session) -> None:
    line = json.dumps({"speaker_id": "ada", "audio": base64.b64encode(clip(1)).decode()}).encode() + b"\n"
    body = line + b"\n" * 2_000_000  # more than a recording may have
    first = client.post("/v1/imports", content=body, headers=KEY)
    again = client.post("/v1/imports", content=body, headers=KEY)
    assert first.status_code == again.status_code == 202, first.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["job_id"] == first.json()["job_id"]
    assert client.get(first.headers["location"]).status_code == 200

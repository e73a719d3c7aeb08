"""What is owed to the people behind the voices: consent, objection, time, erasure, disclosure, the log."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.main import create_app
from app.service import access
from app.service.parts import Parts
from app.service.sweeping import sweep
from tests.served import assert_problem, audio, clip, enroll, serving_app, settings_for

Served = tuple[FastAPI, httpx.Client]


@pytest.fixture
def served(models_dir: Path, database_url: str) -> Iterator[Served]:
    app = create_app(settings_for(models_dir, database_url, sweep_s=3600))
    with serving_app(app) as client:
        yield app, client


def parts_of(app: FastAPI) -> Parts:
    parts: Parts = app.state.parts
    return parts


def rules(client: httpx.Client, **changes: object) -> None:
    answer = client.patch("/v1/policy", json=changes)
    assert answer.status_code == 200, answer.text


def everything(app: FastAPI) -> str:
    """Every value of every table, as text."""
    engine = parts_of(app).engine
    with engine.connect() as connection:
        names = (
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if engine.dialect.name == "sqlite"
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        tables = connection.scalars(text(names)).all()
        return "\n".join(repr(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)


# ---------------------------------------------------------------- consent


def test_where_consent_is_required_nobody_is_enrolled_without(served: Served) -> None:
    _, client = served
    rules(client, consent="required")
    files, data = audio(clip(1)), {"speaker_id": "ada"}
    assert_problem(client.post("/enroll", files=files, data=data), 422, "consent_required")
    assert client.get("/v1/speakers/ada").status_code == 404
    given = {**data, "consent": json.dumps({"form": "v3", "signed": "2026-01-01"})}
    assert client.post("/enroll", files=files, data=given).status_code == 201
    assert client.get("/v1/speakers/ada").json()["consent"] == {"form": "v3", "signed": "2026-01-01"}
    # Once on record, later recordings rest on it; withdrawn, they do not.
    assert client.post("/enroll", files=audio(clip(1, 1)), data=data).status_code == 201
    withdrawn = client.patch("/v1/speakers/ada", json={"consent": None})
    assert withdrawn.json()["consent"] is None
    more = client.post("/enroll", files=audio(clip(1, 2)), data=data)
    assert_problem(more, 422, "consent_required")


# ---------------------------------------------------------------- objection


def test_an_objection_outlives_the_deletion(served: Served) -> None:
    app, client = served
    enroll(client, "ada-secret", voice=1, display_name="Ada Secret")
    answer = client.post("/v1/speakers/ada-secret:opt-out").json()
    assert answer["opted_out"]
    assert client.get("/v1/speakers/ada-secret").status_code == 404
    assert "ada-secret" not in everything(app), "who objected is remembered by a digest only"
    probe, data = audio(clip(1, 5)), {"speaker_id": "ada-secret"}
    assert_problem(client.post("/enroll", files=probe, data=data), 403, "speaker_opted_out")
    assert_problem(client.post("/verify", files=probe, data=data), 403, "speaker_opted_out")
    assert client.post("/identify", files=probe).json()["gallery_size"] == 0
    receipt = client.get(f"/v1/erasures/{answer['receipt_id']}").json()
    assert (receipt["reason"], receipt["enrollments"]) == ("opt-out", 2)
    assert client.post("/v1/speakers/ada-secret:opt-in").json()["opted_out"] is False
    enroll(client, "ada-secret", voice=1)
    # Somebody who was never there may object too, and objecting twice is no error.
    for _ in range(2):
        assert client.post("/v1/speakers/stranger:opt-out").json()["receipt_id"] is None
    refused = client.post("/enroll", files=probe, data={"speaker_id": "stranger"})
    assert_problem(refused, 403, "speaker_opted_out")


# ---------------------------------------------------------------- time


def until(moment: datetime) -> None:
    """Wait for what is some seconds away."""
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()) + 0.1)


def test_a_speaker_whose_time_is_over_is_gone_at_once_and_then_deleted(served: Served) -> None:
    app, client = served
    soon = datetime.now(UTC) + timedelta(seconds=4)  # longer than a busy machine enrolls
    enroll(client, "ada-secret", voice=1, retain_until=soon.isoformat(), display_name="Ada Secret")
    enroll(client, "bob", voice=2)
    assert client.get("/v1/speakers/ada-secret").json()["retain_until"] is not None
    until(soon)
    probe = audio(clip(1, 5))
    assert client.get("/v1/speakers/ada-secret").status_code == 404
    verified = client.post("/verify", files=probe, data={"speaker_id": "ada-secret"})
    assert_problem(verified, 404, "speaker_not_found")
    named = [each["speaker_id"] for each in client.post("/identify", files=probe).json()["candidates"]]
    assert named == ["bob"]
    assert "ada-secret" in everything(app)
    assert sweep(parts_of(app)) == 1
    assert "ada-secret" not in everything(app)
    (receipt,) = client.get("/v1/erasures").json()["erasures"]
    assert (receipt["reason"], receipt["enrollments"]) == ("retention", 2)
    assert sweep(parts_of(app)) == 0


def test_whoever_comes_back_after_the_time_begins_anew(served: Served) -> None:
    _, client = served
    soon = datetime.now(UTC) + timedelta(seconds=4)
    old: dict[str, Any] = {"display_name": "Old", "metadata": '{"group": "old"}'}
    enroll(client, "ada", voice=1, retain_until=soon.isoformat(), **old)
    until(soon)
    again = client.post("/enroll", files=audio(clip(8)), data={"speaker_id": "ada"})
    assert again.status_code == 201, again.text
    speaker = client.get("/v1/speakers/ada").json()
    assert (speaker["enrollments_count"], speaker["display_name"], speaker["metadata"]) == (1, None, {})
    assert speaker["retain_until"] is None


def test_the_policy_counts_the_days_from_the_first_enrollment(served: Served) -> None:
    _, client = served
    rules(client, retention_days=30)
    enroll(client, "ada", voice=1)
    first = client.get("/v1/speakers/ada").json()["retain_until"]
    left = datetime.fromisoformat(first) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left < timedelta(days=30, seconds=5)
    client.post("/enroll", files=audio(clip(1, 3)), data={"speaker_id": "ada"})
    assert client.get("/v1/speakers/ada").json()["retain_until"] == first
    kept = client.patch("/v1/speakers/ada", json={"retain_until": None})
    assert kept.json()["retain_until"] is None


# ---------------------------------------------------------------- erasure


def test_a_deletion_leaves_a_receipt_and_nothing_else(served: Served) -> None:
    app, client = served
    rules(client, keep_audio=True)
    enroll(client, "ada-secret", voice=1, display_name="Ada Secret", metadata='{"group": "secret group"}')
    client.post("/verify", files=audio(clip(2, 5)), data={"speaker_id": "ada-secret"})
    headers = {"Idempotency-Key": "a-key"}
    more = client.post("/enroll", files=audio(clip(1, 4)), data={"speaker_id": "ada-secret"}, headers=headers)
    assert more.status_code == 201
    gone = client.delete("/v1/speakers/ada-secret")
    assert gone.status_code == 204
    receipt = client.get(f"/v1/erasures/{gone.headers['timbre-erasure-receipt']}").json()
    assert (receipt["reason"], receipt["enrollments"], receipt["recordings"]) == ("request", 3, 3)
    (listed,) = client.get("/v1/erasures", params={"speaker_id": "ada-secret"}).json()["erasures"]
    assert listed == {name: value for name, value in receipt.items() if name != "request_id"}
    assert "secret" not in everything(app).lower()
    again = client.delete("/v1/speakers/ada-secret")
    assert again.status_code == 204
    assert "timbre-erasure-receipt" not in again.headers
    assert_problem(client.get("/v1/erasures/nothing"), 404, "receipt_not_found")


def test_a_deletion_may_be_based_on_a_version(served: Served) -> None:
    _, client = served
    enroll(client, "ada", voice=1)
    etag = client.get("/v1/speakers/ada").headers["etag"]
    client.patch("/v1/speakers/ada", json={"display_name": "Ada"})
    stale = client.delete("/v1/speakers/ada", headers={"If-Match": etag})
    assert_problem(stale, 409, "concurrent_modification")
    now = client.get("/v1/speakers/ada").headers["etag"]
    assert client.delete("/v1/speakers/ada", headers={"If-Match": now}).status_code == 204


# ---------------------------------------------------------------- recordings, disclosure


def test_recordings_are_kept_only_where_the_tenant_asks(served: Served) -> None:
    _, client = served
    enroll(client, "before", voice=1)
    rules(client, keep_audio=True)
    taken = enroll(client, "after", voice=2)["enrollments"]

    def recordings(speaker_id: str) -> dict[str, str]:
        shown = client.get(f"/v1/speakers/{speaker_id}/export", params={"include_audio": "true"})
        return dict(shown.json()["recordings"])

    assert recordings("before") == {}
    kept = recordings("after")
    assert {name: base64.b64decode(data) for name, data in kept.items()} == {
        taken[0]["enrollment_id"]: clip(2, 0),
        taken[1]["enrollment_id"]: clip(2, 1),
    }
    assert client.delete(f"/v1/speakers/after/enrollments/{taken[0]['enrollment_id']}").status_code == 204
    assert list(recordings("after")) == [taken[1]["enrollment_id"]]


def test_a_person_sees_everything_that_is_stored_but_no_embedding(served: Served) -> None:
    _, client = served
    enroll(client, "ada", voice=1, display_name="Ada", consent="form 3")
    enroll(client, "bob", voice=2)
    client.patch("/v1/speakers/ada", json={"metadata": {"group": "kitchen"}})
    shown = client.get("/v1/speakers/ada/export")
    assert shown.status_code == 200
    document = shown.json()
    assert document["speaker"]["consent"] == {"reference": "form 3"}
    assert document["speaker"]["metadata"] == {"group": "kitchen"}
    assert len(document["enrollments"]) == 2
    assert [each["action"] for each in document["audit"]] == ["speaker.enrolled", "speaker.updated"]
    assert "embedding" not in shown.text
    assert "bob" not in shown.text
    assert_problem(client.get("/v1/speakers/nobody/export"), 404, "speaker_not_found")


# ---------------------------------------------------------------- the log


def actions(client: httpx.Client, **params: str) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get(
            "/v1/audit", params={"limit": "3", **params} | ({"cursor": cursor} if cursor else {})
        )
        document = page.json()
        found += [each["action"] for each in document["entries"]]
        cursor = document["next_cursor"]
        if cursor is None:
            return found


def test_the_log_tells_what_was_done_and_names_nobody(served: Served) -> None:
    app, client = served
    token = access.make_key(parts_of(app).repository, "default", ["admin"]).token
    client.headers = httpx.Headers({"Authorization": f"Bearer {token}", "X-Request-Id": "request-7"})
    rules(client, audit_decisions=True)
    takes = enroll(client, "ada-secret", voice=1, display_name="Ada Secret")["enrollments"]
    client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada-secret"})
    client.post("/identify", files=audio(clip(1, 5)))
    client.delete(f"/v1/speakers/ada-secret/enrollments/{takes[0]['enrollment_id']}")
    client.post("/v1/speakers/ada-secret:reset")
    client.delete("/v1/speakers/ada-secret")
    done = ["speaker.enrolled", "voice.verified", "voice.identified", "enrollment.deleted"]
    done += ["voice.erased", "voice.erased"]
    assert actions(client) == ["key.created", "policy.changed", *done]
    hers = actions(client, speaker_id="ada-secret")
    assert [each for each in hers if each != "voice.identified"] == [
        each for each in done if each != "voice.identified"
    ]
    text_ = client.get("/v1/audit", params={"limit": "1000"}).text
    assert "secret" not in text_.lower()
    entries = json.loads(text_)["entries"]
    assert {each["actor"] for each in entries[1:]} == {token.split("_")[1]}
    assert {each["request_id"] for each in entries[1:]} == {"request-7"}
    assert len({each["subject"] for each in entries if each["subject"]}) == 1


CHANGES = {
    "changed": "UPDATE audit_log SET actor = 'nobody' WHERE number = 2",
    "removed": "DELETE FROM audit_log WHERE number = 2",
    "cut": "DELETE FROM audit_log WHERE number >= 3",
    "dated back": "UPDATE audit_log SET at = '2020-01-01 00:00:00' WHERE number = 2",
}


@pytest.mark.parametrize("how", CHANGES)
def test_the_chain_shows_where_somebody_changed_the_log(served: Served, how: str) -> None:
    app, client = served
    for number in range(4):
        enroll(client, f"voice-{number}", voice=number)
    chain = client.get("/v1/audit/chain").json()
    assert (chain["intact"], chain["entries"], chain["broken_at"]) == (True, 4, None)
    assert client.get("/v1/audit").json()["entries"][-1]["hash"] == chain["head"]
    with parts_of(app).engine.begin() as connection:
        connection.execute(text(CHANGES[how]))
    broken = client.get("/v1/audit/chain").json()
    assert broken["intact"] is False
    assert broken["broken_at"] == (3 if how == "cut" else 2)


# ---------------------------------------------------------------- failed verifications


def test_failures_in_a_row_lock_a_speaker_for_longer_and_longer(models_dir: Path, database_url: str) -> None:
    changes = {"lockout_after": 3, "lockout_first_s": 3.0, "lockout_longest_s": 5.0}
    app = create_app(settings_for(models_dir, database_url, **changes))
    with serving_app(app) as client:
        enroll(client, "ada", voice=1)
        enroll(client, "bob", voice=2)
        hers, other = audio(clip(1, 5)), audio(clip(8, 5))

        def verify(files: Any, speaker_id: str = "ada") -> httpx.Response:
            return client.post("/verify", files=files, data={"speaker_id": speaker_id})

        for _ in range(2):
            assert verify(other).json()["decision"] == "reject"
        assert verify(hers).json()["decision"] == "accept", "a success forgives"
        for _ in range(3):
            assert verify(other).json()["decision"] == "reject"
        locked = verify(hers)
        document = assert_problem(locked, 423, "verification_locked")
        assert document["reasons"][0]["failures"] == 3
        assert locked.headers["retry-after"] == "3"
        assert verify(audio(clip(2, 5)), "bob").json()["decision"] == "accept", "only she is locked"
        time.sleep(3.05)
        assert verify(other).json()["decision"] == "reject"
        longer = assert_problem(verify(hers), 423, "verification_locked")["reasons"][0]["retry_after_s"]
        assert 3 < longer <= 5
        time.sleep(5.05)
        assert verify(hers).json()["decision"] == "accept"
        assert verify(other).json()["decision"] == "reject"
        assert verify(hers).json()["decision"] == "accept"
        rules(client, lockout_after=0)
        for _ in range(5):
            assert verify(other).json()["decision"] == "reject"

"""Speakers and their enrollments, models, probes and metrics, over HTTP, on both databases."""

from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests import tiny
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for


def test_a_speaker_as_a_resource(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1, display_name="Ada", metadata='{"group": "x"}')
    answer = client.get("/v1/speakers/ada")
    body = answer.json()
    assert set(body) == {
        *("speaker_id", "display_name", "metadata", "consent", "version", "created_at", "updated_at"),
        *("retain_until", "models", "reenrollment_required"),
        *("status", "enrollments_count", "speech_s", "required_speech_s", "remaining_speech_s", "progress"),
        "request_id",
    }
    assert (body["display_name"], body["consent"], body["status"]) == ("Ada", None, "enrolled")
    assert datetime.fromisoformat(body["created_at"]).utcoffset() == timedelta(0)
    assert answer.headers["etag"].startswith(f'"{body["version"]}-')


def test_speakers_are_listed_page_by_page(client: httpx.Client) -> None:
    for number in range(5):
        enroll(client, f"voice-{number}", voice=number, takes=1, metadata=f'{{"group": "{number % 2}"}}')
    seen, cursor = [], None
    while True:
        page = client.get("/v1/speakers", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [speaker["speaker_id"] for speaker in page["speakers"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"voice-{number}" for number in range(5)]
    odd = client.get("/v1/speakers", params={"group": "1"}).json()["speakers"]
    assert [speaker["speaker_id"] for speaker in odd] == ["voice-1", "voice-3"]
    for named, wrong in [("limit", "0"), ("cursor", "x"), ("limmit", "1")]:
        refused = client.get("/v1/speakers", params={named: wrong})
        assert assert_problem(refused, 422, "validation_error")["reasons"][0]["field"] == named


def test_a_patch_changes_what_it_names(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1, display_name="Ada", metadata='{"a": 1, "b": 2}')
    tag = client.get("/v1/speakers/ada").headers["etag"]
    patched = client.patch("/v1/speakers/ada", json={"metadata": {"a": None, "c": 3}})
    assert patched.json()["metadata"] == {"b": 2, "c": 3}
    assert patched.json()["display_name"] == "Ada"
    assert client.patch("/v1/speakers/ada", json={"display_name": None}).json()["display_name"] is None
    late = client.patch("/v1/speakers/ada", json={"display_name": "X"}, headers={"if-match": tag})
    assert_problem(late, 409, "concurrent_modification")
    now = client.get("/v1/speakers/ada").headers["etag"]
    fresh = client.patch("/v1/speakers/ada", json={"display_name": "X"}, headers={"if-match": now})
    assert fresh.json()["display_name"] == "X"
    assert fresh.headers["etag"] != now


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_request"),
        (b"", 400, "malformed_request"),
        (b"[" * 100_000, 413, "payload_too_large"),
        (b"[" * 60_000, 400, "malformed_request"),
        (b"[]", 422, "validation_error"),
        (b'{"speaker_id": "eve"}', 422, "validation_error"),
        (b'{"display_name": 7}', 422, "validation_error"),
        (b'{"display_name": "\\u0000"}', 422, "validation_error"),
        (b'{"metadata": null}', 422, "validation_error"),
        (b'{"metadata": {"a": 1e999}}', 422, "validation_error"),
    ],
)
def test_a_wrong_patch_is_refused(client: httpx.Client, body: bytes, status: int, code: str) -> None:
    enroll(client, "ada", voice=1, takes=1)
    assert_problem(client.patch("/v1/speakers/ada", content=body), status, code)
    assert client.get("/v1/speakers/ada").json()["version"] == 1


def test_unknown_speakers_and_wrong_ids(client: httpx.Client) -> None:
    for method, path in [("GET", ""), ("PATCH", ""), ("GET", "/enrollments"), ("DELETE", "/enrollments/x")]:
        json = {} if method == "PATCH" else None
        refused = client.request(method, f"/v1/speakers/nobody{path}", json=json)
        assert_problem(refused, 404, "speaker_not_found")
        wrong = client.request(method, f"/v1/speakers/no%20body{path}", json=json)
        assert_problem(wrong, 422, "invalid_speaker_id")
    assert client.delete("/v1/speakers/nobody").status_code == 204
    tagged = client.patch("/v1/speakers/nobody", json={}, headers={"if-match": "W/x"})
    assert_problem(tagged, 422, "validation_error")


def test_a_deleted_speaker_is_gone_at_once(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    enroll(client, "bob", voice=2)
    assert client.delete("/v1/speakers/ada").status_code == 204
    assert client.delete("/v1/speakers/ada").status_code == 204
    assert_problem(client.get("/v1/speakers/ada"), 404, "speaker_not_found")
    verified = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert_problem(verified, 404, "speaker_not_found")
    found = client.post("/identify", files=audio(clip(1, 5))).json()
    assert [each["speaker_id"] for each in found["candidates"]] == ["bob"]
    again = enroll(client, "ada", voice=1)
    assert again["enrollments_count"] == 2


def enroll_unlike(client: httpx.Client) -> str:
    """A take of another voice, where the rule lets it pass; its id."""
    assert client.patch("/v1/policy", json={"inconsistent": "warn"}).status_code == 200
    enrolled = enroll(client, "ada", voice=2, takes=1)
    assert client.patch("/v1/policy", json={"inconsistent": None}).status_code == 200
    return str(enrolled["enrollments"][0]["enrollment_id"])


def test_a_take_can_be_undone_and_the_centroid_follows(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    before = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"}).json()["similarity"]
    wrong_voice = enroll_unlike(client)
    spoilt = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"}).json()["similarity"]
    assert abs(spoilt - before) > 1e-3
    listed = client.get("/v1/speakers/ada/enrollments").json()
    assert len(listed["enrollments"]) == 3
    assert listed["enrollments"][2]["enrollment_id"] == wrong_voice
    assert set(listed["enrollments"][0]) == {
        *("enrollment_id", "model_id", "duration_s", "speech_s", "quality", "audio", "created_at")
    }
    assert listed["consistency"] < 1
    path = f"/v1/speakers/ada/enrollments/{wrong_voice}"
    assert client.delete(path).status_code == 204
    assert_problem(client.delete(path), 404, "enrollment_not_found")
    after = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"}).json()["similarity"]
    assert after == pytest.approx(before, abs=1e-6)


def test_a_speaker_without_takes_leaves_the_gallery(client: httpx.Client) -> None:
    ids = [each["enrollment_id"] for each in enroll(client, "ada", voice=1)["enrollments"]]
    for enrollment_id in ids:
        assert client.delete(f"/v1/speakers/ada/enrollments/{enrollment_id}").status_code == 204
    speaker = client.get("/v1/speakers/ada").json()
    assert (speaker["status"], speaker["enrollments_count"], speaker["speech_s"]) == ("enrolling", 0, 0)
    assert client.post("/identify", files=audio(clip(1, 5))).json()["gallery_size"] == 0
    refused = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert assert_problem(refused, 409, "speaker_not_enrolled")["reasons"][0]["measured_s"] == 0


def test_models(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["name"], model["serving"], model["provider"]) == ("tiny", True, "CPUExecutionProvider")
    assert model["golden_cosine"] >= 0.999
    assert model["id"] == f"tiny@{model['sha256'][:12]}"
    assert [point["fmr"] for point in model["operating_points"]] == [0.001, 0.01, 0.05]
    assert (model["precision"], model["measured_ms"]) == ("fp32", {})
    assert "no file in eight bits" in model["precision_reason"]
    (file,) = model["files"]
    assert (file["file"], file["sha256"], file["serves"]) == ("model.onnx", model["sha256"], ["cpu", "cuda"])


def test_a_model_with_eight_bits_says_what_was_measured(tmp_path: Path) -> None:
    folder = tiny.write_tiny_model(tmp_path / "models" / "tiny")
    tiny.add_int8(folder)
    with serving(settings_for(folder.parent, f"sqlite:///{tmp_path}/eight.db")) as server:
        (model,) = server.get("/v1/models").json()["models"]
        check = server.get("/readyz").json()["checks"]["model"]
    assert [file["precision"] for file in model["files"]] == ["fp32", "int8"]
    assert set(model["measured_ms"]) == set(check["measured_ms"]) == {"fp32", "int8"}
    assert all(took > 0 for took in model["measured_ms"].values())
    assert model["precision"] == check["precision"]
    assert "3 s of audio take" in model["precision_reason"]
    assert set(model["operating_points"][0]) == {
        *("fmr", "fnmr", "threshold", "fmr_interval", "fnmr_interval"),
        *("source", "target_trials", "impostor_trials"),
    }
    assert (model["eer"], model["cllr"], model["min_cllr"], model["trial_speakers"]) == (0.03, 0.9, 0.1, 50)


def test_probes(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    enroll(client, "ada", voice=1)
    enroll(client, "half", voice=2, takes=1)
    checks = client.get("/readyz").json()["checks"]
    assert set(checks) == {
        *("model", "database", "migrations", "master_key", "index", "erasure_ledger", "decoders")
    }
    assert all(check["ok"] for check in checks.values())
    assert checks["model"]["provider"] == "CPUExecutionProvider"
    assert checks["decoders"]["processes"] == 1
    assert {"seccomp", "landlock", "memory_limit_bytes", "no_new_privileges"} <= set(checks["decoders"])
    assert checks["index"] == {"ok": True, "index_count": 1, "sql_count": 1, "galleries": 1}


def test_metrics_count_routes_stages_and_refusals_but_never_names(client: httpx.Client) -> None:
    enroll(client, "very-private", voice=1)
    client.get("/v1/speakers/very-private")
    client.get("/v1/speakers/somebody-else")
    client.get("/nowhere/at/all")
    text = client.get("/metrics").text
    assert "private" not in text
    assert "nowhere" not in text
    for part in (
        'timbre_requests_total{method="POST",route="/enroll",status="201"}',
        'timbre_requests_total{method="GET",route="/v1/speakers/{speaker_id}",status="404"}',
        'timbre_requests_total{method="GET",route="unmatched",status="404"}',
        'timbre_refusals_total{code="speaker_not_found"}',
        'timbre_request_seconds_bucket{le="0.005",method="GET",route="/v1/speakers/{speaker_id}",status="200"}',
        "timbre_gallery_speakers 1.0",
        "timbre_audio_seconds_total",
        *(
            f'timbre_stage_seconds_count{{stage="{stage}"}}'
            for stage in ("decode", "embed", "search", "store")
        ),
    ):
        assert part in text, part

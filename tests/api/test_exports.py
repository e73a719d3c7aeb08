"""/v1/exports: what comes out, what never does, and what a deletion does to it."""

import json
from pathlib import Path
from typing import Any

import httpx

from app.settings import Settings
from tests.bulk import ended, json_lines, rows, start
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for


def export(client: httpx.Client, **wish: Any) -> str:
    """Queue an export and wait for it; the id of its job."""
    answer = client.post("/v1/exports", json=wish)
    assert answer.status_code == 202, answer.text
    job_id = str(answer.json()["job_id"])
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    assert ended(client, job_id)["status"] == "succeeded"
    return job_id


def lines(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/jobs/{job_id}/content")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_speakers_and_enrollments_come_out_and_no_embedding(client: httpx.Client) -> None:
    enroll(client, "ada", 1, display_name="Ada", metadata='{"group": "a"}', consent="form 7")
    enroll(client, "bob", 2, takes=1)
    job_id = export(client)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["counts"], job["done"], job["total"]) == ({"exported": 2}, 2, 2)
    found = lines(client, job_id)
    assert [(line["type"], line["speaker_id"]) for line in found] == [
        *([("speaker", "ada")] + 2 * [("enrollment", "ada")]),
        *(("speaker", "bob"), ("enrollment", "bob")),
    ]
    ada = found[0]
    assert ada["display_name"] == "Ada"
    assert ada["metadata"] == {"group": "a"}
    assert ada["consent"] == {"reference": "form 7"}
    shown = client.get("/v1/speakers/ada/enrollments").json()["enrollments"]
    assert [line["enrollment_id"] for line in found[1:3]] == [each["enrollment_id"] for each in shown]
    assert not any("embedding" in line or "audio" in line for line in found)
    assert [row["speaker_id"] for row in rows(client, job_id)] == ["ada", "bob"]


def test_only_what_is_wanted(client: httpx.Client) -> None:
    enroll(client, "ada", 1, metadata='{"group": "a"}')
    enroll(client, "bob", 2, metadata='{"group": "b"}')
    only = lines(client, export(client, include=["speakers"], group="b"))
    assert [(line["type"], line["speaker_id"]) for line in only] == [("speaker", "bob")]
    assert lines(client, export(client, group="nobody's")) == []
    assert_problem(client.post("/v1/exports", json={"include": []}), 422, "validation_error")
    assert_problem(client.post("/v1/exports", json={"includes": ["speakers"]}), 422, "validation_error")


def test_an_export_comes_back_by_an_import(
    models_dir: Path, database_url: str, sqlite_template: Path, tmp_path: Path
) -> None:
    settings = settings_for(models_dir, database_url, keep_audio=True)
    with serving(settings) as client:
        enroll(client, "ada", 1, display_name="Ada", metadata='{"group": "a"}', consent="form 7")
        enroll(client, "bob", 2)
        content = client.get(f"/v1/jobs/{export(client, include_audio=True)}/content").content
    elsewhere = settings_for(
        models_dir,
        f"sqlite:///{tmp_path / 'elsewhere.db'}",
        master_key=None,
        master_key_file=tmp_path / "key",
    )
    with serving(elsewhere) as client:
        job = ended(client, start(client, content))
        assert job["counts"] == {"accepted": 4, "skipped": 2}
        ada = client.get("/v1/speakers/ada").json()
        assert (ada["display_name"], ada["metadata"], ada["consent"]) == (
            *("Ada", {"group": "a"}),
            {"reference": "form 7"},
        )
        for voice, name in ((1, "ada"), (2, "bob")):
            answer = client.post("/verify", files=audio(clip(voice, 5)), data={"speaker_id": name})
            assert answer.json()["decision"] == "accept"
        again = ended(client, start(client, content))
        assert again["counts"] == {"duplicate": 4, "skipped": 2}


def test_a_deletion_takes_the_export_along(client: httpx.Client, shared_settings: Settings) -> None:
    enroll(client, "zenobia", 1)
    enroll(client, "bob", 2, metadata='{"group": "b"}')
    everybody, bob = export(client), export(client, group="b")
    (file,) = (path for path in shared_settings.jobs_dir.iterdir() if path.stem == everybody)
    assert b"zenobia" not in file.read_bytes(), "it lies sealed"
    assert client.delete("/v1/speakers/zenobia").status_code < 300
    assert_problem(client.get(f"/v1/jobs/{everybody}/content"), 404, "job_not_found")
    assert client.get(f"/v1/jobs/{everybody}").json()["problem"]["code"] == "export_gone"
    assert len(lines(client, bob)) == 3, "nobody in it was deleted"
    assert client.delete(f"/v1/jobs/{bob}").status_code == 204
    assert not (shared_settings.jobs_dir / f"{bob}.sealed").exists()
    assert_problem(client.get(f"/v1/jobs/{bob}/content"), 404, "job_not_found")


def test_the_content_of_another_job_or_of_none(client: httpx.Client) -> None:
    imported = start(client, json_lines({"speaker_id": "ada", "audio": clip(1)}))
    ended(client, imported)
    assert_problem(client.get(f"/v1/jobs/{imported}/content"), 404, "job_not_found")
    assert_problem(client.get(f"/v1/jobs/{'0' * 32}/content"), 404, "job_not_found")


def test_an_export_that_waits_has_no_content_yet(models_dir: Path, sqlite_url: str) -> None:
    with serving(settings_for(models_dir, sqlite_url, job_workers=0)) as client:
        job_id = client.post("/v1/exports", json={}).json()["job_id"]
        refused = assert_problem(client.get(f"/v1/jobs/{job_id}/content"), 409, "job_running")
        assert refused["reasons"][0]["status"] == "queued"
        client.post(f"/v1/jobs/{job_id}:cancel")
        none = assert_problem(client.get(f"/v1/jobs/{job_id}/content"), 409, "job_without_result")
        assert none["reasons"][0]["status"] == "cancelled"


def test_many_speakers_are_exported_step_by_step(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url, same_voice="allow")
    with serving(settings) as client:
        body = json_lines(*({"speaker_id": f"s{number}", "audio": clip(1)} for number in range(120)))
        ended(client, start(client, body))
        found = lines(client, export(client, include=["speakers"]))
        assert [line["speaker_id"] for line in found] == [f"s{number}" for number in range(120)]

"""POST /v1/imports and the jobs that come of it."""

import gzip
import zipfile
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.bulk import ended, json_lines, rows, start, tar_of, two_voices
from tests.served import assert_problem, audio, clip, serving, settings_for


def test_json_lines_are_enrolled_row_by_row(client: httpx.Client) -> None:
    body = json_lines(
        *two_voices(),
        {"speaker_id": "ada", "audio": clip(1, 0)},
        {"speaker_id": "eve", "audio": b"no recording at all"},
        {"speaker_id": "no id", "audio": clip(3)},
        {"type": "speaker", "speaker_id": "ada"},
    )
    job_id = start(client, body)
    job = ended(client, job_id)
    assert job["status"] == "succeeded"
    assert job["counts"] == {"accepted": 4, "duplicate": 1, "refused": 2, "skipped": 1}
    assert (job["done"], job["total"], job["progress"]) == (8, 8, 1.0)
    assert job["wanted"]["bytes"] == len(body)
    found = rows(client, job_id, limit=3)
    assert [row["number"] for row in found] == list(range(1, 9))
    assert [row["code"] for row in found[5:7]] == ["unsupported_media_type", "invalid_speaker_id"]
    assert all(row["enrollment_id"] for row in found[:5])
    assert [row["number"] for row in rows(client, job_id, outcome="refused")] == [6, 7]
    speaker = client.get("/v1/speakers/ada").json()
    assert (speaker["display_name"], speaker["enrollments_count"]) == ("Ada", 2)
    assert client.get("/v1/speakers/eve").status_code == 404
    answer = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert answer.json()["decision"] == "accept"


def archive_members() -> dict[str, bytes]:
    lines = [
        f'{name}-{take}.wav,{name},"{{""group"": ""{name}s""}}"' for name in ("ada", "bob") for take in (0, 1)
    ]
    manifest = "\n".join(["file,speaker_id,metadata", *lines, "../x.wav,eve,", "none.wav,eve,"])
    clips = {f"{name}-{take}.wav": clip(v, take) for v, name in ((1, "ada"), (2, "bob")) for take in (0, 1)}
    return {**clips, "manifest.csv": manifest.encode()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "jsonl.gz"])
def test_every_kind_of_upload(client: httpx.Client, kind: str) -> None:
    if kind == "zip":
        file = BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in archive_members().items():
                archive.writestr(name, data)
        body = file.getvalue()
    elif kind == "jsonl.gz":
        # gzip files one after the other are one, and the pieces of an upload may end anywhere.
        body = b"".join(gzip.compress(json_lines(row)) for row in two_voices())
    else:
        body = tar_of(archive_members())
        body = gzip.compress(body) if kind == "tar.gz" else body
    job = ended(client, start(client, body, **{"Content-Type": "text/plain"}))
    assert job["counts"] == {"accepted": 4} | ({} if kind == "jsonl.gz" else {"refused": 2})
    if kind != "jsonl.gz":
        listed = client.get("/v1/speakers", params={"group": "adas"}).json()["speakers"]
        assert [speaker["speaker_id"] for speaker in listed] == ["ada"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"RIFF\x00\x00\x00\x00WAVE", b"PK\x03\x04 cut off", b"\x1f\x8b broken", b"\x1f"),
        tar_of({"manifest.csv": b"file\n"}),
        gzip.compress(tar_of({"a/b.wav": b"x"}))[:-20],
        gzip.compress(bytes(20_000_000)),
    ],
)
def test_what_can_be_seen_at_once_is_refused_at_once(
    client: httpx.Client, shared_settings: Settings, body: bytes
) -> None:
    before = client.get("/v1/jobs").json()["jobs"]
    assert_problem(client.post("/v1/imports", content=body), 400, "malformed_request")
    assert client.get("/v1/jobs").json()["jobs"] == before
    assert not list(shared_settings.jobs_dir.glob("*")), "nothing of it is left"


def test_an_upload_beyond_the_limit_is_refused_as_it_comes(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_for(models_dir, sqlite_url, max_import_bytes=100_000, jobs_dir=tmp_path / "jobs")
    with serving(settings) as client:
        assert_problem(client.post("/v1/imports", content=bytes(100_001)), 413, "payload_too_large")
        streamed = (bytes(1000) for _ in range(200))
        assert_problem(client.post("/v1/imports", content=streamed), 413, "payload_too_large")
        packed = gzip.compress(json_lines({"speaker_id": "ada", "audio": clip(1, 0, 9.0)}))
        unpacked = client.post("/v1/imports", content=packed)
        assert_problem(unpacked, 413, "payload_too_large")
        assert not list((tmp_path / "jobs").iterdir())


def test_the_upload_lies_sealed_and_is_gone_with_the_end(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "jobs"
    waiting = settings_for(models_dir, sqlite_url, job_workers=0, jobs_dir=folder)
    body = json_lines({"speaker_id": "ada", "audio": clip(1)})
    with serving(waiting) as client:
        first, second = start(client, body), start(client, body)
        assert all(b"speaker_id" not in path.read_bytes() for path in folder.iterdir())
        assert len(list(folder.iterdir())) == 2
        answer = client.post(f"/v1/jobs/{second}:cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert [path.stem for path in folder.iterdir()] == [first], "cancelled: nobody needs it"
        assert_problem(client.delete(f"/v1/jobs/{first}"), 409, "job_running")
        assert client.delete(f"/v1/jobs/{second}").status_code == 204
        assert_problem(client.get(f"/v1/jobs/{second}"), 404, "job_not_found")
    with serving(waiting.model_copy(update={"job_workers": 2})) as client:
        assert ended(client, first)["counts"] == {"accepted": 1}
        assert not list(folder.iterdir())


def test_the_rules_of_an_enrolment_hold(client: httpx.Client) -> None:
    assert client.post("/v1/speakers/ada:opt-out").status_code < 300
    try:
        body = json_lines({"speaker_id": "ada", "audio": clip(1)}, {"speaker_id": "bob", "audio": clip(2)})
        job_id = start(client, body)
        ended(client, job_id)
        assert [row["code"] for row in rows(client, job_id)] == ["speaker_opted_out", None]
    finally:
        client.post("/v1/speakers/ada:opt-in")
    actions = [entry["action"] for entry in client.get("/v1/audit", params={"limit": 1000}).json()["entries"]]
    assert "import.created" in actions


def test_a_deleted_speaker_is_in_no_row(client: httpx.Client) -> None:
    job_id = start(client, json_lines({"speaker_id": "ada", "audio": clip(1)}))
    ended(client, job_id)
    assert [row["speaker_id"] for row in rows(client, job_id)] == ["ada"]
    client.delete("/v1/speakers/ada")
    (row,) = rows(client, job_id)
    assert (row["speaker_id"], row["enrollment_id"], row["outcome"]) == (None, None, "accepted")


@pytest.mark.parametrize("path", ["", "/rows", ":cancel"])
def test_an_unknown_job_is_not_found(client: httpx.Client, path: str) -> None:
    method = "POST" if path == ":cancel" else "GET"
    assert_problem(client.request(method, f"/v1/jobs/{'0' * 32}{path}"), 404, "job_not_found")
    assert_problem(client.request(method, f"/v1/jobs/nonsense{path}"), 422, "validation_error")

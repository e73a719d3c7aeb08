"""Jobs outlive their process: killed, stopped, or one of two."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.main import create_app
from app.service.exports import run_export
from app.service.job_runner import Stopped, Task
from app.service.parts import Parts
from app.settings import Settings
from app.store import make_engine
from tests.bulk import ended, json_lines, rows, start
from tests.served import audio, clip, process, serving, serving_app, settings_for, wav
from tests.store.makers import take
from training.signals import speech_like

SPEAKERS, TAKES = 20, 8


@pytest.fixture(scope="module")
def many() -> bytes:
    """An import that takes some seconds, the last row of which is a clip that was there before."""
    sounds = {speaker: speech_like(1.2, speaker=speaker % 6) for speaker in range(SPEAKERS)}
    good = [
        {"speaker_id": f"speaker-{speaker}", "audio": wav(sounds[speaker] * (1 - take / 1000))}
        for speaker in range(SPEAKERS)
        for take in range(TAKES)
    ]
    return json_lines(*good, good[0])


def _until(true: Callable[[], bool], longest_s: float = 60.0) -> None:
    deadline = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def silence(settings: Settings) -> None:
    """Let the sign of life of every job be an hour old."""
    engine = make_engine(settings.database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET alive_at = '2026-01-01 00:00:00' WHERE status = 'running'"))
    engine.dispose()


def assert_each_row_counts_once(client: httpx.Client, job_id: str) -> None:
    job = ended(client, job_id)
    assert job["status"] == "succeeded"
    assert job["counts"] == {"accepted": SPEAKERS * TAKES, "duplicate": 1}
    found = rows(client, job_id, limit=1000)
    assert [row["number"] for row in found] == list(range(1, SPEAKERS * TAKES + 2))
    assert found[-1]["outcome"] == "duplicate"
    assert len({row["enrollment_id"] for row in found}) == SPEAKERS * TAKES


def test_a_killed_import_goes_on_where_it_was(models_dir: Path, database_url: str, many: bytes) -> None:
    settings = settings_for(models_dir, database_url, inconsistent="allow")
    with process(settings) as (client, running):
        job_id = start(client, many)
        _until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"] > 0)
        time.sleep(0.3)  # in the middle of a step: enrolled, and the outcome not stored yet
        running.send_signal(signal.SIGKILL)
        running.wait()
    silence(settings)
    with serving(settings) as client:
        begun = client.get(f"/v1/jobs/{job_id}").json()
        assert 0 < begun["done"] < SPEAKERS * TAKES
        assert_each_row_counts_once(client, job_id)
        assert not list(settings.jobs_dir.iterdir())


def test_a_stopped_service_gives_its_job_back(models_dir: Path, sqlite_url: str, many: bytes) -> None:
    settings = settings_for(models_dir, sqlite_url, inconsistent="allow")
    with process(settings) as (client, running):
        job_id = start(client, many)
        _until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"] > 0)
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=30)
    idle = settings.model_copy(update={"job_workers": 0})
    with serving(idle) as client:
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert job["status"] == "queued"
        assert 0 < job["done"] < SPEAKERS * TAKES
    with serving(settings) as client:
        assert_each_row_counts_once(client, job_id)


def test_two_processes_do_each_job_once(models_dir: Path, database_url: str) -> None:
    settings = settings_for(models_dir, database_url, job_workers=2, inconsistent="allow")
    sound = speech_like(1.2, speaker=1)
    with serving(settings) as one, serving(settings) as other:
        jobs = [
            start(
                (one, other)[number % 2],
                json_lines(
                    *(
                        {"speaker_id": f"s{number}-{row}", "audio": wav(sound * (1 - number / 100))}
                        for row in range(3)
                    )
                ),
            )
            for number in range(6)
        ]
        for number, job_id in enumerate(jobs):
            assert ended((other, one)[number % 2], job_id)["counts"] == {"accepted": 3}
    assert not list(settings.jobs_dir.iterdir())


def test_an_upload_of_another_machine_is_left_alone(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    here = settings_for(models_dir, sqlite_url, jobs_dir=tmp_path / "here", job_workers=0)
    there = here.model_copy(update={"jobs_dir": tmp_path / "there", "job_workers": 1})
    sound = wav(speech_like(1.2, speaker=1))
    with serving(here) as one, serving(there) as other:
        mine = start(one, json_lines({"speaker_id": "ada", "audio": sound}))
        yours = start(other, json_lines({"speaker_id": "bob", "audio": sound}))
        assert ended(one, yours)["counts"] == {"accepted": 1}
        assert one.get(f"/v1/jobs/{mine}").json()["status"] == "queued"


def test_a_cancelled_import_stops_and_keeps_what_it_did(
    models_dir: Path, sqlite_url: str, many: bytes
) -> None:
    settings = settings_for(models_dir, sqlite_url, inconsistent="allow")
    with serving(settings) as client:
        job_id = start(client, many)
        _until(lambda: client.get(f"/v1/jobs/{job_id}").json()["done"] > 0)
        cancelled = client.post(f"/v1/jobs/{job_id}:cancel").json()
        assert cancelled["status"] == "cancelled"
        after = start(client, json_lines({"speaker_id": "last", "audio": wav(speech_like(1.2, speaker=9))}))
        ended(client, after)  # the worker has let the other go
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert job["done"] == cancelled["done"] == len(rows(client, job_id, limit=1000)) < SPEAKERS * TAKES
        assert client.get("/v1/speakers/speaker-0").status_code == 200
    assert not list(settings.jobs_dir.iterdir())


def test_an_export_goes_on_behind_what_was_counted(models_dir: Path, database_url: str) -> None:
    idle = settings_for(models_dir, database_url, job_workers=0)
    app = create_app(idle)
    with serving_app(app) as client:
        parts: Parts = app.state.parts
        for number in range(120):
            parts.repository.add_enrollments("default", f"s{number:03}", "m@1", [take(number)])
        job_id = client.post("/v1/exports", json={"include": ["speakers"]}).json()["job_id"]
        claim = parts.repository.claim_job("dies", 60.0, lambda _: True)
        assert claim is not None
        stopping = threading.Event()
        task = Task(parts, claim, "dies", stopping)
        stopping.set()
        for _ in range(2):  # the first step makes the key, the second writes fifty speakers
            with pytest.raises(Stopped):
                run_export(task)
        assert client.get(f"/v1/jobs/{job_id}").json()["done"] == 50
        with (idle.jobs_dir / f"{job_id}.sealed").open("ab") as file:
            file.write(b"what the next step wrote before it was counted")
    silence(idle)
    with serving(idle.model_copy(update={"job_workers": 1})) as client:
        assert ended(client, job_id)["counts"] == {"exported": 120}
        content = client.get(f"/v1/jobs/{job_id}/content").text
        found = [json.loads(line)["speaker_id"] for line in content.splitlines()]
        assert found == [f"s{number:03}" for number in range(120)]


def test_what_a_crash_left_in_the_folder_is_tidied_away(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_for(models_dir, sqlite_url, jobs_dir=tmp_path / "jobs")
    settings.jobs_dir.mkdir()
    orphan = settings.jobs_dir / f"{7:032x}.sealed"
    orphan.write_bytes(b"x")
    os.utime(orphan, (1, 1))
    with serving(settings):
        _until(lambda: not orphan.exists())


def test_an_import_waits_while_the_service_is_busy(models_dir: Path, sqlite_url: str, many: bytes) -> None:
    settings = settings_for(
        models_dir,
        sqlite_url,
        inconsistent="allow",
        recordings_at_once=1,
        recordings_waiting=0,
        lockout_after=0,
    )
    probe = audio(clip(1, 5))
    turned_away = 0
    with serving(settings) as client:
        job_id = start(client, many)
        with ThreadPoolExecutor(4) as pool:
            while client.get(f"/v1/jobs/{job_id}").json()["status"] in {"queued", "running"}:
                calls = [pool.submit(client.post, "/identify", files=probe) for _ in range(4)]
                turned_away += sum(call.result().status_code == 503 for call in calls)
        assert turned_away, "it was busy"
        assert_each_row_counts_once(client, job_id)

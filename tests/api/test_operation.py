"""What whoever runs the service sees: failures, overload, logs, readiness, and a start that is refused."""

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import make_url, text

from app.embedder import pin_calibration
from app.errors import InferenceTimeout, ModelInvalid, SchemaOutdated
from app.main import create_app
from app.service.parts import Parts
from tests.conftest import _execute
from tests.served import assert_problem, audio, clip, enroll, serving_app, settings_for

Served = tuple[FastAPI, httpx.Client]
ROOT = Path(__file__).parents[2]


FOREIGN = ("http", "uvicorn.access")
"""Loggers of the test's client, and the access log that pytest revives; a test below sees it silent."""


def own_text(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged, but for the test's own HTTP client."""
    return "\n".join(each.getMessage() for each in caplog.records if not each.name.startswith(FOREIGN))


@pytest.fixture(scope="module")
def served(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with one seat at the model."""
    url = f"sqlite:///{tmp_path_factory.mktemp('operation') / 'timbre.db'}"
    settings = settings_for(models_dir, url, inference_workers=1, inference_timeout_s=0.5)
    app = create_app(settings)
    with serving_app(app) as client:
        yield app, client


def parts_of(app: FastAPI) -> Parts:
    parts: Parts = app.state.parts
    return parts


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(each.getMessage()) for each in caplog.records if each.name == "timbre.requests"]


def test_an_unforeseen_failure_says_nothing_and_is_found_in_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    app, client = served
    parts, app.state.parts = app.state.parts, "no parts at all"
    with caplog.at_level(logging.INFO):
        answer = client.get("/v1/speakers/secret-name", headers={"x-request-id": "find-me"})
    app.state.parts = parts
    document = assert_problem(answer, 500, "internal_error")
    assert document["request_id"] == "find-me"
    assert "AttributeError" not in answer.text
    failure, request = logged(caplog)
    assert (failure["event"], failure["request_id"]) == ("failure", "find-me")
    assert failure["exception"] == "AttributeError"
    assert (request["status"], request["code"]) == (500, "internal_error")
    assert "secret-name" not in own_text(caplog)


def test_the_log_has_one_line_for_each_request_and_no_names(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    _, client = served
    with caplog.at_level(logging.INFO):
        files = [("audio", ("secret-file.wav", clip(1)))]
        client.post("/enroll", files=files, data={"speaker_id": "secret-id", "display_name": "Secret Name"})
        client.get("/v1/speakers/secret-id")
        client.get("/v1/speakers/secret-stranger")
    lines = logged(caplog)
    assert [(line["route"], line["status"], line["code"]) for line in lines] == [
        ("/enroll", 201, None),
        ("/v1/speakers/{speaker_id}", 200, None),
        ("/v1/speakers/{speaker_id}", 404, "speaker_not_found"),
    ]
    assert set(lines[0]["stages_ms"]) == {"decode", "embed", "store", "search"}
    assert lines[0]["audio_s"] == 3.0
    assert lines[0]["ms"] >= lines[0]["stages_ms"]["decode"]
    assert "secret" not in own_text(caplog).lower()


@contextlib.contextmanager
def busy(app: FastAPI) -> Iterator[None]:
    """Take the only seat at the model for as long as the block lasts."""
    begun, left = threading.Event(), threading.Event()
    tired: list[bool] = []

    def hold(_options: Any) -> None:
        begun.set()
        tired.append(not left.wait(60))

    def sit() -> None:
        with contextlib.suppress(InferenceTimeout):
            parts_of(app).shelf.serving("tiny").embedder._admission.run(hold)

    thread = threading.Thread(target=sit)
    thread.start()
    try:
        assert begun.wait(60)
        yield
        assert not tired, "what was asked waited for the seat"
    finally:
        left.set()
        thread.join()


def test_a_model_that_takes_too_long(models_dir: Path, sqlite_url: str) -> None:
    app = create_app(settings_for(models_dir, sqlite_url, inference_workers=1, inference_timeout_s=0.2))
    with serving_app(app) as client:
        with busy(app):
            refused = client.post("/identify", files=audio(clip(1)))
        assert_problem(refused, 504, "inference_timeout")


def test_a_probe_answers_while_recordings_wait(served: Served) -> None:
    app, client = served
    with busy(app):
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200


def test_readiness_names_an_index_out_of_step_and_mends_it(served: Served) -> None:
    app, client = served
    enroll(client, "ada", voice=1)
    (gallery,) = parts_of(app).galleries.all
    key = np.array(sorted(gallery._keys), dtype=np.int64)
    gallery._index.erase(gallery._partition, key)
    document = assert_problem(client.get("/readyz"), 503, "index_not_ready")
    assert document["checks"]["index"]["ok"] is False
    assert document["checks"]["database"]["ok"] is True
    assert client.get("/readyz").status_code == 200
    assert client.post("/identify", files=audio(clip(1, 5))).json()["speaker_id"] == "ada"


def test_readiness_names_an_older_schema(served: Served) -> None:
    app, client = served
    with parts_of(app).engine.begin() as connection:
        head = connection.scalar(text("SELECT version_num FROM alembic_version"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    document = assert_problem(client.get("/readyz"), 503, "schema_outdated")
    with parts_of(app).engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    assert client.get("/readyz").status_code == 200
    assert document["checks"]["migrations"]["ok"] is False
    assert document["reasons"][0]["found"] == "0000"


def test_a_database_that_is_gone(models_dir: Path, postgres_url: str, postgres_server: str) -> None:
    app = create_app(settings_for(models_dir, postgres_url))
    with serving_app(app) as client:
        enroll(client, "ada", voice=1)
        name = make_url(postgres_url).database
        _execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")
        assert_problem(client.get("/readyz"), 503, "storage_unavailable")
        assert_problem(client.get("/v1/speakers/ada"), 503, "storage_unavailable")
        for call, data in [
            ("enroll", {"speaker_id": "ada"}),
            ("verify", {"speaker_id": "ada"}),
            ("identify", {}),
        ]:
            refused = client.post(f"/{call}", files=audio(clip(1, 5)), data=data)
            assert_problem(refused, 503, "storage_unavailable")
        assert client.get("/healthz").status_code == 200
        _execute(postgres_server, f"CREATE DATABASE {name}")  # for the fixture to drop


def test_before_the_start_the_model_is_not_ready(models_dir: Path, sqlite_url: str) -> None:
    app = create_app(settings_for(models_dir, sqlite_url))
    transport = httpx.ASGITransport(app=app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://timbre") as client:
            return await client.get("/v1/models")

    assert_problem(asyncio.run(ask()), 503, "model_not_ready")


# ---------------------------------------------------------------- the start


def environment(**changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TIMBRE_")}
    chosen = {"TIMBRE_MODEL": "tiny", "TIMBRE_DIGIT_MODEL": "None", "TIMBRE_PROVIDER": "cpu"}
    return kept | chosen | changes


def damaged(models_dir: Path, tmp_path: Path, damage: str) -> Path:
    folder = tmp_path / "models" / "tiny"
    shutil.copytree(models_dir / "tiny", folder)
    calibration = json.loads((folder / "calibration.json").read_text())
    if damage == "missing":
        shutil.rmtree(folder)
    elif damage == "weights":
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    elif damage == "no calibration":
        (folder / "calibration.json").unlink()
    elif damage == "no score":
        del calibration["score"]
        (folder / "calibration.json").write_text(json.dumps(calibration))
    elif damage == "old format":
        del calibration["format"]
        (folder / "calibration.json").write_text(json.dumps(calibration | {"scale": "similarity"}))
    elif damage == "another":
        (folder / "calibration.json").write_text(json.dumps(calibration | {"model_sha256": "0" * 64}))
    if damage in ("no score", "old format", "another"):
        pin_calibration(folder)
    return folder.parent


@pytest.mark.parametrize("damage", ["missing", "weights", "rate"])
def test_a_bad_model_refuses_to_start(models_dir: Path, tmp_path: Path, sqlite_url: str, damage: str) -> None:
    rate = 0.0001 if damage == "rate" else 0.01
    settings = settings_for(damaged(models_dir, tmp_path, damage), sqlite_url, target_fmr=rate)
    with pytest.raises(ModelInvalid), serving_lifespan(settings):
        pass


@pytest.mark.parametrize("name", ["target_fmr", "target_fpir"])
def test_a_rate_that_no_trials_support_refuses_to_start(models_dir: Path, sqlite_url: str, name: str) -> None:
    refused: dict[str, Any] = {name: 0.0001}
    with (
        pytest.raises(ModelInvalid, match=f"TIMBRE_{name.upper()} has no threshold"),
        serving_lifespan(settings_for(models_dir, sqlite_url, **refused)),
    ):
        pass


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no calibration", "calibration.json is missing"),
        ("no score", "lacks the key 'score'"),
        ("old format", "has format 1, and only 2 is read"),
        ("another", "made with another model.onnx"),
    ],
)
def test_a_bad_calibration_refuses_to_start_and_says_what_writes_a_good_one(
    models_dir: Path, tmp_path: Path, sqlite_url: str, damage: str, words: str
) -> None:
    settings = settings_for(damaged(models_dir, tmp_path, damage), sqlite_url)
    with pytest.raises(ModelInvalid, match=words) as refusal, serving_lifespan(settings):
        pass
    assert "timbre calibrate" in str(refusal.value)


def test_a_refused_start_is_one_line_and_an_exit_code(models_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app_from_environment"]
    folder = damaged(models_dir, tmp_path, "weights")
    ended = subprocess.run(
        [*command, "--port", "0"],
        cwd=ROOT,
        env=environment(TIMBRE_MODELS_DIR=str(folder), TIMBRE_DATABASE_URL=f"sqlite:///{tmp_path}/a.db"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if "timbre: The model in" in line]) == 1


def test_a_server_process_logs_requests_but_no_paths(models_dir: Path, sqlite_url: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app_from_environment"]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=environment(TIMBRE_MODELS_DIR=str(models_dir), TIMBRE_DATABASE_URL=sqlite_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            while process.poll() is None:
                try:
                    assert client.get("/v1/speakers/secret-id").status_code == 404
                    break
                except httpx.ConnectError:
                    time.sleep(0.1)
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert '"route": "/v1/speakers/{speaker_id}", "status": 404' in output
    assert "secret" not in output
    assert "Traceback" not in output


def test_an_older_schema_refuses_to_start_unless_it_may_migrate(models_dir: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    settings = settings_for(models_dir, url, migrate_on_start=False)
    with pytest.raises(SchemaOutdated), serving_lifespan(settings):
        pass
    with serving_lifespan(settings_for(models_dir, url)):
        pass


class serving_lifespan:  # noqa: N801
    """The lifespan alone, without a server around it, so that what it raises arrives here."""

    def __init__(self, settings: Any) -> None:
        self._portal = anyio.from_thread.start_blocking_portal()
        self._app = create_app(settings)

    def __enter__(self) -> None:
        portal = self._portal.__enter__()
        self._entered = portal.wrap_async_context_manager(self._app.router.lifespan_context(self._app))
        try:
            self._entered.__enter__()
        except BaseException:
            self._portal.__exit__(None, None, None)
            raise

    def __exit__(self, *_raised: object) -> None:
        self._entered.__exit__(None, None, None)
        self._portal.__exit__(None, None, None)


def test_the_documentation_page_needs_no_other_host(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 2
    assert all(link.startswith("/") and client.get(link).status_code == 200 for link in links)

"""One server for each kind of database, emptied before each test."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.api.wires import until
from tests.conftest import _postgres_database
from tests.served import serving, settings_for
from tests.tiny import write_tiny_model


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model in it."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shared_settings(
    request: pytest.FixtureRequest, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings with a database that lasts for the session."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("shared") / "timbre.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield settings_for(models_dir, f"sqlite:///{path}")
        return
    server, template = (request.getfixturevalue(f"postgres_{name}") for name in ("server", "template"))
    for url in _postgres_database(server, template):
        yield settings_for(models_dir, url)


@pytest.fixture(scope="session")
def shared_server(shared_settings: Settings) -> Iterator[httpx.Client]:
    """A server on each kind of database."""
    with serving(shared_settings) as client:
        yield client


@pytest.fixture
def client(shared_server: httpx.Client) -> httpx.Client:
    """A client of a server with an empty gallery, the rules of the settings, and no jobs."""
    for job in shared_server.get("/v1/jobs", params={"limit": 1000}).json()["jobs"]:
        forget(shared_server, job["job_id"])  # first, because an import at work would enroll after us
    for speaker in shared_server.get("/v1/speakers", params={"limit": 1000}).json()["speakers"]:
        path = f"/v1/speakers/{speaker['speaker_id']}"
        until(lambda path=path: shared_server.delete(path).status_code == 204)
    own = shared_server.get("/v1/policy").json()["own"]
    assert shared_server.patch("/v1/policy", json=dict.fromkeys(own)).status_code == 200
    return shared_server


def forget(client: httpx.Client, job_id: str) -> None:
    """Delete a job, cancelled and ended before."""
    client.post(f"/v1/jobs/{job_id}:cancel")
    deadline = time.monotonic() + 60
    while client.delete(f"/v1/jobs/{job_id}").status_code == 409:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.05)

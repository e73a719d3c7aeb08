"""A server process that starts while the database is away: it waits, and says so."""

import time
import uuid
from pathlib import Path

import anyio
import pytest
from sqlalchemy import make_url

from app.errors import StorageUnavailable
from app.main import create_app
from tests.conftest import _execute
from tests.served import assert_problem, enroll, serving_app, settings_for


def test_a_worker_waits_for_the_database_and_then_serves(models_dir: Path, postgres_server: str) -> None:
    """One that failed instead would make its parent end all the others."""
    name = f"timbre_{uuid.uuid4().hex}"
    url = make_url(postgres_server).set(database=name).render_as_string(hide_password=False)
    app = create_app(settings_for(models_dir, url), patient=True)
    try:
        with serving_app(app) as client:
            assert client.get("/healthz").status_code == 200
            assert_problem(client.get("/v1/speakers"), 503, "model_not_ready")
            assert client.get("/readyz").status_code == 503
            _execute(postgres_server, f"CREATE DATABASE {name}")
            deadline = time.monotonic() + 60
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < deadline, "it does not notice"
                time.sleep(0.1)
            enroll(client, "ada", voice=1)
    finally:
        _execute(postgres_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_worker_that_waits_can_be_stopped(models_dir: Path, postgres_server: str) -> None:
    url = make_url(postgres_server).set(database="there_is_none").render_as_string(hide_password=False)
    with serving_app(create_app(settings_for(models_dir, url), patient=True)) as client:
        assert client.get("/readyz").status_code == 503


def test_without_patience_it_does_not_start(models_dir: Path, postgres_server: str) -> None:
    url = make_url(postgres_server).set(database="there_is_none").render_as_string(hide_password=False)
    app = create_app(settings_for(models_dir, url))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(StorageUnavailable):
        anyio.run(start)

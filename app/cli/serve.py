"""`timbre serve`: what happens before the first request."""

import json
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import make_url

from app.api.connection import Connection, ConnectionLimits
from app.cli.client import err, fail, read_settings
from app.errors import TimbreError
from app.service.access import is_loopback
from app.service.shelf import Shelf
from app.settings import Settings
from app.store import Repository, Vault, check_schema, make_engine, upgrade
from app.store.ledger import Ledger


def run(settings: Settings, *, reload: bool) -> None:
    """Brings the database up to date, checks the model, then serves until stopped.

    A set-up that cannot serve ends in one line and exit code 1: the checks are made here, before uvicorn,
    which would bury them under a traceback.

    Args:
        settings: What the command line and the environment say together.
        reload: Start anew when a source file changes; for development.
    """
    try:
        if settings.migrate_on_start:
            upgrade(settings.database_url, Vault.load(settings.master_key_path, settings.given_master_key))
        line, has_keys = check(settings)
        err.print(f"timbre: {line}", markup=False)
    except TimbreError as problem:
        fail(str(problem), exit_code=1)
    uvicorn.run(
        "app.main:create_app_from_environment",
        factory=True,
        host=address(settings, has_keys=has_keys),
        port=settings.port,
        workers=settings.workers,
        reload=reload,
        reload_dirs=["app"] if reload else None,
        log_level=settings.log_level,
        # A worker that is starved on a busy machine is not a dead one.
        timeout_worker_healthcheck=30,
        **server_options(settings),
    )


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told of the protocols and their limits."""
    limits = ConnectionLimits(
        url_bytes=settings.max_url_bytes,
        header_lines=settings.max_headers,
        header_bytes=settings.max_header_bytes,
        header_s=settings.header_timeout_s,
        idle_s=settings.idle_timeout_s,
        connections=settings.max_connections,
    )
    return {
        "http": partial(Connection, limits=limits),
        "timeout_keep_alive": settings.keep_alive_s,
        "server_header": False,
        # Other than its default it uses nothing that its library has given up, and never holds 16 MB frames.
        "ws": "websockets-sansio",
        "ws_max_size": 1 << 21,
    }


def address(settings: Settings, *, has_keys: bool) -> str:
    """Where to listen: without keys on the loopback only, unless the settings say that this is meant."""
    if has_keys:
        return settings.host
    if is_loopback(settings.host):
        err.print("timbre: no API key was made, so whoever is on this machine may ask", markup=False)
        return settings.host
    if settings.open:
        err.print("timbre: no API key was made and TIMBRE_OPEN is set: EVERYBODY may ask", markup=False)
        return settings.host
    err.print(
        f"timbre: no API key was made, so it listens on 127.0.0.1 and not on {settings.host}; "
        "make one with: timbre keys create",
        markup=False,
    )
    return "127.0.0.1"


def check(settings: Settings) -> tuple[str, bool]:
    """Loads the model with its calibration, and looks at the schema, the master key and the erasure ledger.

    Returns:
        One line that says what will serve and where it runs, and whether there are API keys.

    Raises:
        ModelInvalid: The model folder is incomplete, changed, or computes something else than it should.
        ProviderUnavailable: CUDA was asked for and is not there.
        SchemaOutdated: The database needs `timbre migrate`.
        StorageUnavailable: The database does not answer.
    """
    with closing(Shelf(settings)) as shelf:
        embedder = shelf.serving(shelf.default).embedder
        model, provider, cosine = embedder.manifest.model_id, embedder.provider, embedder.golden_cosine
    engine = make_engine(settings.database_url)
    vault = Vault.load(settings.master_key_path, settings.given_master_key)
    try:
        check_schema(engine)
        repository = Repository(engine, vault, Ledger(settings.erasure_ledger_path, vault))
        repository.check_vault()
        repository.check_ledger()
        has_keys = repository.has_keys()
    finally:
        engine.dispose()
    # Without its options, which may hold a password too.
    database = make_url(settings.database_url).set(query={}).render_as_string(hide_password=True)
    return f"model {model} on {provider}, golden cosine {cosine:.5f}; database {database}", has_keys


def write_openapi(file: Path | None) -> None:
    """Writes the OpenAPI description of the service, or prints it."""
    from app.main import create_app

    text = json.dumps(create_app(read_settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")

"""`timbre serve`: what happens before the first request."""

import json
import sys
from pathlib import Path

import uvicorn
from sqlalchemy import make_url

from app.cli.client import err, fail, read_settings
from app.embedder import Embedder
from app.errors import TimbreError
from app.service.access import is_loopback
from app.settings import Settings
from app.store import Repository, Vault, check_schema, make_engine, upgrade


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
        server_header=False,
        # Other than its default it uses nothing that its library has given up, and never holds 16 MB frames.
        ws="websockets-sansio",
        ws_max_size=1 << 21,
    )


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
    """Loads the model and looks at the schema.

    Returns:
        One line that says what will serve and where it runs, and whether there are API keys.

    Raises:
        ModelInvalid: The model folder is incomplete, changed, or computes something else than it should.
        ProviderUnavailable: CUDA was asked for and is not there.
        SchemaOutdated: The database needs `timbre migrate`.
        StorageUnavailable: The database does not answer.
    """
    embedder = Embedder.load(
        settings.models_dir / settings.model, provider=settings.provider, precision=settings.precision
    )
    model, provider, cosine = embedder.manifest.model_id, embedder.provider, embedder.golden_cosine
    embedder.close()
    engine = make_engine(settings.database_url)
    vault = Vault.load(settings.master_key_path, settings.given_master_key)
    try:
        check_schema(engine)
        has_keys = Repository(engine, vault).has_keys()
    finally:
        engine.dispose()
    database = make_url(settings.database_url).render_as_string(hide_password=True)
    return f"model {model} on {provider}, golden cosine {cosine:.5f}; database {database}", has_keys


def write_openapi(file: Path | None) -> None:
    """Writes the OpenAPI description of the service, or prints it."""
    from app.main import create_app

    text = json.dumps(create_app(read_settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")

"""`timbre serve`: what happens before the first request."""

import json
import sys
from pathlib import Path

import uvicorn
from sqlalchemy import make_url

from app.cli.client import err, fail, read_settings
from app.embedder import Embedder
from app.errors import TimbreError
from app.settings import Settings
from app.store.database import check_schema, make_engine, upgrade


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
            upgrade(settings.database_url)
        err.print(f"timbre: {check(settings)}", markup=False)
    except TimbreError as problem:
        fail(str(problem), exit_code=1)
    uvicorn.run(
        "app.main:create_app_from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        reload=reload,
        reload_dirs=["app"] if reload else None,
        log_level=settings.log_level,
        server_header=False,
    )


def check(settings: Settings) -> str:
    """Loads the model and looks at the schema.

    Returns:
        One line that says what will serve, and where it runs.

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
    try:
        check_schema(engine)
    finally:
        engine.dispose()
    database = make_url(settings.database_url).render_as_string(hide_password=True)
    return f"model {model} on {provider}, golden cosine {cosine:.5f}; database {database}"


def write_openapi(file: Path | None) -> None:
    """Writes the OpenAPI description of the service, or prints it."""
    from app.main import create_app

    text = json.dumps(create_app(read_settings()).openapi(), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")

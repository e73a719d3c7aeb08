"""The application: every part built once, in the lifespan, and joined."""

import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from app.api import problems
from app.api.metrics import Metrics
from app.api.middleware import RequestMiddleware
from app.api.operations import describe
from app.api.routes import ROUTERS
from app.audio.workers import DecoderPool
from app.embedder import Embedder
from app.errors import ModelInvalid, TimbreError, ValidationFailed
from app.index import FaissIndex, Partition
from app.scoring import Calibration, load_calibration
from app.service.gallery import Gallery
from app.service.parts import TENANT, Parts
from app.settings import Settings
from app.store.database import check_schema, make_engine, upgrade
from app.store.repository import Repository

_DESCRIPTION: Final = """
Enroll voices, verify that a recording is the voice it claims to be, identify whose voice it is.

Recordings travel as multipart parts or as the raw body, in any of wav, flac, mp3, ogg, opus, m4a
and webm. `/enroll`, `/verify` and `/identify` also stand under `/v1`. Every refusal is an RFC 9457
problem document with a `code` for programs, a `detail` for people and `reasons` with the numbers.
Every answer names its `request_id`; send `X-Request-Id` to choose it.
"""
_CALIBRATE: Final = "`timbre calibrate`, of the training package, writes a new one"
_TAGS: Final = [
    {"name": "voices", "description": "The three main calls."},
    {"name": "speakers", "description": "Who is enrolled, and with what."},
    {"name": "audio", "description": "Recordings on their own."},
    {"name": "models", "description": "What answers."},
    {"name": "operation", "description": "For whoever runs the service."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application. Nothing is opened before its lifespan begins.

    Args:
        settings: The settings; read from the environment when not given.

    Returns:
        The ASGI application. Its lifespan raises StartupError when the set-up cannot serve.
    """
    # The browser's half of /docs comes from the service itself: it may stand where no other host is reached.
    app = FastAPIOffline(
        title="Timbre",
        summary="Whose voice is this?",
        description=_DESCRIPTION,
        version=_version(),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=_TAGS,
        lifespan=_lifespan(settings or Settings()),
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/assets",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app, ROUTERS)
    app.add_middleware(RequestMiddleware)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def create_app_from_environment() -> FastAPI:
    """Make the application for a server process: settings from the environment, logs on standard error."""
    settings = Settings()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("timbre").setLevel(settings.log_level.upper())
    # The server's own access log would write paths, and with them who was spoken about.
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    return create_app(settings)


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            try:
                parts = await run_in_threadpool(_join, settings, stack)
            except TimbreError as failure:
                app.state.start_failure = failure
                raise
            app.state.metrics = Metrics(lambda: parts.gallery.size)
            app.state.parts = parts
            try:
                yield
            finally:
                app.state.parts = None

    return lifespan


def _join(settings: Settings, stack: ExitStack) -> Parts:
    """Build every part; `stack` closes them in reverse.

    Raises:
        StartupError: The model or the schema is not what it should be.
        StorageUnavailable: The database does not answer.
    """
    folder = settings.models_dir / settings.model
    embedder = Embedder.load(
        folder,
        provider=settings.provider,
        precision=settings.precision,
        workers=settings.inference_workers,
        queue=settings.inference_queue,
        timeout_s=settings.inference_timeout_s,
    )
    stack.callback(embedder.close)
    calibration = _calibration(settings, embedder)
    if settings.migrate_on_start:
        upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    stack.callback(engine.dispose)
    check_schema(engine)
    repository = Repository(engine)
    partition = Partition(TENANT, embedder.manifest.model_id)
    gallery = Gallery(repository, FaissIndex(), partition, calibration.score, settings.required_speech_s)
    gallery.sync()
    decoders = DecoderPool(settings.decode_workers, settings.decode_timeout_s, settings.max_duration_s)
    stack.callback(decoders.close)
    return Parts(settings, engine, repository, decoders, embedder, calibration, gallery)


def _calibration(settings: Settings, embedder: Embedder) -> Calibration:
    """What the scores of the loaded model mean, with a threshold at the rate that the settings ask for."""
    folder = settings.models_dir / settings.model
    try:
        calibration = load_calibration(folder / "calibration.json")
    except ValueError as error:
        raise ModelInvalid(str(folder), f"{error}; {_CALIBRATE}") from error
    if calibration.model_sha256 != embedder.manifest.sha256:
        raise ModelInvalid(str(folder), f"calibration.json was made with another model.onnx; {_CALIBRATE}")
    try:
        calibration.at_fmr(settings.target_fmr)
    except ValidationFailed as error:
        raise ModelInvalid(str(folder), f"TIMBRE_TARGET_FMR has no threshold: {error.problem}") from error
    return calibration


def _version() -> str:
    try:
        return version("timbre")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"

"""The application: every part built once, in the lifespan, and joined."""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from app.api import problems
from app.api.document import describe
from app.api.door import DoorMiddleware
from app.api.lanes import Lanes
from app.api.metrics import Metrics
from app.api.middleware import RequestMiddleware
from app.api.replaying import ReplayMiddleware
from app.api.routes import ROUTERS
from app.api.routes.common import call_of
from app.audio.nursery import Nursery
from app.audio.workers import DecoderPool
from app.digits import DigitHearer
from app.errors import ModelInvalid, ModelNotFound, SchemaOutdated, StorageUnavailable, TimbreError
from app.failpoints import arm, parse
from app.index import FaissIndex
from app.service.detection import load_detection
from app.service.exports import run_export
from app.service.galleries import Galleries
from app.service.imports import run_import
from app.service.job_runner import JobRunner, Work
from app.service.parts import Parts
from app.service.rates import Rates
from app.service.reembedding import run_reembedding
from app.service.shelf import Shelf
from app.service.sweeping import Repeating, sweep
from app.settings import Settings
from app.store import Vault, check_schema, make_engine, upgrade
from app.store.job_records import JobKind
from app.store.ledger import Ledger
from app.store.records import StoredTenant
from app.store.repository import Repository

_log: Final = logging.getLogger("timbre")
_WAIT_S: Final = 1.0
"""Time between two tries to start on a database that does not answer, in seconds."""
_DESCRIPTION: Final = """
Enroll voices, verify that a recording is the voice it claims to be, identify whose voice it is.

Recordings travel as multipart parts or as the raw body, in any of wav, flac, mp3, ogg, opus, m4a
and webm. `/enroll`, `/verify` and `/identify` also stand under `/v1`. Every refusal is an RFC 9457
problem document with a `code` for programs, a `detail` for people and `reasons` with the numbers.
Every answer names its `request_id`; send `X-Request-Id` to choose it.
"""
_WORKS: Final[Mapping[JobKind, Work]] = {
    "import": run_import,
    "export": run_export,
    "reembed": run_reembedding,
}
_TAGS: Final = [
    {"name": "voices", "description": "The three main calls."},
    {"name": "speakers", "description": "Who is enrolled, and with what."},
    {"name": "audio", "description": "Recordings on their own."},
    {"name": "governance", "description": "A tenant's rules, its log, its receipts."},
    {"name": "models", "description": "What answers."},
    {"name": "decisions", "description": "What thresholds promise, and what they kept."},
    {"name": "jobs", "description": "Work that outlasts a request: imports, exports, re-embeddings."},
    {"name": "azure", "description": "The paths of Azure's Speaker Recognition v2.0, text-independent."},
    {"name": "operation", "description": "For whoever runs the service."},
]


def create_app(settings: Settings | None = None, *, local: bool = False, patient: bool = False) -> FastAPI:
    """Make the application. Nothing is opened before its lifespan begins.

    Args:
        settings: The settings; read from the environment when not given.
        local: Only this process reaches it, as the command line does, so nobody needs a key.
        patient: Wait for a database that does not answer at the start, instead of failing.

    Returns:
        The ASGI application. Its lifespan raises StartupError when the set-up cannot serve.
    """
    settings = settings or Settings()
    # The browser's half of /docs comes from the service itself: it may stand where no other host is reached.
    app = FastAPIOffline(
        title="Timbre",
        summary="Whose voice is this?",
        description=_DESCRIPTION,
        version=_version(),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=_TAGS,
        lifespan=_lifespan(settings, patient=patient),
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/assets",
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.local = local
    app.state.lanes = Lanes(settings)
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app, ROUTERS)
    app.add_middleware(ReplayMiddleware, opener=call_of)
    app.add_middleware(DoorMiddleware, lanes=app.state.lanes, settings=settings, routers=ROUTERS)
    app.add_middleware(RequestMiddleware)
    app.openapi = lambda: describe(app, settings.max_files)  # type: ignore[method-assign]
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
    app = create_app(settings, patient=True)
    # All that stands now stays; to look through it again would stop every request for a tenth of a second.
    gc.collect()
    gc.freeze()
    return app


def _lifespan(settings: Settings, *, patient: bool) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as stack:
            waiting = None
            try:
                await _start(app, settings, stack)
            except StorageUnavailable:
                if not patient:
                    raise
                _log.error("the database does not answer; waiting for it")
                waiting = asyncio.create_task(_start_later(app, settings, stack))
            try:
                yield
            finally:
                app.state.parts = None
                if waiting is not None:
                    waiting.cancel()
                    await asyncio.wait([waiting])

    return lifespan


async def _start(app: FastAPI, settings: Settings, stack: ExitStack) -> None:
    """Join the parts, and let the routes have them."""
    try:
        parts = await run_in_threadpool(_join, settings, stack)
    except TimbreError as failure:
        app.state.start_failure = failure
        raise
    app.state.start_failure = None
    app.state.metrics = Metrics(parts, app.state.lanes)
    app.state.parts = parts


async def _start_later(app: FastAPI, settings: Settings, stack: ExitStack) -> None:
    """Try until it works; requests are told 503 meanwhile.

    A process that takes the place of one that died while the database is away must not fail: its parent would
    take that for a broken set-up and end all the others too.
    """
    while app.state.start_failure is not None:
        stack.close()
        await asyncio.sleep(_WAIT_S)
        with contextlib.suppress(TimbreError):
            await run_in_threadpool(_look_for_database, settings)  # a whole start only for one that is there
            await _start(app, settings, stack)
    _log.warning("the database answers again")


def _look_for_database(settings: Settings) -> None:
    engine = make_engine(settings.database_url, 1)
    try:
        with contextlib.suppress(SchemaOutdated):  # the start migrates it
            check_schema(engine)
    finally:
        engine.dispose()


def _join(settings: Settings, stack: ExitStack) -> Parts:
    """Build every part; `stack` closes them in reverse.

    Raises:
        StartupError: The model, the schema or the master key is not what it should be.
        StorageUnavailable: The database does not answer.
    """
    arm(parse(settings.failpoints or ""))
    if settings.failpoints:
        _log.warning("FAILPOINTS ARE ARMED: this process is made to fail (%s)", settings.failpoints)
    nursery = Nursery()  # first, because it takes as long as everything else here, and beside it
    stack.callback(nursery.close)
    vault = Vault.load(settings.master_key_path, settings.given_master_key)
    if settings.migrate_on_start:
        upgrade(settings.database_url, vault)
    engine = make_engine(settings.database_url, settings.database_connections)
    stack.callback(engine.dispose)
    check_schema(engine)
    repository = Repository(engine, vault, Ledger(settings.erasure_ledger_path, vault))
    repository.check_vault()
    repository.check_ledger()
    shelf = Shelf(settings)
    stack.callback(shelf.close)
    shelf.serving(shelf.default)
    digits = _digits(settings)
    if digits is not None:
        stack.callback(digits.close)
    detection = load_detection(settings)
    galleries = Galleries(repository, FaissIndex(), settings.required_speech_s)
    decoders = DecoderPool(
        settings.decode_workers, settings.decode_timeout_s, settings.max_duration_s, nursery=nursery
    )
    stack.callback(decoders.close)
    long_decoders = _long_decoders(settings, nursery)
    stack.callback(long_decoders.close)
    pools = decoders, long_decoders
    parts = Parts(settings, engine, vault, repository, *pools, shelf, galleries, Rates(), digits, detection)
    for tenant in repository.list_tenants():
        _warm(parts, tenant)
    stack.callback(parts.aside.close)
    stack.callback(JobRunner(parts, _WORKS, threads=settings.job_workers).close)
    stack.callback(Repeating("timbre-sweeping", settings.sweep_s, lambda: sweep(parts)).close)
    return parts


def _long_decoders(settings: Settings, nursery: Nursery) -> DecoderPool:
    """A pool of one process, which starts at its first recording; hours of it may take as much longer."""
    longer = max(1.0, settings.max_segments_duration_s / settings.max_duration_s)
    return DecoderPool(
        1,
        settings.decode_timeout_s * longer,
        settings.max_segments_duration_s,
        wait_s=settings.decode_timeout_s,
        lazy=True,
        nursery=nursery,
    )


def _digits(settings: Settings) -> DigitHearer | None:
    """The model that hears digits, where there is to be one.

    Raises:
        ModelInvalid: Its folder is refused.
        ProviderUnavailable: CUDA was asked for and does not run.
    """
    if settings.digit_model is None:
        return None
    folder = settings.models_dir / settings.digit_model
    if not folder.is_dir():
        needed = (
            "there is no such folder; copy the project's, or set TIMBRE_DIGIT_MODEL=None to do without digits"
        )
        raise ModelInvalid(str(folder), needed)
    return DigitHearer.load(
        folder,
        provider=settings.provider,
        workers=settings.inference_workers,
        # As for the speaker model: whoever comes here was let in at the gate.
        queue=settings.places + 1,
        timeout_s=settings.inference_timeout_s,
    )


def _warm(parts: Parts, tenant: StoredTenant) -> None:
    """Load a tenant's model and fill its gallery before the first request; a model that is gone waits."""
    try:
        serving = parts.serving_for(tenant)
    except (ModelInvalid, ModelNotFound) as problem:
        _log.error("tenant %s cannot be served: %s", tenant.tenant_id, problem)
        return
    parts.galleries.of(tenant.tenant_id, serving).sync()


def _version() -> str:
    try:
        return version("timbre")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"

"""/healthz, /readyz and /metrics."""

from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app import errors
from app.api import examples
from app.api.metrics import Metrics
from app.api.operations import answers
from app.api.problems import problem
from app.api.routes.common import Joined
from app.api.schemas.service import Health, ReadyAnswer
from app.service.readiness import readiness
from app.service.trace import current

router = APIRouter(tags=["operation"])
_limiter = CapacityLimiter(2)
"""Threads of their own: a probe must not wait behind the recordings."""
_UNREADY = (
    *(errors.ModelNotReady, errors.StorageUnavailable),
    *(errors.SchemaOutdated, errors.MigrationsMissing, errors.IndexNotReady, errors.MasterKeyInvalid),
)

_EXPOSITION: dict[str, Any] = {
    "description": "Prometheus text format",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": "timbre_gallery_speakers 8.0\n"}},
}


@router.get("/healthz", response_model=Health, responses=answers(200, {"status": "ok"}, ()))
async def check_health() -> Health:
    """Tell that the process runs. It asks nothing else; see /readyz."""
    return Health(status="ok")


@router.get("/readyz", response_model=ReadyAnswer, responses=answers(200, examples.READY, _UNREADY))
async def check_readiness(parts: Joined) -> Any:
    """Tell whether the service can answer: model, database, migrations, and the index equal to SQL.

    `decoders` says what confines the processes that read recordings: `seccomp`, the version of
    `landlock` (0: the kernel has none), limits of memory and of time on the processor.
    """
    checks = await to_thread.run_sync(readiness, parts, limiter=_limiter)
    found = {check.name: {"ok": check.ok, **check.facts} for check in checks}
    failures = tuple(check.failure for check in checks if check.failure is not None)
    if failures:
        failures[0].reasons = failures if len(failures) > 1 else ()
        return problem(failures[0], checks=found)
    return ReadyAnswer(status="ready", checks=found, request_id=current().request_id)


@router.get(
    "/metrics",
    response_class=Response,
    responses=answers(200, None, ()) | {200: _EXPOSITION},
)
async def show_metrics(request: Request) -> Response:
    """Show what Prometheus collects: requests, stages, refusals, seconds of audio, speakers."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

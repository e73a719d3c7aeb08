"""Exceptions → RFC 9457 problem documents: the one table of statuses, and the handlers."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from app import errors
from app.errors import MalformedRequest, MethodNotAllowed, RouteNotFound, TimbreError, ValidationFailed
from app.service.trace import current

MEDIA_TYPE: Final = "application/problem+json"

STATUS: Final[Mapping[type[TimbreError], int]] = {
    errors.MalformedRequest: 400,
    errors.Unauthorized: 401,
    errors.InsufficientScope: 403,
    errors.SpeakerOptedOut: 403,
    errors.SpeakerNotFound: 404,
    errors.EnrollmentNotFound: 404,
    errors.RouteNotFound: 404,
    errors.ModelNotFound: 404,
    errors.JobNotFound: 404,
    errors.CalibrationNotFound: 404,
    errors.DecisionNotFound: 404,
    errors.ChallengeNotFound: 404,
    errors.ReceiptNotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.RequestTimeout: 408,
    errors.SpeakerExists: 409,
    errors.SpeakerNotEnrolled: 409,
    errors.ConcurrentModification: 409,
    errors.EnrollmentInconsistent: 409,
    errors.VoiceAlreadyEnrolled: 409,
    errors.ReenrollmentRequired: 409,
    errors.TooFewTrials: 409,
    errors.ChallengeExpired: 409,
    errors.ChallengeSpent: 409,
    errors.JobRunning: 409,
    errors.JobWithoutResult: 409,
    errors.ModelServing: 409,
    errors.IdempotencyInProgress: 409,
    errors.PayloadTooLarge: 413,
    errors.UrlTooLong: 414,
    errors.UnsupportedMediaType: 415,
    errors.ValidationFailed: 422,
    errors.ConflictingParameters: 422,
    errors.UnsupportedRate: 422,
    errors.ConsentRequired: 422,
    errors.ChallengeRequired: 422,
    errors.IdempotencyKeyReused: 422,
    errors.InvalidSpeakerId: 422,
    errors.AudioMissing: 422,
    errors.AudioEmpty: 422,
    errors.AudioUndecodable: 422,
    errors.InvalidSamples: 422,
    errors.SampleRateTooLow: 422,
    errors.AudioTooShort: 422,
    errors.AudioTooLong: 422,
    errors.NoSpeech: 422,
    errors.InsufficientSpeech: 422,
    errors.TooNoisy: 422,
    errors.Clipped: 422,
    errors.TooQuiet: 422,
    errors.SeveralVoices: 422,
    errors.VerificationLocked: 423,
    errors.RateLimited: 429,
    errors.TooManyChallenges: 429,
    errors.HeadersTooLarge: 431,
    errors.ModelNotReady: 503,
    errors.IndexNotReady: 503,
    errors.StorageUnavailable: 503,
    errors.LedgerUnavailable: 503,
    errors.DetectorUnavailable: 503,
    errors.Overloaded: 503,
    errors.InferenceTimeout: 504,
    # A process that hits these does not start; only /readyz of a running one may report them.
    errors.ModelInvalid: 503,
    errors.ProviderUnavailable: 503,
    errors.SchemaOutdated: 503,
    errors.MigrationsMissing: 503,
    errors.MasterKeyInvalid: 503,
    errors.DetectorInvalid: 503,
    errors.LedgerDamaged: 503,
    errors.DatabaseOlder: 503,
    errors.BackupInvalid: 503,
    errors.DatabaseInUse: 503,
}
"""The status of each leaf of the exception tree."""

INTERNAL_CODE: Final = "internal_error"
INTERNAL_DETAIL: Final = (
    "The service failed. Nothing about it is in this answer; look for the request_id in its log."
)


def problem(error: TimbreError, **members: Any) -> JSONResponse:
    """The problem response of a refusal.

    Args:
        error: A leaf of the tree.
        **members: More members of the document.

    Returns:
        application/problem+json with the leaf's status, and Retry-After where trying again helps.
    """
    trace = current()
    trace.code = error.code
    status = STATUS[type(error)]
    headers = {}
    if status == 503 or hasattr(error, "retry_after_s"):
        headers["Retry-After"] = str(getattr(error, "retry_after_s", 1))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="timbre"'
    if status == 408:
        headers["Connection"] = "close"  # Source: RFC 9110, section 15.5.9
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    document = problem_document(error, trace.request_id) | members
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)


def problem_document(error: TimbreError, request_id: str) -> dict[str, Any]:
    """The members of a problem document, in the order in which a person reads them."""
    return {
        "type": type_of(error.code),
        "title": title_of(error.code),
        "status": STATUS[type(error)],
        "detail": str(error),
        "code": error.code,
        "reasons": reasons_of(error),
        "audio": _finite(error.audio),
        "request_id": request_id,
    }


def reasons_of(error: TimbreError) -> list[dict[str, Any]]:
    """Everything that is wrong, each with its facts and its place in the request."""
    return [_reason(each, alone=not error.reasons) for each in error.reasons or (error,)]


def internal_document(request_id: str) -> dict[str, Any]:
    """The document of a failure that is nobody's but the service's."""
    reason = {"code": INTERNAL_CODE, "detail": INTERNAL_DETAIL}
    return {
        "type": type_of(INTERNAL_CODE),
        "title": title_of(INTERNAL_CODE),
        "status": 500,
        "detail": INTERNAL_DETAIL,
        "code": INTERNAL_CODE,
        "reasons": [reason],
        "audio": None,
        "request_id": request_id,
    }


def type_of(code: str) -> str:
    """The problem type of a code: a URN, stable and independent of where the service runs."""
    return f"urn:timbre:problem:{code.replace('_', '-')}"


def title_of(code: str) -> str:
    """The title of a code: the same for every occurrence, as RFC 9457 asks."""
    return code.replace("_", " ").capitalize()


def _reason(error: TimbreError, *, alone: bool) -> dict[str, Any]:
    reason = {"code": error.code, "detail": str(error), **error.where, **error.facts}
    if not alone and error.audio is not None:
        reason["audio"] = error.audio
    return dict(_finite(reason))


def _finite(value: Any) -> Any:
    """JSON has no infinity: a level of silence, -inf dB, becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def invalid_values(error: ValidationError) -> ValidationFailed:
    """One refusal for everything that is wrong with the values of a model."""
    return invalid(error.errors(include_url=False, include_context=False, include_input=False))


def invalid(details: list[ErrorDetails]) -> ValidationFailed:
    """One refusal for everything that pydantic found; its words never repeat the input."""
    found = tuple(ValidationFailed(_field(each), _words(each)) for each in details)
    if len(found) > 1:
        found[0].reasons = found
    return found[0]


def _field(each: ErrorDetails) -> str:
    location = [str(step) for step in each["loc"] if step not in {"query", "path", "body", "header"}]
    return ".".join(location)[:64] or "body"


def _words(each: ErrorDetails) -> str:
    if each["type"] == "extra_forbidden":
        return "there is no such field"
    words = each["msg"].removeprefix("Value error, ")
    return words[:1].lower() + words[1:]


# ---------------------------------------------------------------- handlers


async def _on_refusal(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TimbreError)
    return problem(error)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(invalid(list(error.errors())))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """What Starlette's router refuses by itself."""
    assert isinstance(error, HTTPException)
    method, path = request.method[:32], request.url.path[:200]
    if error.status_code == 404:
        return problem(RouteNotFound(method, path))
    if error.status_code == 405:
        return problem(MethodNotAllowed(method, path, _allowed(request)))
    return problem(MalformedRequest(str(error.detail).rstrip(".")))


def _allowed(request: Request) -> str:
    """Every method that the path answers; the router itself names those of one route only."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found: set[str] = set()
    for route in request.app.state.known_routes:
        if route.path_regex.match(path):
            found |= route.methods
    return ", ".join(sorted(found))


def install(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Answer every refusal with a problem document. What nobody foresaw is the middleware's."""
    app.state.known_routes = [
        route for router in routers for route in router.routes if isinstance(route, APIRoute)
    ]
    app.add_exception_handler(TimbreError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)

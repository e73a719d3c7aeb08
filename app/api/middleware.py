"""Around every request: its id, its log line, its metrics, and the net under it."""

import contextlib
import json
import logging
import re
import time
import traceback
import uuid
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.deprecation import deprecation_of
from app.api.metrics import Metrics
from app.api.problems import INTERNAL_CODE, MEDIA_TYPE, internal_document
from app.service.trace import Trace, tracing

log: Final = logging.getLogger("timbre.requests")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")
_PUBLIC: Final = ("/docs", "/openapi.json")
"""The same for everybody."""
_CLIENT_GONE: Final = 499
"""Status in log and metrics of a request whose client left before its end; nobody receives it."""
_SWITCHED: Final = 101
_NOT_TAKEN: Final = 403
"""What the server answers to the handshake of a WebSocket that nobody takes."""
_BEGINNINGS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_FAILED: Final = 1011
"""Close code of a WebSocket whose service failed. Source: RFC 6455, section 7.4.1."""


class RequestMiddleware:
    """Outermost of the application's own layers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, or the application's start and end."""
        if scope["type"] in {"http", "websocket"}:
            await self._connection(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one conversation over a WebSocket: both get an id, and one log line at the end."""
        trace = Trace(request_id=_request_id(scope))
        status = 0
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] in _BEGINNINGS:
                status = message.get("status", _SWITCHED)
                message.setdefault("headers", [])
                _mark(scope, message, trace)
            await send(message)

        with tracing(trace):
            try:
                await self._app(scope, receive, sending)
            except ClientDisconnect:
                status = _CLIENT_GONE
                trace.code = "client_disconnected"
            except Exception as error:
                trace.code = INTERNAL_CODE
                _log_failure(trace.request_id, error)
                await _say_failed(scope, receive, sending, trace.request_id, begun=bool(status))
                status = 500
        _record(scope, status or _NOT_TAKEN, time.perf_counter() - started, trace)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say in one line why the service does not start; the server would print a traceback."""

        async def sending(message: Message) -> None:
            failure = getattr(scope["app"].state, "start_failure", None)
            if message["type"] == "lifespan.startup.failed" and failure is not None:
                message = {**message, "message": f"timbre: {failure}"}
            await send(message)

        await self._app(scope, receive, sending)


def _request_id(scope: Scope) -> str:
    asked = Headers(scope=scope).get("x-request-id", "")
    return asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex


def _mark(scope: Scope, message: Message, trace: Trace) -> None:
    """The headers that every answer has."""
    headers = MutableHeaders(scope=message)
    headers["X-Request-Id"] = trace.request_id
    if not scope["path"].startswith(_PUBLIC):
        # Answers speak of people: no cache on the way keeps them.
        headers.setdefault("Cache-Control", "no-store")
    ending = deprecation_of(scope.get("route"))
    if ending is not None:
        headers.update(ending.headers())


async def _say_failed(scope: Scope, receive: Receive, send: Send, request_id: str, *, begun: bool) -> None:
    """Tell the other end that the service failed, where it can still be told."""
    if scope["type"] == "websocket":
        with contextlib.suppress(RuntimeError):  # it is closed already
            await send({"type": "websocket.close", "code": _FAILED})
    elif not begun:
        document = internal_document(request_id)
        await JSONResponse(document, status_code=500, media_type=MEDIA_TYPE)(scope, receive, send)


def _record(scope: Scope, status: int, seconds: float, trace: Trace) -> None:
    method = scope.get("method", "WEBSOCKET")
    matched = scope.get("route")
    route = getattr(matched, "path_format", getattr(matched, "path", "unmatched"))
    metrics: Metrics | None = getattr(scope["app"].state, "metrics", None)
    if metrics is not None:
        metrics.observe(method, route, status, seconds, trace)
    line: dict[str, Any] = {
        "event": "request",
        "request_id": trace.request_id,
        "method": method[:16],
        "route": route,
        "status": status,
        "code": trace.code,
        "ms": _ms(seconds),
        "stages_ms": {stage: _ms(spent) for stage, spent in trace.seconds.items()},
        "audio_s": round(trace.audio_s, 3),
    }
    log.info(json.dumps(line))


def _log_failure(request_id: str, error: Exception) -> None:
    """Where it failed, but not the message: an exception's words may hold what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    line = {
        "event": "failure",
        "request_id": request_id,
        "exception": type(error).__qualname__,
        "at": [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames],
    }
    log.error(json.dumps(line))


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)

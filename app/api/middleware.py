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


class RequestMiddleware:
    """Outermost of the application's own layers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, or the application's start and end."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._conversation(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        trace = Trace(request_id=_request_id(scope))
        status = 0
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
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
                if not status:
                    document = internal_document(trace.request_id)
                    answer = JSONResponse(document, status_code=500, media_type=MEDIA_TYPE)
                    await answer(scope, receive, sending)
                status = 500
        _record(scope, scope["method"], status, time.perf_counter() - started, trace)

    async def _conversation(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: its id travels with the answer to the handshake; one log line at its end."""
        trace = Trace(request_id=_request_id(scope))
        status = 403  # what the server answers to a handshake that nobody takes
        started = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] in {"websocket.accept", "websocket.http.response.start"}:
                status = message.get("status", 101)
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
                status = 500
                with contextlib.suppress(RuntimeError):  # it is closed already
                    await send({"type": "websocket.close", "code": 1011})
        _record(scope, "WEBSOCKET", status, time.perf_counter() - started, trace)

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


def _record(scope: Scope, method: str, status: int, seconds: float, trace: Trace) -> None:
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

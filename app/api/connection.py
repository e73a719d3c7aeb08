"""The connection below the application: limits on what arrives before it is a request.

uvicorn's protocol bounds neither a header's size nor the time in which it comes, and its parser gathers a
header line until its end. A body after an answer, and an answer that nobody takes, may go on for ever too.
"""

import asyncio
import json
import logging
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, STATUS, problem_document
from app.errors import (
    HeadersTooLarge,
    MalformedRequest,
    Overloaded,
    RequestTimeout,
    TimbreError,
    UrlTooLong,
)

log: Final = logging.getLogger("timbre.requests")
refused: Final[Counter[str]] = Counter()
"""How often this process has refused what was no request yet, by the code."""


@dataclass(frozen=True)
class ConnectionLimits:
    """How much may come, and how slowly; sizes in bytes, times in seconds."""

    url_bytes: int
    header_lines: int
    header_bytes: int
    header_s: float
    idle_s: float
    connections: int


class _Refused(Exception):
    """Ends the parser's work on a request that is refused."""


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        """Begin with nothing read.

        Args:
            *args: As uvicorn makes its protocol.
            limits: How much may come.
            **kwargs: As uvicorn makes its protocol.
        """
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._since = self.loop.time()
        """When it began to wait for a request."""
        self._arriving = self._handed_on = False
        """A request has begun and not ended, its body included; its header is whole and it is at work."""
        self._open = 0
        """Requests handed on and not answered."""
        self._header_lines = self._header_bytes = 0
        self._got_on = False
        """What came was a part of a request that the parser passed on."""
        self._held_bytes = 0
        """Bytes that came since, and which the parser holds or skips."""
        self._refusal: TimbreError | None = None
        self._refused = False

    # ---------------------------------------------------------------- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        most = self._limits.connections
        if len(self.connections) > most and not self._make_room():
            self._refuse(Overloaded(most, 0))
        else:
            self._wait(self._limits.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left."""
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or all of it."""
        if self._refused:  # the rest is let through to the ground, so that the answer is not lost
            return
        self._got_on = False
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self or self._refused:
            return
        self._held_bytes = 0 if self._got_on else self._held_bytes + len(data)
        if self._held_bytes > self._limits.header_bytes:
            self._refuse(self._too_large())
        elif self._late is None and self._idle:
            self._wait(self._limits.header_s)

    def handle_websocket_upgrade(self) -> None:
        """From here on it is another protocol's."""
        self._unset_late()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What came is refused: it is too much, or not HTTP."""
        del msg  # uvicorn's words for both
        self._refuse(self._refusal or MalformedRequest("it is not HTTP/1.1"))

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is made."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._limits.idle_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken some."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    # ---------------------------------------------------------------- the parser's findings

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._got_on = self._arriving = True
        self._handed_on = False
        self._header_lines = self._header_bytes = 0
        self._wait(self._limits.header_s)

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._got_on = True
        if len(self.url) > self._limits.url_bytes:
            self._stop(UrlTooLong(self._limits.url_bytes))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line, before the body or after it."""
        super().on_header(name, value)
        self._got_on = True
        self._header_lines += 1
        self._header_bytes += len(name) + len(value)
        limits = self._limits
        if self._header_lines > limits.header_lines or self._header_bytes > limits.header_bytes:
            self._stop(self._too_large())

    def on_headers_complete(self) -> None:
        """The request is handed on; its body is read when the application asks for it, in its own time."""
        self._got_on = self._handed_on = True
        self._unset_late()
        super().on_headers_complete()
        self._open += 1

    def on_body(self, body: bytes) -> None:
        """Some of a body."""
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._got_on = True
        self._arriving = False
        super().on_message_complete()
        if self._idle:  # it was answered before its end, and uvicorn's own timer was unset by what came since
            self._wait(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """It is answered; what has not come of it is not waited for much longer."""
        super().on_response_complete()
        self._open -= 1
        self._since = self.loop.time()
        if self._arriving:
            self._wait(self._limits.idle_s)

    # ---------------------------------------------------------------- what is too much

    @property
    def _idle(self) -> bool:
        """No request of this connection is at work."""
        return self._open == 0

    def _wait(self, seconds: float) -> None:
        self._unset_late()
        self._late = self.loop.call_later(seconds, self._on_late)

    def _unset_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _on_late(self) -> None:
        self._late = None
        if not self._idle:  # a second request comes slowly while the first is worked on
            self._wait(self._limits.header_s)
        elif self._arriving and not self._handed_on and not self._refused:
            self._refuse(RequestTimeout(self._limits.header_s))
        else:
            self.transport.abort()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request; whether there was one."""
        others = self.connections - {self}
        waiting = [each for each in others if isinstance(each, Connection) and each._idle]
        if waiting:
            min(waiting, key=lambda each: each._since).transport.abort()
        return bool(waiting)

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(self._limits.header_lines, self._limits.header_bytes)

    def _stop(self, refusal: TimbreError) -> None:
        self._refusal = refusal
        raise _Refused

    def _refuse(self, refusal: TimbreError) -> None:
        """Answer below the application, and close when the client has read it."""
        self._refused = True
        self._unset_keepalive_if_required()
        if self._open > 1 or (self._open and self.cycle.response_started):
            self.transport.abort()  # an answer is on its way, and another cannot stand in its middle
            return
        if (
            self._open
        ):  # the application reads the body that turned out to be none: for it the client has left
            self._open = 0
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        request_id, status = uuid.uuid4().hex, STATUS[type(refusal)]
        body = json.dumps(problem_document(refusal, request_id)).encode()
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "X-Request-Id": request_id,
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        if status == 503:
            headers["Retry-After"] = "1"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + body)
        self.transport.write_eof()
        self._wait(self._limits.idle_s)
        line = {"event": "refused", "request_id": request_id, "status": status, "code": refusal.code}
        log.info(json.dumps(line))
        refused[refusal.code] += 1

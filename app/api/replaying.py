"""Idempotency keys: around every request that changes something.

The body is hashed as it streams through to the route, so that nothing is held twice. A body that
is sent again in another multipart envelope is the same body: the boundary does not count.
"""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem
from app.errors import (
    ConcurrentModification,
    IdempotencyKeyReused,
    RequestTimeout,
    StorageUnavailable,
    TimbreError,
    ValidationFailed,
)
from app.failpoints import reach
from app.service import replays
from app.service.call import Call
from app.service.trace import current
from app.store.replays import Begun, StoredReplay

KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_READING: Final = re.compile(
    r"(/v1)?/(identify|verify)|/v1/audio/quality|/v1/segments"
    r"|/speaker(-recognition)?/.*[/:](verify|identifySingleSpeaker)"
)
"""Calls by POST that change nothing; a key does nothing there."""
_LARGEST_ANSWER: Final = 1 << 20
"""Bytes of an answer that is kept."""
_NOT_KEPT: Final = frozenset({401, 403, 413, 423, 429})
"""Refusals that say what is so now, and may be otherwise for the retry."""
_OF_ONE_ANSWER: Final = frozenset({"content-length", "date", "server", "x-request-id"})
"""Headers that are made anew for each answer."""

Opener = Callable[[Request], Awaitable[Call]]


def reads_only(path: str) -> bool:
    """Whether a POST to this path changes nothing."""
    return _READING.fullmatch(path) is not None


def given_id(request: Request, call: Call) -> str | None:
    """The speaker_id that follows from the request's idempotency key; None without one."""
    begun = _begun(request)
    return None if begun is None else replays.speaker_id_from(call.tenant_id, begun.key)


def carried_out(request: Request) -> bool:
    """Whether an earlier try of this very request stored what it was to store, and died then."""
    begun = _begun(request)
    return begun is not None and begun.carried_out


def _begun(request: Request) -> Begun | None:
    found: Begun | None = getattr(request.state, "begun", None)
    return found


class ReplayMiddleware:
    """Answers a request that was answered before, and remembers the answers of those that were not."""

    def __init__(self, app: ASGIApp, opener: Opener) -> None:
        """Wrap `app`.

        Args:
            app: The application's inside.
            opener: Finds out who asks; raises TimbreError for whom the application will refuse too.
        """
        self._app, self._opener = app, opener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or reads_only(scope["path"]):
            return await self._app(scope, receive, send)
        key = Headers(scope=scope).get(KEY_HEADER)
        if key is None:
            return await self._app(scope, receive, send)
        try:
            if not _KEY.fullmatch(key):
                raise ValidationFailed(KEY_HEADER, "it must be 1 to 128 visible ASCII characters")
            call = await self._known(scope)
            if call is None:
                return await self._app(scope, receive, send)
            begun = await run_in_threadpool(replays.begin, call, key)
            if isinstance(begun, StoredReplay):
                answer = await _again(begun, _Body(scope, receive, _limit(scope, call)), scope)
                return await answer(scope, receive, send)
        except TimbreError as refusal:
            return await problem(refusal)(scope, receive, send)
        return await self._first(scope, _Body(scope, receive, _limit(scope, call)), send, call, begun)

    async def _known(self, scope: Scope) -> Call | None:
        """The call; None for somebody whom the application refuses, in its own words."""
        try:
            return await self._opener(Request(scope))
        except TimbreError:
            return None

    async def _first(self, scope: Scope, body: "_Body", send: Send, call: Call, begun: Begun) -> None:
        answer = _Answer(body, send)
        scope.setdefault("state", {})["begun"] = begun
        current().begun = begun
        kept = None
        try:
            reach("replay.taken")
            async with _held(call, begun):
                await self._app(scope, body.receive, answer.send)
            kept = answer.to_keep(scope)
        finally:
            # Before the answer goes out: whoever has it and asks again must find it.
            reach("replay.before_kept")
            # The answer is good, even if it cannot be kept.
            with contextlib.suppress(StorageUnavailable, ConcurrentModification):
                if kept is None:
                    await run_in_threadpool(replays.abandon, call, begun)
                else:
                    await run_in_threadpool(replays.finish, call, begun, kept, _speaker_of(scope, kept))
            reach("replay.kept")
        await answer.flush()
        reach("replay.answered")


@contextlib.asynccontextmanager
async def _held(call: Call, begun: Begun) -> AsyncIterator[None]:
    """Keeps a key while its request is at work, so that no retry takes it for lost."""
    ended = asyncio.Event()

    async def renew() -> None:
        while not ended.is_set():
            try:
                await asyncio.wait_for(ended.wait(), call.settings.idempotency_lease_s / 3)
            except TimeoutError:
                await run_in_threadpool(replays.renew, call, begun)

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        ended.set()
        await renewing


def _limit(scope: Scope, call: Call) -> int:
    """Bytes of the largest body that the path takes."""
    settings = call.settings
    return settings.max_import_bytes if scope["path"] == "/v1/imports" else settings.max_upload_bytes


async def _again(stored: StoredReplay, body: "_Body", scope: Scope) -> Response:
    """The stored answer, when the request is the one that it answers."""
    await body.drain()
    if not body.whole or body.fingerprint() != stored.fingerprint:
        raise IdempotencyKeyReused
    scope["route"] = _Known(stored.route)  # for the log and the metrics
    return Response(stored.body, stored.status, {**stored.headers, REPLAYED_HEADER: "true"})


@dataclass(frozen=True)
class _Known:
    path: str


class _Body:
    """The body of a request on its way in, and the digest of the whole request."""

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int) -> None:
        self._receive, self._limit = receive, limit_bytes
        headers = Headers(scope=scope)
        kind, options = parse_options_header(headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"") if kind == b"multipart/form-data" else b""
        self._digest: Final = _Digest(boundary)
        self._digest.start(scope["method"], scope["path"], scope.get("query_string", b""))
        self._seen = 0
        self.whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        """Everything has been read."""

    async def receive(self) -> Message:
        """The next message, hashed."""
        message = await self._receive()
        if message["type"] == "http.request":
            chunk = message.get("body", b"")
            self._seen += len(chunk)
            self._digest.update(chunk)
            self.whole = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read to the end; a body that is beyond the limit of uploads or does not come is left unread."""
        with contextlib.suppress(RequestTimeout):
            while not self.whole and self._seen <= self._limit:
                if (await self.receive())["type"] != "http.request":
                    return

    def fingerprint(self) -> str:
        """The digest, once the body is whole: 64 hexadecimal digits."""
        return self._digest.hexdigest()


class _Digest:
    """SHA-256 of a request, blind to the boundary of its multipart body."""

    def __init__(self, boundary: bytes) -> None:
        self._sha256: Final = hashlib.sha256()
        self._boundary: Final = boundary
        self._held = b""
        """The end of what was seen, which may hold the beginning of a boundary."""

    def start(self, method: str, path: str, query: bytes) -> None:
        """Method and address are part of a request."""
        self._sha256.update(b"\0".join((method.encode(), path.encode(), query, b"")))

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes of the body."""
        if not self._boundary:
            self._sha256.update(chunk)
            return
        *whole, last = (self._held + chunk).split(self._boundary)
        for piece in whole:
            self._sha256.update(piece + b"\0")
        keep = min(len(last), len(self._boundary) - 1)
        self._sha256.update(last[: len(last) - keep])
        self._held = last[len(last) - keep :]

    def hexdigest(self) -> str:
        """The digest of everything so far."""
        final = self._sha256.copy()
        final.update(self._held)
        return final.hexdigest()


class _Answer:
    """An answer on its way out, held until it is kept. One that is too large to keep is not held."""

    def __init__(self, body: _Body, out: Send) -> None:
        self._body, self._out = body, out
        self._held: list[Message] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        """Take a message. Whatever of the request the route has not read is read before the first."""
        if message["type"] == "http.response.start" and _worth_keeping(message["status"]):
            await self._body.drain()
        self._held.append(message)
        self._size += len(message.get("body", b""))
        if self._size > _LARGEST_ANSWER:
            await self.flush()

    async def flush(self) -> None:
        """Let out what is held."""
        held, self._held = self._held, []
        for message in held:
            await self._out(message)

    def to_keep(self, scope: Scope) -> StoredReplay | None:
        """What is remembered; None of an answer that a retry should not get."""
        if not self._held or self._size > _LARGEST_ANSWER or not self._body.whole:
            return None
        start, *rest = self._held
        if not _worth_keeping(start["status"]) or rest[-1].get("more_body", False):
            return None
        headers = Headers(raw=start["headers"]).items()
        return StoredReplay(
            route=getattr(scope.get("route"), "path_format", "unmatched")[:256],
            fingerprint=self._body.fingerprint(),
            status=start["status"],
            headers={name: value for name, value in headers if name not in _OF_ONE_ANSWER},
            body=b"".join(message.get("body", b"") for message in rest),
        )


def _worth_keeping(status: int) -> bool:
    return status < 500 and status not in _NOT_KEPT


def _speaker_of(scope: Scope, answer: StoredReplay) -> str | None:
    """Whom an answer is about: the speaker of the path, else the one that it names."""
    named = scope.get("path_params", {})
    for name in ("speaker_id", "profile_id"):
        if name in named:
            return str(named[name])
    try:
        content: Any = json.loads(answer.body)
    except ValueError:
        return None
    if not isinstance(content, dict):
        return None
    for each in (content, *content.get("reasons", ())):
        found = each.get("speaker_id", each.get("profileId"))
        if isinstance(found, str):
            return found
    return None

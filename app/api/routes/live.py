"""The WebSocket /v1/verify/live."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from app.api.answers.voices import verify_answer
from app.api.lanes import lanes_of
from app.api.problems import STATUS, invalid_values, problem_document
from app.api.routes.common import open_for, parts_of
from app.api.schemas.live import LiveDecisionFrame, LiveProgressFrame, LiveStart
from app.errors import (
    MalformedRequest,
    Overloaded,
    PayloadTooLarge,
    TimbreError,
)
from app.service.call import Call
from app.service.live import LiveProgress, LiveRequest, LiveVerification
from app.service.trace import Abandoned, current
from app.service.verification import Verification
from app.settings import Settings

router = APIRouter(prefix="/v1/verify")
_MOST_FRAME_BYTES: Final = 1 << 20
_MOST_FRAMES_AHEAD: Final = 8
_FINE, _REFUSED, _TOO_BIG, _LATER = 1000, 1008, 1009, 1013
"""Close codes. Source: RFC 6455, section 7.4, and the registry that it founded."""


@router.websocket("/live")
async def verify_live(websocket: WebSocket) -> None:
    """Verify a voice while it speaks: see docs/segments.md for the frames."""
    await websocket.accept()
    try:
        await _converse(websocket)
    except TimbreError as refusal:
        await _refuse(websocket, refusal)
    except WebSocketDisconnect:
        current().code = "client_disconnected"


@contextmanager
def _place(websocket: WebSocket, settings: Settings) -> Iterator[None]:
    state = websocket.app.state
    taken = getattr(state, "live_taken", 0)
    if taken >= settings.live_at_once:
        raise Overloaded(settings.live_at_once, 0, retry_after_s=10)
    state.live_taken = taken + 1
    try:
        yield
    finally:
        state.live_taken -= 1


class _Frames:
    """What the client sends, read ahead: that it leaves is seen while its recording is looked at."""

    def __init__(self, websocket: WebSocket, settings: Settings) -> None:
        self._websocket, self._settings = websocket, settings
        # Whoever sends slower than time goes by is no live speaker.
        self._end = time.monotonic() + settings.live_max_duration_s + settings.live_idle_s
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(_MOST_FRAMES_AHEAD)
        self._trace = current()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read ahead within the block."""
        reader = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reader.cancel()

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._trace.abandoned = True
            await self._ahead.put(message)
            if self._trace.abandoned:
                return

    async def first(self) -> str | bytes:
        """The first frame, while nobody knows who sends it and nothing is read ahead; raises as `next`."""
        return await self._within(self._websocket.receive())

    async def next(self) -> str | bytes:
        """The next frame, unless the client is silent or the conversation takes too long.

        Raises:
            MalformedRequest: It is or does.
            PayloadTooLarge: The frame is too large.
            WebSocketDisconnect: The client has left.
        """
        return await self._within(self._ahead.get())

    async def _within(self, coming: Awaitable[Message]) -> str | bytes:
        try:
            async with asyncio.timeout(min(self._settings.live_idle_s, self._end - time.monotonic())):
                message = await coming
        except TimeoutError:
            raise MalformedRequest("the client fell silent, or sends slower than it speaks") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", _FINE))
        frame: str | bytes = message["bytes"] if message.get("bytes") is not None else message["text"]
        if len(frame) > _MOST_FRAME_BYTES:
            raise PayloadTooLarge(_MOST_FRAME_BYTES)
        return frame


async def _converse(websocket: WebSocket) -> None:
    settings = (await parts_of(websocket)).settings
    frames = _Frames(websocket, settings)
    start = _start(await frames.first())
    call = await _opened(websocket, start.api_key)
    with _place(websocket, settings):  # only now: who says nothing takes no place
        async with frames.reading():
            wish = LiveRequest(**start.model_dump(exclude={"type", "api_key"}))
            live = await run_in_threadpool(LiveVerification, call, wish)
            try:
                await _listen(websocket, frames, call, live)
            except Abandoned:
                raise WebSocketDisconnect from None
            finally:
                await run_in_threadpool(live.abandon)


async def _opened(websocket: WebSocket, api_key: str | None) -> Call:
    call = await open_for(websocket, api_key)
    call.need("verify")
    return call


async def _listen(websocket: WebSocket, frames: _Frames, call: Call, live: LiveVerification) -> None:
    lane = lanes_of(websocket).recordings
    while not live.full:
        frame = await frames.next()
        if isinstance(frame, str):
            if _parsed(frame) != {"type": "end"}:
                raise MalformedRequest('after the first frame only samples and {"type": "end"} may come')
            break
        live.add(frame)
        if live.due and not lane.full and not live.full:  # the next samples bring another chance
            found = await lane.later(live.look)
            if found is not None:
                await websocket.send_text(_frame(call, found))
    final = await lane.later(live.finish)
    await websocket.send_text(_frame(call, final, final=True))
    await websocket.close(_FINE)


def _start(frame: str | bytes) -> LiveStart:
    if not isinstance(frame, str):
        raise MalformedRequest("the first frame is JSON text with the speaker_id and the sample_rate_hz")
    try:
        return LiveStart.model_validate(_parsed(frame))
    except ValidationError as error:
        raise invalid_values(error) from None


def _parsed(frame: str) -> Any:
    try:
        return json.loads(frame)
    except (ValueError, RecursionError):
        raise MalformedRequest("a text frame is not JSON") from None


def _frame(call: Call, found: LiveProgress | Verification, *, final: bool = False) -> str:
    if isinstance(found, LiveProgress):
        return LiveProgressFrame.model_validate(found).model_dump_json()
    answer = verify_answer(call, found)
    return LiveDecisionFrame(**answer.model_dump(), final=final).model_dump_json()


async def _refuse(websocket: WebSocket, refusal: TimbreError) -> None:
    trace = current()
    trace.code = refusal.code
    document = problem_document(refusal, trace.request_id)
    status = STATUS[type(refusal)]
    code = {413: _TOO_BIG, 503: _LATER, 504: _LATER}.get(status, _REFUSED)
    with suppress(WebSocketDisconnect):
        await websocket.send_json({"type": "problem", "problem": document})
        await websocket.close(code)

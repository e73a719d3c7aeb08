"""The WebSocket /v1/verify/live."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.api.answers.voices import verify_answer
from app.api.problems import STATUS, invalid_values, problem_document
from app.api.routes.common import open_for
from app.api.schemas.live import LiveDecisionFrame, LiveProgressFrame, LiveStart
from app.errors import (
    MalformedRequest,
    ModelNotReady,
    Overloaded,
    PayloadTooLarge,
    TimbreError,
)
from app.service.call import Call
from app.service.live import LiveProgress, LiveRequest, LiveVerification
from app.service.parts import Parts
from app.service.trace import current
from app.service.verification import Verification
from app.settings import Settings

router = APIRouter(prefix="/v1/verify")
_MOST_FRAME_BYTES: Final = 1 << 20
_FINE, _REFUSED, _TOO_BIG, _LATER = 1000, 1008, 1009, 1013
"""Close codes. Source: RFC 6455, section 7.4, and the registry that it founded."""


@router.websocket("/live")
async def verify_live(websocket: WebSocket) -> None:
    """Verify a voice while it speaks: see docs/segments.md for the frames."""
    await websocket.accept()
    try:
        async with _place(websocket) as parts:
            await _converse(websocket, parts)
    except TimbreError as refusal:
        await _refuse(websocket, refusal)
    except WebSocketDisconnect:
        current().code = "client_disconnected"


@asynccontextmanager
async def _place(websocket: WebSocket) -> AsyncIterator[Parts]:
    state = websocket.app.state
    parts: Parts | None = getattr(state, "parts", None)
    if parts is None:
        raise ModelNotReady
    taken = getattr(state, "live_taken", 0)
    if taken >= parts.settings.live_at_once:
        raise Overloaded(parts.settings.live_at_once, 0, retry_after_s=10)
    state.live_taken = taken + 1
    try:
        yield parts
    finally:
        state.live_taken -= 1


async def _converse(websocket: WebSocket, parts: Parts) -> None:
    # Whoever sends slower than time goes by is no live speaker.
    end = time.monotonic() + parts.settings.live_max_duration_s + parts.settings.live_idle_s
    start = _start(await _received(websocket, parts.settings, end))
    call = await _opened(websocket, start.api_key)
    wish = LiveRequest(**start.model_dump(exclude={"type", "api_key"}))
    live = await run_in_threadpool(LiveVerification, call, wish)
    try:
        await _listen(websocket, call, live, end)
    finally:
        await run_in_threadpool(live.abandon)


async def _opened(websocket: WebSocket, api_key: str | None) -> Call:
    call = await open_for(websocket, api_key)
    call.need("verify")
    return call


async def _listen(websocket: WebSocket, call: Call, live: LiveVerification, end: float) -> None:
    while not live.full:
        frame = await _received(websocket, call.settings, end)
        if isinstance(frame, str):
            if _parsed(frame) != {"type": "end"}:
                raise MalformedRequest('after the first frame only samples and {"type": "end"} may come')
            break
        live.add(frame)
        if live.due and not live.full:
            found = await run_in_threadpool(live.look)
            if found is not None:
                await websocket.send_text(_frame(call, found))
    final = await run_in_threadpool(live.finish)
    await websocket.send_text(_frame(call, final, final=True))
    await websocket.close(_FINE)


async def _received(websocket: WebSocket, settings: Settings, end: float) -> str | bytes:
    """The next frame, unless the client is silent or the conversation takes too long."""
    try:
        async with asyncio.timeout(min(settings.live_idle_s, end - time.monotonic())):
            message = await websocket.receive()
    except TimeoutError:
        raise MalformedRequest("the client fell silent, or sends slower than it speaks") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _FINE))
    frame: str | bytes = message["bytes"] if message.get("bytes") is not None else message["text"]
    if len(frame) > _MOST_FRAME_BYTES:
        raise PayloadTooLarge(_MOST_FRAME_BYTES)
    return frame


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

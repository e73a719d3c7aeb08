"""POST /v1/imports."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.jobs import job_answer
from app.api.examples import jobs as examples
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Enrolling, located
from app.api.schemas.jobs import JobAnswer
from app.service import imports
from app.service.call import Call
from app.service.jobs import JobView

router = APIRouter(prefix="/v1/imports", tags=["jobs"])
_GATHERED: Final = 1024 * 1024
"""Bytes that are handed on together: the event loop waits for no disk."""
_ARCHIVE: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "A zip, a tar or JSON lines; the last two may be packed with gzip. The bytes count, "
    'whatever the media type says. A line: `{"speaker_id": "ada", "audio": "UklGRiQAAABXQVZF…"}`.',
    "content": {
        "application/zip": _ARCHIVE,
        "application/x-tar": _ARCHIVE,
        "application/gzip": _ARCHIVE,
        "application/x-ndjson": _ARCHIVE,
        "application/octet-stream": _ARCHIVE,
    },
}


@router.post(
    "",
    status_code=202,
    response_model=JobAnswer,
    responses=answers(
        202,
        examples.JOB | {"status": "queued"},
        (*ALWAYS, *STORED, errors.MalformedRequest, errors.PayloadTooLarge),
        headers=("Location",),
    ),
    openapi_extra={"requestBody": _BODY},
)
async def start_import(request: Request, response: Response, call: Enrolling) -> JobAnswer:
    """Enroll many recordings as a job: an archive, or one JSON object a line with the audio in base64.

    An archive has a `manifest.csv` or `manifest.jsonl` with the columns `file` and `speaker_id`, and
    `display_name`, `metadata`, `consent`, `retain_until` where they are wanted; or a folder for each speaker.
    Every row is enrolled as POST /enroll would: refusals concern one row and do not stop the others.
    """
    job = await _received(request, call)
    response.headers["Location"] = located(request, f"/v1/jobs/{job.job.job_id}")
    return job_answer(job)


async def _received(request: Request, call: Call) -> JobView:
    announced, limit = request.headers.get("content-length", ""), call.settings.max_import_bytes
    if announced.isdecimal() and int(announced) > limit:
        raise errors.PayloadTooLarge(limit)
    with await run_in_threadpool(imports.Receiver, call) as receiver:
        gathered: list[bytes] = []
        async for chunk in request.stream():
            gathered.append(chunk)
            if sum(map(len, gathered)) >= _GATHERED:
                await run_in_threadpool(receiver.write, b"".join(gathered))
                gathered.clear()
        await run_in_threadpool(receiver.write, b"".join(gathered))
        return JobView(await run_in_threadpool(receiver.finish), None)

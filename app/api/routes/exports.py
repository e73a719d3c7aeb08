"""/v1/exports, and what came of one."""

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.jobs import job_answer
from app.api.bodies import json_body, read_json
from app.api.examples import jobs as examples
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, located
from app.api.routes.jobs import JobId
from app.api.schemas.jobs import ExportWish, JobAnswer
from app.service import exports
from app.service.jobs import JobView

router = APIRouter(prefix="/v1", tags=["jobs"])
_LINES = "application/x-ndjson"
_CONTENT: Final = answers(
    200, None, (*ALWAYS, *STORED, errors.JobNotFound, errors.JobRunning, errors.JobWithoutResult)
)
_CONTENT[200] |= {
    "description": "One JSON object a line",
    "content": {
        _LINES: {
            "schema": {"type": "string"},
            "example": '{"type": "speaker", "speaker_id": "ada", "display_name": "Ada", "version": 3}\n',
        }
    },
}


@router.post(
    "/exports",
    status_code=202,
    response_model=JobAnswer,
    responses=answers(
        202,
        examples.EXPORT,
        (*ALWAYS, *STORED, errors.MalformedRequest, errors.PayloadTooLarge),
        headers=("Location",),
    ),
    openapi_extra=json_body(ExportWish, {"include": ["speakers"], "group": "sales"}, required=False),
)
async def start_export(request: Request, response: Response, call: Administering) -> JobAnswer:
    """Write the speakers and what they have enrolled into a file of JSON lines, as a job.

    Embeddings are never exported. With `include_audio` and recordings that are kept, the file can be
    imported again, here or elsewhere.
    """
    wish = await read_json(request, ExportWish, optional=True)
    job = await run_in_threadpool(exports.start_export, call, **wish.model_dump())
    response.headers["Location"] = located(request, f"/v1/jobs/{job.job_id}")
    return job_answer(JobView(job, None))


@router.get(
    "/jobs/{job_id}/content",  # under the job, because it goes with it
    response_class=StreamingResponse,
    responses=_CONTENT,
)
async def get_export_content(job_id: JobId, call: Administering) -> StreamingResponse:
    """Fetch the lines of an export that has succeeded, for 24 hours.

    When a speaker in it is deleted, or one of their recordings, the whole export is gone at that moment.
    """
    pieces = await run_in_threadpool(exports.export_content, call, job_id)
    return StreamingResponse(
        pieces,
        media_type=_LINES,
        headers={"Content-Disposition": f'attachment; filename="export-{job_id}.jsonl"'},
    )

"""/v1/reembed-jobs, and how far a model could take over."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.jobs import coverage_answer, job_answer
from app.api.bodies import json_body, read_json
from app.api.examples import jobs as examples
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import Administering, Reading, located
from app.api.schemas.jobs import CoverageAnswer, JobAnswer, ReembedWish
from app.service import jobs, reembedding

router = APIRouter(prefix="/v1", tags=["models"])
ModelName = Annotated[
    str, Path(description="Name of its folder", pattern="^[A-Za-z0-9._@-]{1,128}$", examples=["timbre-3"])
]


@router.post(
    "/reembed-jobs",
    status_code=202,
    response_model=JobAnswer,
    responses=answers(
        202,
        examples.REEMBED,
        (*ALWAYS, *STORED, errors.ModelNotFound, errors.MalformedRequest, errors.PayloadTooLarge),
        headers=("Location",),
    ),
    openapi_extra=json_body(ReembedWish, {"model": "timbre-3"}),
)
async def start_reembedding(request: Request, response: Response, call: Administering) -> JobAnswer:
    """Let another model hear every kept recording, as a job, so that it can take over.

    The model that serves goes on serving. Speakers whose recordings are not kept have the outcome
    `reenrollment_required`. It may be run again: what the model has heard is not heard twice.
    """
    wish = await read_json(request, ReembedWish)
    job = await run_in_threadpool(reembedding.start_reembedding, call, wish.model)
    response.headers["Location"] = located(request, f"/v1/jobs/{job.job_id}")
    return job_answer(await run_in_threadpool(jobs.view_of, call, job))


@router.get(
    "/models/{model}/coverage",
    response_model=CoverageAnswer,
    responses=answers(200, examples.COVERAGE_ANSWER, (*ALWAYS, *STORED, errors.ModelNotFound)),
)
async def get_model_coverage(model: ModelName, call: Reading) -> CoverageAnswer:
    """Show how many of the tenant's speakers a model could serve if it were activated now."""
    return coverage_answer(model, await run_in_threadpool(reembedding.coverage_of, call, model))

"""/v1/jobs: every import, export and re-embedding."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app import errors
from app.api.answers.jobs import job_answer, job_rows_answer, jobs_answer
from app.api.examples import jobs as examples
from app.api.operations import ALWAYS, STORED, answers
from app.api.routes.common import calling
from app.api.schemas.jobs import JobAnswer, JobRowsAnswer, JobsAnswer
from app.service import jobs
from app.service.call import Call
from app.store.job_records import JobKind

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[
    str,
    Path(description="As it was answered", pattern="^[0-9a-f]{32}$", examples=[examples.JOB["job_id"]]),
]
Watching: TypeAlias = Annotated[Call, Depends(calling("read", "enroll"))]
Cursor = Annotated[str, Field(max_length=512)]
_ONE = (*ALWAYS, *STORED, errors.JobNotFound)


class JobsQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most jobs on a page."""
    cursor: Cursor | None = None
    """`next_cursor` of the page before."""
    kind: JobKind | None = None
    """Only jobs of this kind."""


class RowsQuery(BaseModel):
    """Which page of which rows."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most rows on a page."""
    cursor: Cursor | None = None
    """`next_cursor` of the page before."""
    outcome: Annotated[str, Field(pattern="^[a-z_]{1,32}$")] | None = None
    """Only rows with this outcome."""


@router.get("", response_model=JobsAnswer, responses=answers(200, examples.JOBS, (*ALWAYS, *STORED)))
async def list_jobs(call: Watching, query: Annotated[JobsQuery, Query()]) -> JobsAnswer:
    """List imports, exports and re-embeddings, the newest first; they are kept for 30 days."""
    return jobs_answer(await run_in_threadpool(jobs.list_jobs, call, **query.model_dump()))


@router.get("/{job_id}", response_model=JobAnswer, responses=answers(200, examples.JOB, _ONE))
async def get_job(job_id: JobId, call: Watching) -> JobAnswer:
    """Show how far a job is."""
    return job_answer(await run_in_threadpool(jobs.get_job, call, job_id))


@router.get("/{job_id}/rows", response_model=JobRowsAnswer, responses=answers(200, examples.JOB_ROWS, _ONE))
async def list_job_rows(job_id: JobId, call: Watching, query: Annotated[RowsQuery, Query()]) -> JobRowsAnswer:
    """List what became of each row of a job, in the order of the rows."""
    return job_rows_answer(await run_in_threadpool(jobs.list_rows, call, job_id, **query.model_dump()))


@router.post("/{job_id}:cancel", response_model=JobAnswer, responses=answers(200, examples.JOB, _ONE))
async def cancel_job(job_id: JobId, call: Watching) -> JobAnswer:
    """Stop a job at its next row. What it has done stays done; a job that has ended stays what it is.

    A key needs the scope with which the job could be started.
    """
    return job_answer(await run_in_threadpool(jobs.cancel_job, call, job_id))


@router.delete("/{job_id}", status_code=204, responses=answers(204, None, (*_ONE, errors.JobRunning)))
async def delete_job(job_id: JobId, call: Watching) -> None:
    """Delete a job that has ended: the outcome of its rows, and the file of an export.

    What an import enrolled stays. A key needs the scope with which the job could be started.
    """
    await run_in_threadpool(jobs.delete_job, call, job_id)

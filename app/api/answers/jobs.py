"""What the use cases of jobs return → the JSON of the answers."""

from app.api.schemas.jobs import (
    Coverage,
    CoverageAnswer,
    Job,
    JobAnswer,
    JobProblem,
    JobRow,
    JobRowsAnswer,
    JobsAnswer,
    Wanted,
)
from app.service.jobs import JobView
from app.service.trace import current
from app.store import recordings
from app.store.job_records import JobPage, RowPage, StoredJob


def job_answer(view: JobView) -> JobAnswer:
    """One job."""
    name = view.job.wish.get("model")
    return JobAnswer(
        **_job(view.job).model_dump(),
        coverage=_coverage(str(name), view.coverage) if view.coverage is not None else None,
        request_id=current().request_id,
    )


def jobs_answer(page: JobPage) -> JobsAnswer:
    """A page of jobs."""
    jobs = [_job(job) for job in page.jobs]
    return JobsAnswer(jobs=jobs, next_cursor=page.next_cursor, request_id=current().request_id)


def job_rows_answer(page: RowPage) -> JobRowsAnswer:
    """A page of rows."""
    rows = [JobRow.model_validate(row) for row in page.rows]
    return JobRowsAnswer(rows=rows, next_cursor=page.next_cursor, request_id=current().request_id)


def coverage_answer(name: str, found: recordings.Coverage) -> CoverageAnswer:
    """How far a model could take over."""
    return CoverageAnswer(**_coverage(name, found).model_dump(), request_id=current().request_id)


def _coverage(name: str, found: recordings.Coverage) -> Coverage:
    return Coverage(
        model=name,
        enrolled=found.enrolled,
        ready=found.ready,
        reenrollment_required=found.reenrollment_required,
    )


def _job(job: StoredJob) -> Job:
    return Job(
        job_id=job.job_id,
        kind=job.kind,
        status=job.status,
        wanted=Wanted.model_validate(job.wish),
        done=job.done,
        total=job.total,
        progress=min(1.0, job.done / job.total) if job.total else None,
        rows_per_second=None if job.rate is None else round(job.rate, 2),
        counts=job.counts,
        problem=JobProblem.model_validate(job.problem) if job.problem else None,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )

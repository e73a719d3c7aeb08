"""Jobs as their owner sees them: look at them, at what became of each row, stop them, delete them."""

from dataclasses import dataclass

from app.service.call import Call
from app.service.trace import stage
from app.store.job_records import JobKind, JobPage, RowPage, StoredJob
from app.store.recordings import Coverage


@dataclass(frozen=True)
class JobView:
    """A job, and for a re-embedding how many speakers are ready at this moment."""

    job: StoredJob
    coverage: Coverage | None


def view_of(call: Call, job: StoredJob) -> JobView:
    """A job as it is shown.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    if job.kind != "reembed":
        return JobView(job, None)
    with stage("store"):
        coverage = call.repository.coverage(
            call.tenant_id, call.model_id, job.wish["model_id"], call.settings.required_speech_s
        )
    return JobView(job, coverage)


def get_job(call: Call, job_id: str) -> JobView:
    """Look at one job.

    Raises:
        JobNotFound: The tenant has none of that id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        job = call.repository.get_job(call.tenant_id, job_id)
    return view_of(call, job)


def list_jobs(call: Call, *, cursor: str | None, limit: int, kind: JobKind | None) -> JobPage:
    """List jobs, the newest first.

    Raises:
        ValidationFailed: The cursor is none that a page gave.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.list_jobs(call.tenant_id, cursor=cursor, limit=limit, kind=kind)


def list_rows(call: Call, job_id: str, *, cursor: str | None, limit: int, outcome: str | None) -> RowPage:
    """List what became of the rows of a job, in their order.

    Raises:
        JobNotFound: The tenant has no such job.
        ValidationFailed: The cursor is none that a page gave.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.list_rows(call.tenant_id, job_id, cursor=cursor, limit=limit, outcome=outcome)


def cancel_job(call: Call, job_id: str) -> JobView:
    """Stop a job at its next row; what it has done stays done. One that has ended stays what it is.

    Raises:
        JobNotFound: The tenant has none of that id.
        InsufficientScope: The caller could not have started it.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        _need(call, call.repository.get_job(call.tenant_id, job_id))
        job = call.repository.cancel_job(call.tenant_id, job_id, by=call.by)
    if job.status == "cancelled":
        call.parts.job_files.drop(job_id)
    return view_of(call, job)


def delete_job(call: Call, job_id: str) -> None:
    """Delete a job that has ended, with the outcome of its rows, and what it made.

    Raises:
        JobNotFound: The tenant has none of that id.
        JobRunning: It has not ended.
        InsufficientScope: The caller could not have started it.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        _need(call, call.repository.get_job(call.tenant_id, job_id))
        call.repository.delete_job(call.tenant_id, job_id, by=call.by)
    call.parts.job_files.drop(job_id)


def _need(call: Call, job: StoredJob) -> None:
    """Whoever may start a job may stop it."""
    call.need("enroll" if job.kind == "import" else "admin")

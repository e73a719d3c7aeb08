"""Jobs: work that outlasts a request, as those see it who asked for it."""

import base64
import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from app.errors import JobRunning, ValidationFailed
from app.store.audit import By, record
from app.store.job_records import ENDED, JobKind, JobPage, RowPage, StoredJob
from app.store.job_work import JobWork, end, find_job, keyless, stored_job, stored_row
from app.store.tables import Job, JobRow

MOST_ON_A_PAGE: Final = 1000
GONE: Final = {"code": "export_gone", "detail": "A speaker of it was deleted or changed since."}
"""Why an export cannot be read any more."""


class Jobs(JobWork):
    """The repository's methods on jobs."""

    def create_job(
        self, tenant_id: str, job_id: str, kind: JobKind, *, by: By, wish: dict[str, Any]
    ) -> StoredJob:
        """Puts a job into the queue.

        Args:
            tenant_id: Whose job.
            job_id: Chosen by the caller, whose file may carry it already.
            kind: What is to be done.
            by: Who asked for it.
            wish: What was asked for; no names and no audio.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        now = datetime.now(UTC)

        def work(session: Session) -> StoredJob:
            job = Job(
                job_id=job_id,
                tenant_id=tenant_id,
                kind=kind,
                status="queued",
                actor=by.actor,
                wish=wish,
                done=0,
                counts={},
                created_at=now,
            )
            session.add(job)
            session.flush()
            record(session, self._vault, tenant_id, by, f"{kind}.created", facts={"job": job_id})
            return stored_job(job)

        return self._write(job_id, work)

    def get_job(self, tenant_id: str, job_id: str) -> StoredJob:
        """Reads one job.

        Raises:
            JobNotFound: The tenant has none of that id.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return stored_job(find_job(session, tenant_id, job_id))

    def list_jobs(
        self, tenant_id: str, *, cursor: str | None = None, limit: int = 50, kind: JobKind | None = None
    ) -> JobPage:
        """Reads one page of jobs, the newest first.

        Args:
            tenant_id: Whose jobs.
            cursor: `next_cursor` of the page before; None begins.
            limit: Most jobs on the page, 1 to 1000.
            kind: Only jobs of this kind.

        Raises:
            ValidationFailed: The cursor is not one of ours, or the limit is out of range.
            StorageUnavailable: The database does not answer.
        """
        query = select(Job).where(Job.tenant_id == tenant_id)
        if kind is not None:
            query = query.where(Job.kind == kind)
        if cursor is not None:
            at, job_id = _read_cursor(cursor, "jobs", str, str)
            try:
                moment = datetime.fromisoformat(at)
                if moment.tzinfo is None:
                    raise ValueError
            except ValueError:
                raise _strange_cursor() from None
            query = query.where(
                or_(Job.created_at < moment, (Job.created_at == moment) & (Job.job_id < job_id))
            )
        query = query.order_by(Job.created_at.desc(), Job.job_id.desc()).limit(_checked(limit) + 1)
        with self._reading() as session:
            jobs = [stored_job(row) for row in session.scalars(query)]
        last = jobs[limit - 1] if len(jobs) > limit else None
        following = None if last is None else _cursor("jobs", last.created_at.isoformat(), last.job_id)
        return JobPage(tuple(jobs[:limit]), following)

    def list_rows(
        self,
        tenant_id: str,
        job_id: str,
        *,
        cursor: str | None = None,
        limit: int = 50,
        outcome: str | None = None,
    ) -> RowPage:
        """Reads one page of what became of a job's rows.

        Raises:
            JobNotFound: The tenant has no such job.
            ValidationFailed: The cursor is not one of ours, or the limit is out of range.
            StorageUnavailable: The database does not answer.
        """
        after = _read_cursor(cursor, "rows", int)[0] if cursor is not None else 0
        query = select(JobRow).where(JobRow.job_id == job_id, JobRow.number > after)
        if outcome is not None:
            query = query.where(JobRow.outcome == outcome)
        query = query.order_by(JobRow.number).limit(_checked(limit) + 1)
        with self._reading() as session:
            find_job(session, tenant_id, job_id)
            rows = [stored_row(row) for row in session.scalars(query)]
        following = _cursor("rows", rows[limit - 1].number) if len(rows) > limit else None
        return RowPage(tuple(rows[:limit]), following)

    def rows_with(self, job_id: str, enrollment_ids: Collection[str]) -> set[str]:
        """Which of these takes a row of the job already stands for.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(JobRow.enrollment_id).where(
            JobRow.job_id == job_id, JobRow.enrollment_id.in_(enrollment_ids)
        )
        with self._reading() as session:
            return {each for each in session.scalars(query) if each is not None}

    def cancel_job(self, tenant_id: str, job_id: str, *, by: By) -> StoredJob:
        """Stops a job where it is; one that has ended stays what it is.

        Raises:
            JobNotFound: The tenant has none of that id.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredJob:
            job = find_job(session, tenant_id, job_id, lock=True)
            if job.status not in ENDED:
                end(job, "cancelled", None)
                job.wish = keyless(job.wish)
                session.flush()
                record(session, self._vault, tenant_id, by, f"{job.kind}.cancelled", facts={"job": job_id})
            return stored_job(job)

        return self._write(job_id, work)

    def delete_job(self, tenant_id: str, job_id: str, *, by: By) -> None:
        """Deletes a job that has ended, with its rows.

        Raises:
            JobNotFound: The tenant has none of that id.
            JobRunning: It has not ended.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            job = find_job(session, tenant_id, job_id, lock=True)
            if job.status not in ENDED:
                raise JobRunning(job_id, job.status)
            session.execute(delete(JobRow).where(JobRow.job_id == job_id))
            session.delete(job)
            session.flush()
            record(session, self._vault, tenant_id, by, f"{job.kind}.deleted", facts={"job": job_id})

        self._write(job_id, work)


def forget_in_jobs(session: Session, tenant_id: str, speaker_id: str) -> None:
    """Takes a speaker out of the jobs of a tenant, inside the transaction that deletes the speaker or a take.

    Names go from the rows. An export that holds the speaker loses its key, so what lies in its file cannot be
    read from that moment on, on whichever machine it lies; one that is still at work begins anew.
    """
    jobs = select(Job.job_id).where(Job.tenant_id == tenant_id)
    named = (JobRow.speaker_id == speaker_id, JobRow.job_id.in_(jobs))
    touched = set(session.scalars(select(JobRow.job_id).where(*named).distinct()))
    if not touched:
        return
    exports = select(Job).where(Job.job_id.in_(touched), Job.kind == "export").order_by(Job.job_id)
    for job in session.scalars(exports.with_for_update()):
        if job.status in ENDED:
            job.problem = job.problem or GONE
            job.wish = keyless(job.wish)
        else:
            session.execute(delete(JobRow).where(JobRow.job_id == job.job_id))
            job.status, job.worker, job.done, job.counts = "queued", None, 0, {}
            job.wish = keyless(job.wish)
    blank: dict[str, None] = {"speaker_id": None, "detail": None, "enrollment_id": None}
    session.execute(update(JobRow).where(*named).values(**blank).execution_options(synchronize_session=False))


def _checked(limit: int) -> int:
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise ValidationFailed("limit", f"it must lie between 1 and {MOST_ON_A_PAGE}")
    return limit


def _cursor(*values: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _read_cursor(cursor: str, kind: str, *types: type) -> tuple[Any, ...]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded.encode(), b"-_", validate=True))
        named, *rest = values
        if named == kind and [type(value) for value in rest] == list(types):
            return tuple(rest)
    except (ValueError, TypeError):
        pass
    raise _strange_cursor()


def _strange_cursor() -> ValidationFailed:
    return ValidationFailed("cursor", "it is not a cursor of this list; leave it out to begin again")

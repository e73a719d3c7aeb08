"""The workers' side of jobs: claimed by one worker at a time, and given up when it falls silent.

A claim is one conditional UPDATE: of several workers that see the same job, one changes the row and the
others change none, on every database alike. Everything that a worker writes asks first whether the job is
still its own, so a cancelled job stops at its next row.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.errors import JobNotFound
from app.store.job_records import ENDED, Claim, JobLost, JobStatus, NewRow, SpeakersChanged, Step, StoredJob
from app.store.sessions import Sessions
from app.store.tables import Job, JobRow, Speaker


class JobWork(Sessions):
    """The repository's methods for those who do the jobs."""

    def claim_job(self, worker: str, lease_s: float, fits: Callable[[StoredJob], bool]) -> Claim | None:
        """Takes the job that has waited longest, or one whose worker has fallen silent.

        Args:
            worker: Who claims it; no two workers may have the same name.
            lease_s: Seconds without a sign of life after which a job is anybody's.
            fits: Whether this worker can do the job at all; a job whose file lies on another
                machine is left to the workers there.

        Returns:
            The job, from now on this worker's; None when there is none for it.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        now = datetime.now(UTC)
        free = _free(now, timedelta(seconds=lease_s))
        query = select(Job).where(free).order_by(Job.created_at, Job.job_id)
        with self._reading() as session:  # most times there is nothing, and nothing is locked for that
            waiting = [stored_job(row) for row in session.scalars(query)]
        for job in waiting:
            if fits(job) and self._take(job.job_id, worker, free, now):
                with self._reading() as session:
                    mine = session.get_one(Job, job.job_id)
                    return Claim(stored_job(mine), resumed=job.started_at is not None)
        return None

    def _take(self, job_id: str, worker: str, free: ColumnElement[bool], now: datetime) -> bool:
        claim = (
            update(Job)
            .where(Job.job_id == job_id, free)
            .values(
                status="running", worker=worker, alive_at=now, started_at=func.coalesce(Job.started_at, now)
            )
            .returning(Job.job_id)
            .execution_options(synchronize_session=False)
        )
        return self._write(job_id, lambda session: session.scalar(claim)) is not None

    def advance_job(self, job_id: str, worker: str, step: Step) -> StoredJob:
        """Stores what became of rows, together with the progress of the job.

        Raises:
            JobLost: The job is no longer this worker's; nothing was stored.
            SpeakersChanged: A speaker of the step is another by now; nothing was stored.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredJob:
            _check_unchanged(session, step.speakers)
            gone = _deleted_since(session, job_id, step.rows)
            job = _mine(session, job_id, worker)
            counts = dict(job.counts)
            for row in step.rows:
                session.add(JobRow(job_id=job_id, **_columns(row, nameless=row.speaker_id in gone)))
                counts[row.outcome] = counts.get(row.outcome, 0) + 1
            job.counts, job.done = counts, job.done + len(step.rows)
            job.alive_at = datetime.now(UTC)
            if step.total is not None:
                job.total = step.total
            if step.notes:
                job.wish = {**job.wish, **step.notes}
            session.flush()
            return stored_job(job)

        return self._write(job_id, work)

    def release_job(self, job_id: str, worker: str) -> None:
        """Gives a job back to the queue, for a worker that has to stop.

        Raises:
            JobLost: The job is no longer this worker's.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> None:
            job = _mine(session, job_id, worker)
            job.status, job.worker, job.alive_at = "queued", None, datetime.now(UTC)

        self._write(job_id, work)

    def end_job(
        self,
        job_id: str,
        worker: str,
        status: JobStatus,
        *,
        problem: dict[str, Any] | None = None,
        keep_key: bool = False,
    ) -> StoredJob:
        """Ends a job. Without its key, the file that it worked on cannot be read any more.

        Raises:
            JobLost: The job is no longer this worker's.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> StoredJob:
            job = _mine(session, job_id, worker)
            end(job, status, problem)
            if not keep_key:
                job.wish = keyless(job.wish)
            session.flush()
            return stored_job(job)

        return self._write(job_id, work)

    def retire_jobs(self, *, exports_before: datetime, ended_before: datetime) -> None:
        """Takes the keys of old exports away, and deletes jobs that ended long ago.

        Args:
            exports_before: Exports that ended before are not to be read any more.
            ended_before: Jobs that ended before are deleted.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        over = select(Job).where(Job.kind == "export", Job.status == "succeeded", Job.problem.is_(None))
        over = over.where(Job.ended_at < exports_before)
        old = select(Job.job_id).where(Job.status.in_(ENDED), Job.ended_at < ended_before)
        with self._reading() as session:
            found = session.scalars(over.limit(1)).first(), session.scalars(old.limit(1)).first()
        if found == (None, None):
            return

        def work(session: Session) -> None:
            for job in session.scalars(over.with_for_update()):
                job.wish = keyless(job.wish)
                job.problem = {"code": "export_gone", "detail": "It was kept for its time."}
            gone = session.scalars(old.with_for_update()).all()
            session.execute(delete(JobRow).where(JobRow.job_id.in_(gone)))
            session.execute(delete(Job).where(Job.job_id.in_(gone)))

        self._write("jobs", work)

    def keyed_jobs(self, job_ids: Collection[str]) -> set[str]:
        """Which of these jobs still have a key, so that a file of theirs is worth keeping.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            rows = session.execute(select(Job.job_id, Job.wish).where(Job.job_id.in_(job_ids)))
            return {job_id for job_id, wish in rows if "key" in wish}


# ---------------------------------------------------------------- rows and records


def _free(now: datetime, lease: timedelta) -> ColumnElement[bool]:
    # A sign of life from the future is from before the clock was set back, and says nothing.
    silent = or_(Job.alive_at < now - lease, Job.alive_at > now + lease)
    return or_(Job.status == "queued", (Job.status == "running") & silent)


def find_job(session: Session, tenant_id: str, job_id: str, *, lock: bool = False) -> Job:
    """The row of a job of this tenant; raises JobNotFound."""
    query = select(Job).where(Job.tenant_id == tenant_id, Job.job_id == job_id)
    job = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if job is None:
        raise JobNotFound(job_id)
    return job


def _check_unchanged(session: Session, speakers: Mapping[int, int]) -> None:
    """Holds the speakers until the commit: a deletion either is seen here, or sees the rows stored here."""
    if not speakers:
        return
    query = select(Speaker.key, Speaker.version).where(Speaker.key.in_(speakers)).order_by(Speaker.key)
    found = {row.key: row.version for row in session.execute(query.with_for_update(read=True))}
    if found != dict(speakers):
        raise SpeakersChanged


def _deleted_since(session: Session, job_id: str, rows: Sequence[NewRow]) -> set[str]:
    """Speakers who were deleted between what was done for them and this moment: no row may name them.

    The others are held until the commit, as above. Refused rows name somebody who need not exist.
    """
    named = {row.speaker_id for row in rows if row.speaker_id and row.outcome != "refused"}
    if not named:
        return set()
    tenant = select(Job.tenant_id).where(Job.job_id == job_id).scalar_subquery()
    there = select(Speaker.speaker_id).where(Speaker.tenant_id == tenant, Speaker.speaker_id.in_(named))
    return named - set(session.scalars(there.order_by(Speaker.key).with_for_update(read=True)))


def _mine(session: Session, job_id: str, worker: str) -> Job:
    query = select(Job).where(Job.job_id == job_id).with_for_update()
    job = session.scalars(query).one_or_none()
    if job is None or job.worker != worker or job.status != "running":
        raise JobLost(job_id)
    return job


def end(job: Job, status: JobStatus, problem: dict[str, Any] | None) -> None:
    """Marks the end of a job."""
    job.status, job.problem, job.worker = status, problem, None
    job.ended_at = datetime.now(UTC)


def keyless(wish: dict[str, Any]) -> dict[str, Any]:
    """The wish of a job whose file is not to be read any more, and is not to be written on."""
    return {name: value for name, value in wish.items() if name not in {"key", "at"}}


def _columns(row: NewRow, *, nameless: bool) -> dict[str, Any]:
    if nameless:
        row = NewRow(number=row.number, outcome=row.outcome, code=row.code)
    return {
        "number": row.number,
        "outcome": row.outcome,
        "speaker_id": row.speaker_id,
        "code": row.code,
        "detail": row.detail,
        "enrollment_id": row.enrollment_id,
    }


def stored_row(row: JobRow) -> NewRow:
    """The record of a row."""
    return NewRow(
        number=row.number,
        outcome=row.outcome,
        speaker_id=row.speaker_id,
        code=row.code,
        detail=row.detail,
        enrollment_id=row.enrollment_id,
    )


def stored_job(job: Job) -> StoredJob:
    """The record of a job."""
    return StoredJob(
        job_id=job.job_id,
        tenant_id=job.tenant_id,
        kind=job.kind,  # type: ignore[arg-type]
        status=job.status,  # type: ignore[arg-type]
        actor=job.actor,
        wish=dict(job.wish),
        done=job.done,
        total=job.total,
        counts=dict(job.counts),
        problem=job.problem,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        alive_at=job.alive_at,
    )

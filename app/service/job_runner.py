"""The runner: threads of this process that take jobs from the database and do them.

A job is done in steps. Each step stores what became of its rows together with the progress, so whoever takes
the job over, after a crash or a stop, goes on behind the last row that is stored.
"""

import json
import logging
import os
import socket
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from app.errors import StorageUnavailable, TimbreError
from app.service.access import call_of
from app.service.call import Call
from app.service.parts import Parts
from app.service.spool import Folder
from app.store.job_records import Claim, JobKind, JobLost, JobStatus, Step, StoredJob

LEASE_S: Final = 60.0
"""Silence after which a worker counts as dead and its job is anybody's, in seconds."""
KEPT_EXPORT: Final = timedelta(hours=24)
"""How long an export can be fetched."""
KEPT_JOB: Final = timedelta(days=30)
"""How long a job and the outcome of its rows can be looked at after its end."""
INTERNAL_CODE: Final = "internal_error"
INTERNAL_DETAIL: Final = "The service failed; its log says where."
_POLL_S: Final = 2.0
"""Time between two looks for jobs that another process has queued, in seconds."""
_BREATH_S: Final = 5.0
_TIDY_S: Final = 60.0
_log: Final = logging.getLogger("timbre.jobs")


class Stopped(Exception):
    """The process is about to end; the job goes back to the queue."""


class Task:
    """One job in the hands of this process."""

    def __init__(self, parts: Parts, claim: Claim, worker: str, stopping: threading.Event) -> None:
        self.parts: Final = parts
        self.job: StoredJob = claim.job
        self.resumed = claim.resumed
        self._worker, self._stopping = worker, stopping
        self._opened: tuple[float, Call] | None = None
        self._stored_at = time.monotonic()

    @property
    def call(self) -> Call:
        """The tenant's call with the rules and the model of this moment, or of a second ago.

        Raises:
            ModelNotReady: The tenant's model cannot be loaded.
        """
        now = time.monotonic()
        if self._opened is None or now - self._opened[0] > 1.0:
            self._opened = now, call_of(self.parts, self.job.tenant_id, actor=self.job.actor)
        return self._opened[1]

    @property
    def files(self) -> Folder:
        """Where the job's file lies."""
        return self.parts.job_files

    @property
    def key(self) -> bytes | None:
        """The wrapped key of the job's file."""
        key = self.job.wish.get("key")
        return bytes.fromhex(key) if key is not None else None

    def advance(self, **step: Any) -> None:
        """Store a step (the fields of `Step`), then stop if the process has to.

        Raises:
            Stopped: The job must be given back now.
            JobLost: It is no longer ours.
            SpeakersChanged: The step has to be made again.
        """
        self.patiently(lambda: self._store(Step(**step)))
        if self._stopping.is_set():
            raise Stopped

    def breathe(self) -> None:
        """Between two steps, in work that takes long: a sign of life now and then, and a place to stop.

        Raises:
            Stopped: The job must be given back now.
            JobLost: It is no longer ours.
        """
        if time.monotonic() - self._stored_at > _BREATH_S:
            self.advance()
        elif self._stopping.is_set():
            raise Stopped

    def patiently(self, work: Callable[[], None]) -> None:
        """Do something that needs the database, as soon as it answers.

        Raises:
            Stopped: The process has to end before that.
        """
        while True:
            try:
                return work()
            except StorageUnavailable:
                self.pause(1.0)

    def pause(self, seconds: float) -> None:
        """Wait for better times.

        Raises:
            Stopped: The process has to end.
        """
        if self._stopping.wait(seconds):
            raise Stopped

    def _store(self, step: Step) -> None:
        self.job = self.parts.repository.advance_job(self.job.job_id, self._worker, step)
        self._stored_at = time.monotonic()


Work: TypeAlias = Callable[[Task], None]
"""Does a whole job; returns when it is done, raises TimbreError when it cannot be."""


class JobRunner:
    """Threads that do jobs, one each at a time."""

    def __init__(
        self, parts: Parts, works: Mapping[JobKind, Work], *, threads: int, lease_s: float = LEASE_S
    ) -> None:
        """Start the threads.

        Args:
            parts: The joined parts.
            works: What is done for each kind of job.
            threads: How many; with 0 this process leaves the jobs to others.
            lease_s: Silence after which a worker counts as dead, in seconds.
        """
        self._parts, self._works, self._lease_s = parts, works, lease_s
        self._stopping: Final = threading.Event()
        self._tidied = 0.0
        self._threads = [
            threading.Thread(target=self._run, name=f"timbre-jobs-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop at the next row, give the jobs back, and wait for that."""
        self._stopping.set()
        self._parts.bell.ring()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        worker = f"{socket.gethostname()[:24]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        while not self._stopping.is_set():
            heard = self._parts.bell.strokes
            try:
                self._tidy()
                claim = self._parts.repository.claim_job(worker, self._lease_s, self._fits)
                if claim is not None:
                    self._do(Task(self._parts, claim, worker, self._stopping), worker)
                    continue
            except StorageUnavailable:
                pass
            except Exception as failure:
                log_failure("looking for jobs", failure)
            self._parts.bell.wait(heard, _POLL_S)

    def _fits(self, job: StoredJob) -> bool:
        """An import is done where its upload lies; an export goes on where it was begun."""
        written = job.kind == "import" or (job.kind == "export" and job.wish.get("at", {}).get("bytes"))
        return job.kind in self._works and (not written or self._parts.job_files.has(job.job_id))

    def _do(self, task: Task, worker: str) -> None:
        job_id, kind = task.job.job_id, task.job.kind
        problem: dict[str, Any] | None = None
        try:
            self._work(task)
        except Stopped:
            with suppress(JobLost, StorageUnavailable):
                self._parts.repository.release_job(job_id, worker)
            return
        except JobLost:
            if not self._still_wanted(job_id):
                self._parts.job_files.drop(job_id)
            return
        except TimbreError as refusal:
            problem = {"code": refusal.code, "detail": str(refusal)}
        except Exception as failure:
            log_failure(f"job {job_id}", failure)
            problem = {"code": INTERNAL_CODE, "detail": INTERNAL_DETAIL}
        readable = kind == "export" and problem is None
        with suppress(JobLost, Stopped):
            task.patiently(lambda: _end(self._parts, job_id, worker, problem=problem, keep_key=readable))
        if not readable:
            self._parts.job_files.drop(job_id)

    def _work(self, task: Task) -> None:
        """Do a job; while the database or the disk is away, it waits where it is."""
        while True:
            try:
                return self._works[task.job.kind](task)
            except StorageUnavailable:
                task.resumed = True  # the step in which this happened is made again, and may be there
                task.pause(1.0)

    def _still_wanted(self, job_id: str) -> bool:
        try:
            return bool(self._parts.repository.keyed_jobs([job_id]))
        except StorageUnavailable:
            return True

    def _tidy(self) -> None:
        """What time does: old exports and jobs go, and so do files that no job has a key for."""
        if time.monotonic() - self._tidied < _TIDY_S and self._tidied:
            return
        self._tidied = time.monotonic()
        now = datetime.now(UTC)
        self._parts.repository.retire_jobs(exports_before=now - KEPT_EXPORT, ended_before=now - KEPT_JOB)
        self._parts.repository.retire_shadow_scores(before=now - KEPT_JOB)
        files = self._parts.job_files
        found = files.job_ids()
        files.keep_only(self._parts.repository.keyed_jobs(found))


def _end(parts: Parts, job_id: str, worker: str, *, problem: dict[str, Any] | None, keep_key: bool) -> None:
    status: JobStatus = "succeeded" if problem is None else "failed"
    parts.repository.end_job(job_id, worker, status, problem=problem, keep_key=keep_key)


def log_failure(what: str, failure: Exception) -> None:
    """Log where it failed, but not the message: an exception's words may hold what a client sent."""
    frames = traceback.extract_tb(failure.__traceback__)[-6:]
    at = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames]
    line = {"event": "failure", "what": what, "exception": type(failure).__qualname__, "at": at}
    _log.error(json.dumps(line))

"""Jobs and their rows as they go into the repository and come out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

JobKind: TypeAlias = Literal["import", "export", "reembed"]
JobStatus: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: Final[tuple[JobStatus, ...]] = ("succeeded", "failed", "cancelled")
"""What a job stays once it is that."""


class JobLost(Exception):
    """The job is no longer this worker's: it was cancelled, deleted, begun anew, or another took it over."""


class SpeakersChanged(Exception):
    """Speakers that the step speaks of were changed or deleted meanwhile; nothing was stored."""


@dataclass(frozen=True, kw_only=True)
class NewRow:
    """What became of one row. `number` counts from 1 and is the row's for good."""

    number: int
    outcome: str
    speaker_id: str | None = None
    code: str | None = None
    detail: str | None = None
    enrollment_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """One job as it stands."""

    job_id: str
    tenant_id: str
    kind: JobKind
    status: JobStatus
    actor: str
    wish: dict[str, Any]
    """What was asked for; `key` is the wrapped key of the job's file, `at` where the work has come to."""
    done: int
    total: int | None
    counts: dict[str, int]
    problem: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    alive_at: datetime | None

    @property
    def rate(self) -> float | None:
        """Rows in a second, over the time since it began; None before the first."""
        if self.started_at is None or not self.done:
            return None
        until = self.ended_at or self.alive_at
        seconds = (until - self.started_at).total_seconds() if until else 0.0
        return self.done / seconds if seconds > 0 else None


@dataclass(frozen=True)
class Claim:
    """A job that this worker has to do now."""

    job: StoredJob
    resumed: bool
    """Somebody began it before: its last rows may be done without their outcome being stored."""


@dataclass(frozen=True)
class JobPage:
    """One page of jobs, the newest first; `next_cursor` is None on the last."""

    jobs: tuple[StoredJob, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class RowPage:
    """One page of rows in their order; `next_cursor` is None on the last."""

    rows: tuple[NewRow, ...]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a worker has come since it last said so; without anything, a sign of life."""

    rows: tuple[NewRow, ...] = ()
    total: int | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What to keep in the job's `wish`, for whoever resumes it: `at` and `key`."""
    speakers: Mapping[int, int] = field(default_factory=dict)
    """Version by key of speakers whose data the step has copied: it counts only if they are still so."""

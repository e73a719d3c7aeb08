"""Work that outlasts a request: jobs, the outcome of each of their rows, answers to repeat."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.columns import JSON_OBJECT, Base, UtcDateTime


class Job(Base):
    """An import, an export or a re-embedding."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "tenant_id", "created_at"), Index(None, "status"))

    job_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    """`import`, `export` or `reembed`."""
    status: Mapped[str] = mapped_column(String(16))
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    actor: Mapped[str] = mapped_column(String(64))
    wish: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    """What was asked for; no names and no audio."""
    done: Mapped[int] = mapped_column(Integer)
    total: Mapped[int | None] = mapped_column(Integer)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    """Rows by outcome."""
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON_OBJECT)
    """Code and detail of what stopped it."""
    worker: Mapped[str | None] = mapped_column(String(64))
    alive_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Last sign of life of its worker; another takes the job over when it is too long ago."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class JobRow(Base):
    """What became of one row of a job."""

    __tablename__ = "job_rows"
    __table_args__ = (Index(None, "speaker_id"),)

    job_id: Mapped[str] = mapped_column(
        String(64), ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    speaker_id: Mapped[str | None] = mapped_column(String(128))
    outcome: Mapped[str] = mapped_column(String(32))
    """`accepted`, `duplicate`, `refused`, …"""
    code: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(String())
    enrollment_id: Mapped[str | None] = mapped_column(String(64))


class Replay(Base):
    """The answer to a request with an idempotency key, kept for a day to be given again."""

    __tablename__ = "replays"
    __table_args__ = (Index(None, "created_at"), Index(None, "tenant_id", "subject"))

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(128), primary_key=True)
    route: Mapped[str] = mapped_column(String(256))
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """Digest of the request; NULL while the first one is still at work."""
    subject: Mapped[str | None] = mapped_column(String(64))
    """Whom the answer is about; it goes when they go."""
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSON_OBJECT)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The body."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

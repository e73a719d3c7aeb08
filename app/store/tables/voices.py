"""Voices: who is enrolled, with what, and what is derived from it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.columns import JSON_OBJECT, KEY, Base, UtcDateTime


class Speaker(Base):
    """A person, under the name that the tenant gave. The key is never used again."""

    __tablename__ = "speakers"
    __table_args__ = (UniqueConstraint("tenant_id", "speaker_id"), {"sqlite_autoincrement": True})

    key: Mapped[int] = mapped_column(KEY, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    speaker_id: Mapped[str] = mapped_column(String(128))
    display_name: Mapped[str | None] = mapped_column(String())
    # `metadata` belongs to SQLAlchemy on a mapped class, so the attribute gets another name.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JSON_OBJECT)
    consent: Mapped[dict[str, Any] | None] = mapped_column(JSON_OBJECT)
    data_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The speaker's own key, wrapped by the master key. NULL: the rows are from before there were keys."""
    retain_until: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(Integer)


class Enrollment(Base):
    """One accepted recording. A trigger in the migration refuses every UPDATE of these rows."""

    __tablename__ = "enrollments"
    __table_args__ = (UniqueConstraint("speaker_key", "model_id", "audio_sha256"),)

    enrollment_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    speaker_key: Mapped[int] = mapped_column(KEY, ForeignKey("speakers.key", ondelete="CASCADE"))
    model_id: Mapped[str] = mapped_column(String(128))
    embedding: Mapped[bytes] = mapped_column(LargeBinary)
    """Sealed with the speaker's key."""
    speech_s: Mapped[float] = mapped_column(Float(53))
    duration_s: Mapped[float] = mapped_column(Float(53))
    quality: Mapped[float] = mapped_column(Float(53))
    audio: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    audio_sha256: Mapped[str] = mapped_column(String(64), index=True)
    fingerprint: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Of the sound, sealed with the speaker's key; NULL: the row is from before there were fingerprints."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Recording(Base):
    """The upload behind an enrollment, where the tenant asked to keep it; sealed with the speaker's key.

    Under its hash and not under an enrollment, because the takes of several models come from it.
    """

    __tablename__ = "recordings"

    speaker_key: Mapped[int] = mapped_column(
        KEY, ForeignKey("speakers.key", ondelete="CASCADE"), primary_key=True
    )
    audio_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Centroid(Base):
    """Derived from the enrollments in the same transaction. A NULL embedding is a tombstone.

    No foreign key to speakers: the tombstone outlives the speaker, so that every process
    learns of the deletion. It keeps a number and no trace of who it was.
    """

    __tablename__ = "centroids"
    __table_args__ = (Index(None, "tenant_id", "model_id", "version"),)

    speaker_key: Mapped[int] = mapped_column(KEY, primary_key=True, autoincrement=False)
    model_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Sealed with the speaker's key."""
    speech_s: Mapped[float] = mapped_column(Float(53))
    enrollments_count: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(BigInteger)


class Gallery(Base):
    """The clock of one partition: its row lock makes writers commit in the order of their versions."""

    __tablename__ = "galleries"

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class Lockout(Base):
    """Failed verifications of a speaker in a row, and until when no further one is tried."""

    __tablename__ = "lockouts"

    speaker_key: Mapped[int] = mapped_column(
        KEY, ForeignKey("speakers.key", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    failures: Mapped[int] = mapped_column(Integer)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class HeardClip(Base):
    """The fingerprint of a recording that was accepted as this speaker, to be known when it comes again."""

    __tablename__ = "heard_clips"

    key: Mapped[int] = mapped_column(KEY, primary_key=True)
    speaker_key: Mapped[int] = mapped_column(KEY, ForeignKey("speakers.key", ondelete="CASCADE"), index=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """Sealed with the speaker's key."""
    heard_at: Mapped[datetime] = mapped_column(UtcDateTime)

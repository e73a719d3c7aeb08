"""The tables, and the column types that read the same from SQLite and from PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.arrays import Embedding


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on the Python side; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses a naive time rather than guessing its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("only a time with a zone can be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Gives the stored moment its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class EmbeddingBytes(TypeDecorator[Embedding]):
    """An embedding as little-endian float32, four bytes a value."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Embedding | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """float32, shape (dim,) → bytes."""
        return None if value is None else np.asarray(value, dtype="<f4").tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Embedding | None:  # noqa: ARG002
        """Bytes → float32, shape (dim,), read-only."""
        return None if value is None else np.frombuffer(value, dtype="<f4").astype(np.float32, copy=False)

    def compare_values(self, x: Embedding | None, y: Embedding | None) -> bool:
        """Arrays answer == value by value; SQLAlchemy wants one answer."""
        return x is y or (x is not None and y is not None and np.array_equal(x, y))


_Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up INTEGER primary keys only
_Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """Root of the tables; names every constraint, so that migrations can address it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Speaker(Base):
    """A person, under the name that the tenant gave. The key is never used again."""

    __tablename__ = "speakers"
    __table_args__ = (UniqueConstraint("tenant_id", "speaker_id"), {"sqlite_autoincrement": True})

    key: Mapped[int] = mapped_column(_Key, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    speaker_id: Mapped[str] = mapped_column(String(128))
    display_name: Mapped[str | None] = mapped_column(String())
    # `metadata` belongs to SQLAlchemy on a mapped class, so the attribute gets another name.
    details: Mapped[dict[str, Any]] = mapped_column("metadata", _Json)
    consent: Mapped[dict[str, Any] | None] = mapped_column(_Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int] = mapped_column(Integer)


class Enrollment(Base):
    """One accepted recording. A trigger in the migration refuses every UPDATE of these rows."""

    __tablename__ = "enrollments"
    __table_args__ = (UniqueConstraint("speaker_key", "model_id", "audio_sha256"),)

    enrollment_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    speaker_key: Mapped[int] = mapped_column(_Key, ForeignKey("speakers.key", ondelete="CASCADE"))
    model_id: Mapped[str] = mapped_column(String(128))
    embedding: Mapped[Embedding] = mapped_column(EmbeddingBytes)
    speech_s: Mapped[float] = mapped_column(Float(53))
    duration_s: Mapped[float] = mapped_column(Float(53))
    quality: Mapped[float] = mapped_column(Float(53))
    audio: Mapped[dict[str, Any]] = mapped_column(_Json)
    audio_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Centroid(Base):
    """Derived from the enrollments in the same transaction. A NULL embedding is a tombstone.

    No foreign key to speakers: the tombstone outlives the speaker, so that every process
    learns of the deletion. It keeps a number and no trace of who it was.
    """

    __tablename__ = "centroids"
    __table_args__ = (Index(None, "tenant_id", "model_id", "version"),)

    speaker_key: Mapped[int] = mapped_column(_Key, primary_key=True, autoincrement=False)
    model_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    embedding: Mapped[Embedding | None] = mapped_column(EmbeddingBytes)
    speech_s: Mapped[float] = mapped_column(Float(53))
    enrollments_count: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(BigInteger)


class Gallery(Base):
    """The clock of one partition: its row lock makes writers commit in the order of their versions."""

    __tablename__ = "galleries"

    tenant_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    model_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)

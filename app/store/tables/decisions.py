"""What is learnt from decisions: feedback, a tenant's own calibrations, scores of a model on trial.

Decisions themselves are not stored: their `decision_id` carries the facts, sealed.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.columns import JSON_OBJECT, KEY, Base, UtcDateTime


class Feedback(Base):
    """A decision that somebody confirmed or corrected: one comparison with its truth."""

    __tablename__ = "feedback"
    __table_args__ = (Index(None, "tenant_id", "model_id"),)

    decision: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The decision's own number, from inside its decision_id."""
    tenant_id: Mapped[str] = mapped_column(String(128))
    model_id: Mapped[str] = mapped_column(String(128))
    speaker_key: Mapped[int] = mapped_column(KEY, ForeignKey("speakers.key", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    """`verify` or `identify`."""
    outcome: Mapped[str] = mapped_column(String(16))
    """What was decided."""
    same: Mapped[bool] = mapped_column(Boolean)
    """It was this speaker."""
    correct: Mapped[bool] = mapped_column(Boolean)
    """The decision was right."""
    gallery_size: Mapped[int | None] = mapped_column(Integer)
    """Speakers searched; NULL for a verification."""
    similarity: Mapped[float | None] = mapped_column(Float(53))
    """NULL where the true speaker was not among the candidates, and so was not compared."""
    enrolled_speech_s: Mapped[float | None] = mapped_column(Float(53))
    speech_s: Mapped[float] = mapped_column(Float(53))
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)
    given_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AppliedCalibration(Base):
    """A calibration fitted on a tenant's own trials: proposed, applied, or retired."""

    __tablename__ = "calibrations"
    __table_args__ = (Index(None, "tenant_id", "model_id"),)

    calibration_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    model_id: Mapped[str] = mapped_column(String(128))
    status: Mapped[str] = mapped_column(String(16))
    content: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    """What a model's calibration.json holds."""
    figures: Mapped[dict[str, Any]] = mapped_column(JSON_OBJECT)
    """How it compares with the one in force when it was made."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    applied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ShadowScore(Base):
    """A live decision as a model on trial would have made it."""

    __tablename__ = "shadow_scores"
    __table_args__ = (Index(None, "tenant_id", "shadow_model_id"),)

    decision: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    model_id: Mapped[str] = mapped_column(String(128))
    shadow_model_id: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[str] = mapped_column(String(16))
    shadow_outcome: Mapped[str] = mapped_column(String(16))
    score: Mapped[float | None] = mapped_column(Float(53))
    shadow_score: Mapped[float | None] = mapped_column(Float(53))
    same_speaker: Mapped[bool] = mapped_column(Boolean)
    """Both named the same speaker, or both nobody."""
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Challenge(Base):
    """Digits that somebody was asked to say: good once, for this speaker, until it expires."""

    __tablename__ = "challenges"

    challenge_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(128))
    speaker_key: Mapped[int] = mapped_column(KEY, ForeignKey("speakers.key", ondelete="CASCADE"), index=True)
    digits: Mapped[str] = mapped_column(String(32))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    spent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a verification was made with it; kept until it expires, so that a second one is told why."""

"""The JSON of speakers and of what they have enrolled."""

from datetime import datetime
from typing import Any

from app.api.schemas.common import Answer, Audio, Cosine, Seconds
from app.api.schemas.voices import ProgressAnswer


class Holding(Answer):
    """What a speaker has enrolled under one model."""

    model_id: str
    speech_s: Seconds
    enrollments_count: int


class Speaker(ProgressAnswer):
    """An enrolled voice."""

    speaker_id: str
    display_name: str | None
    metadata: dict[str, Any]
    consent: dict[str, Any] | None
    retain_until: datetime | None
    """When the speaker is deleted; null keeps it."""
    models: list[Holding]
    """Every model under which something is enrolled; only the one that serves can verify and identify."""
    reenrollment_required: bool
    """Something is enrolled, but not under the model that serves."""
    version: int
    """Grows with every change."""
    created_at: datetime
    updated_at: datetime


class SpeakerAnswer(Speaker):
    """One speaker."""

    request_id: str


class SpeakersAnswer(Answer):
    """One page of speakers."""

    speakers: list[Speaker]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str


class Enrollment(Answer):
    """One recording that was enrolled. The recording itself is kept only where the tenant asks for it."""

    enrollment_id: str
    model_id: str
    """Model of the embedding."""
    duration_s: Seconds
    speech_s: Seconds
    quality: float
    audio: Audio
    created_at: datetime


class EnrollmentsAnswer(Answer):
    """The takes of a speaker, oldest first."""

    speaker_id: str
    enrollments: list[Enrollment]
    consistency: Cosine | None
    request_id: str

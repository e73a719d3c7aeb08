"""One example of every refusal and of every answer, for the documentation and for its tests."""

from app.api.examples.refusals import REFUSALS, REQUEST_ID, internal_example, refusal_example
from app.api.examples.segments import SEGMENTS
from app.api.examples.voices import (
    ACTIVATION,
    AUDIO,
    DECISION_ID,
    ENROLL,
    ENROLLMENTS,
    IDENTIFY,
    MODEL,
    MODELS,
    OPERATING_POINT,
    PROGRESS,
    QUALITY,
    READY,
    SEARCH_POINT,
    SPEAKER,
    SPEAKERS,
    VERIFY,
)

__all__ = [
    "ACTIVATION",
    "AUDIO",
    "DECISION_ID",
    "ENROLL",
    "ENROLLMENTS",
    "IDENTIFY",
    "MODEL",
    "MODELS",
    "OPERATING_POINT",
    "PROGRESS",
    "QUALITY",
    "READY",
    "REFUSALS",
    "REQUEST_ID",
    "SEARCH_POINT",
    "SEGMENTS",
    "SPEAKER",
    "SPEAKERS",
    "VERIFY",
    "internal_example",
    "refusal_example",
]

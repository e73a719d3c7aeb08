"""The JSON of /v1/segments."""

from typing import Literal

from app.api.schemas.common import Answer, Audio, Cosine, Model, Score, SearchPointAnswer, Seconds


class SegmentAnswer(Answer):
    """A stretch of one voice."""

    start_s: Seconds
    """Its beginning in the recording, in seconds."""
    end_s: Seconds
    """Its end, in seconds."""
    speaker_id: str | None
    """Who of the enrolled speaks; null for a voice without a name."""
    label: str
    """The speaker_id, or `unknown-1`, `ambiguous-1` and so on: the same voice has the same label."""
    decision: Literal["match", "unknown", "ambiguous"]
    """What was decided of the voice, from all that it says in the recording."""
    score: Score | None
    """Log-likelihood ratio of this stretch alone for the speaker named; null for a voice without a name."""


class SegmentSpeaker(Answer):
    """A voice of the recording."""

    label: str
    speaker_id: str | None
    """Null unless the decision is `match`."""
    decision: Literal["match", "unknown", "ambiguous"]
    score: Score | None
    """Log-likelihood ratio for the nearest of the enrolled, from all that the voice says; null when nobody is
    enrolled. Where several voices got one name, of the one that speaks longest."""
    similarity: Cosine | None
    """Cosine to the nearest of the enrolled."""
    margin: Score | None
    """Lead over the second; null with fewer than two."""
    speech_s: Seconds
    """How long the voice speaks, in seconds."""
    segments_count: int
    """How many of the segments are its."""


class SegmentsAnswer(Answer):
    """Who speaks when."""

    segments: list[SegmentAnswer]
    """In the order of time; they never overlap."""
    speakers: list[SegmentSpeaker]
    """In the order of their first words."""
    duration_s: Seconds
    """Length of the recording, in seconds."""
    speech_s: Seconds
    """Speech in it, in seconds."""
    threshold: float
    """Least score of a match."""
    min_margin: float
    """Least lead of a match; with less the voice is `ambiguous`."""
    gallery_size: int
    """Speakers with whom each voice was compared."""
    operating_point: SearchPointAnswer | None
    """Of one voice; null for a threshold of your own: nothing was measured at it."""
    audio: Audio
    model: Model
    request_id: str

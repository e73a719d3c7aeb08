"""Speakers and their recordings → the JSON of the answers."""

from typing import Any

from app.api.schemas.speakers import (
    Enrollment,
    EnrollmentsAnswer,
    Holding,
    Speaker,
    SpeakerAnswer,
    SpeakersAnswer,
)
from app.api.schemas.voices import (
    ProgressAnswer,
)
from app.service.progress import Progress
from app.service.speakers import SpeakerListing, SpeakerView, Takes
from app.service.trace import current


def speaker_answer(view: SpeakerView) -> SpeakerAnswer:
    """The answer about one speaker."""
    return SpeakerAnswer(**speaker_fields(view), request_id=current().request_id)


def speakers_answer(listing: SpeakerListing) -> SpeakersAnswer:
    """The answer with one page of speakers."""
    return SpeakersAnswer(
        speakers=[Speaker(**speaker_fields(view)) for view in listing.speakers],
        next_cursor=listing.next_cursor,
        request_id=current().request_id,
    )


def enrollments_answer(takes: Takes) -> EnrollmentsAnswer:
    """The answer with the takes of a speaker."""
    return EnrollmentsAnswer(
        speaker_id=takes.speaker.speaker.speaker_id,
        enrollments=[Enrollment.model_validate(row) for row in takes.enrollments],
        consistency=takes.consistency,
        request_id=current().request_id,
    )


def speaker_fields(view: SpeakerView) -> dict[str, Any]:
    """The fields of `Speaker`."""
    own = (
        "speaker_id",
        "display_name",
        "metadata",
        "consent",
        "retain_until",
        "version",
        "created_at",
        "updated_at",
    )
    held = {
        "models": [Holding.model_validate(each) for each in view.speaker.holdings],
        "reenrollment_required": view.reenrollment_required,
    }
    return {name: getattr(view.speaker, name) for name in own} | held | progress_fields(view.progress)


def progress_fields(progress: Progress) -> dict[str, Any]:
    """The fields of `ProgressAnswer` but the speaker_id."""
    names = ProgressAnswer.model_fields.keys() - {"speaker_id"}
    return {name: getattr(progress, name) for name in names}

"""The speakers of the gallery: look at them, describe them, delete them and their takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.service.enrolment import check_speaker_id, consistency_of
from app.service.parts import TENANT, Parts
from app.service.progress import Progress
from app.service.trace import stage
from app.store.records import UNSET, StoredEnrollment, StoredSpeaker, Unset


@dataclass(frozen=True)
class SpeakerView:
    """A speaker as the serving model sees it."""

    speaker: StoredSpeaker
    progress: Progress


@dataclass(frozen=True)
class SpeakerListing:
    """One page of speakers; `next_cursor` is None on the last."""

    speakers: tuple[SpeakerView, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Takes:
    """The enrollments of one speaker, oldest first; those of older models included."""

    speaker: SpeakerView
    enrollments: tuple[StoredEnrollment, ...]
    consistency: float | None


def list_speakers(parts: Parts, *, cursor: str | None, limit: int, group: str | None) -> SpeakerListing:
    """List speakers in the order of their creation.

    Raises:
        ValidationFailed: The cursor is none that a page gave.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        page = parts.repository.list_speakers(TENANT, cursor=cursor, limit=limit, group=group)
    return SpeakerListing(tuple(_view(parts, speaker) for speaker in page.speakers), page.next_cursor)


def get_speaker(parts: Parts, speaker_id: str) -> SpeakerView:
    """Look at one speaker.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return _view(parts, parts.repository.get_speaker(TENANT, check_speaker_id(speaker_id)))


def update_speaker(
    parts: Parts,
    speaker_id: str,
    *,
    display_name: str | Unset | None = UNSET,
    metadata_patch: Mapping[str, Any] | None = None,
    expected_version: int | None = None,
) -> SpeakerView:
    """Change what is said about a speaker.

    Args:
        parts: The joined parts.
        speaker_id: Who.
        display_name: The new name, None to remove it, UNSET to leave it.
        metadata_patch: A JSON merge patch over the metadata; null removes a key.
        expected_version: Change nothing unless the speaker still has this version.

    Returns:
        The speaker after it.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        ConcurrentModification: The speaker has another version by now.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        speaker = parts.repository.update_speaker(
            TENANT,
            check_speaker_id(speaker_id),
            display_name=display_name,
            metadata_patch=metadata_patch,
            expected_version=expected_version,
        )
    return _view(parts, speaker)


def delete_speaker(parts: Parts, speaker_id: str) -> None:
    """Delete a speaker with every take; deleting nobody is no error.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        parts.repository.delete_speaker(TENANT, check_speaker_id(speaker_id))
    parts.gallery.follow()


def list_enrollments(parts: Parts, speaker_id: str) -> Takes:
    """List the takes of a speaker.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        view = _view(parts, parts.repository.get_speaker(TENANT, check_speaker_id(speaker_id)))
        rows = parts.repository.list_enrollments(TENANT, speaker_id)
    own = [row for row in rows if row.model_id == parts.model_id]
    return Takes(view, tuple(rows), consistency_of(own))


def delete_enrollment(parts: Parts, speaker_id: str, enrollment_id: str) -> None:
    """Delete one take; the centroid follows.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        EnrollmentNotFound: The speaker has no such take.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        parts.repository.delete_enrollment(TENANT, check_speaker_id(speaker_id), enrollment_id)
    parts.gallery.follow()


def _view(parts: Parts, speaker: StoredSpeaker) -> SpeakerView:
    held = speaker.held(parts.model_id)
    progress = Progress(held.enrollments_count, held.speech_s, parts.settings.required_speech_s)
    return SpeakerView(speaker, progress)

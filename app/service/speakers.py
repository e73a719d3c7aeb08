"""The speakers of the gallery: look at them, describe, reset, merge and delete them and their takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.errors import ConflictingParameters
from app.failpoints import reach
from app.service.call import Call
from app.service.enrolment import check_retention, check_speaker_id
from app.service.progress import Progress
from app.service.takes import consistency_of
from app.service.trace import stage
from app.store.records import UNSET, Receipt, StoredEnrollment, StoredSpeaker, Unset


@dataclass(frozen=True)
class SpeakerView:
    """A speaker as the serving model sees it."""

    speaker: StoredSpeaker
    progress: Progress

    @property
    def reenrollment_required(self) -> bool:
        """Something is enrolled, but nothing under the model that serves."""
        return bool(self.speaker.holdings) and not self.progress.enrollments_count


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


def list_speakers(call: Call, *, cursor: str | None, limit: int, group: str | None) -> SpeakerListing:
    """List speakers in the order of their creation.

    Raises:
        ValidationFailed: The cursor is none that a page gave.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        page = call.repository.list_speakers(call.tenant_id, cursor=cursor, limit=limit, group=group)
    return SpeakerListing(tuple(_view(call, speaker) for speaker in page.speakers), page.next_cursor)


def get_speaker(call: Call, speaker_id: str) -> SpeakerView:
    """Look at one speaker.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return _view(call, call.repository.get_speaker(call.tenant_id, check_speaker_id(speaker_id)))


def create_speaker(
    call: Call,
    speaker_id: str,
    *,
    display_name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    consent: Mapping[str, Any] | None = None,
) -> SpeakerView:
    """Make a speaker who has no recordings yet.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerOptedOut: The person asked not to be enrolled.
        SpeakerExists: The id is taken.
        StorageUnavailable: The database does not answer.
    """
    days = call.policy.retention_days
    with stage("store"):
        speaker = call.repository.create_speaker(
            call.tenant_id,
            check_speaker_id(speaker_id),
            display_name=display_name,
            metadata=metadata or {},
            consent=consent,
            retain_until=None if days is None else datetime.now(UTC) + timedelta(days=days),
            by=call.by,
        )
    return _view(call, speaker)


def recorded_seconds(call: Call, views: Sequence[SpeakerView]) -> dict[str, float]:
    """Length of what these speakers have enrolled under the serving model, in seconds, by speaker_id.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    keys = [view.speaker.key for view in views]
    with stage("store"):
        found = call.repository.recorded_seconds(keys, call.model_id)
    return {view.speaker.speaker_id: found.get(view.speaker.key, 0.0) for view in views}


def update_speaker(
    call: Call,
    speaker_id: str,
    *,
    display_name: str | Unset | None = UNSET,
    metadata_patch: Mapping[str, Any] | None = None,
    consent: Mapping[str, Any] | Unset | None = UNSET,
    retain_until: datetime | Unset | None = UNSET,
    expected_edition: str | None = None,
) -> SpeakerView:
    """Change what is said about a speaker.

    Args:
        call: Who asks, and what serves them.
        speaker_id: Who.
        display_name: The new name, None to remove it, UNSET to leave it.
        metadata_patch: A JSON merge patch over the metadata; null removes a key.
        consent: The new record of consent, None to remove it, UNSET to leave it.
        retain_until: When the speaker is deleted, None for never, UNSET to leave it.
        expected_edition: Change nothing unless the speaker is still of this edition.

    Returns:
        The speaker after it.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        ConcurrentModification: The speaker has another version by now.
        StorageUnavailable: The database does not answer.
    """
    if retain_until is not UNSET:
        check_retention(retain_until)
    with stage("store"):
        speaker = call.repository.update_speaker(
            call.tenant_id,
            check_speaker_id(speaker_id),
            display_name=display_name,
            metadata_patch=metadata_patch,
            consent=consent,
            retain_until=retain_until,
            expected_edition=expected_edition,
            by=call.by,
        )
    return _view(call, speaker)


def delete_speaker(call: Call, speaker_id: str, *, expected_edition: str | None = None) -> Receipt | None:
    """Delete a speaker and everything stored of the voice; deleting nobody is no error.

    Returns:
        The receipt; None when there was nobody.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        ConcurrentModification: The speaker has another version by now.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        receipt = call.repository.delete_speaker(
            call.tenant_id, check_speaker_id(speaker_id), expected_edition=expected_edition, by=call.by
        )
    reach("delete.before_index")
    call.gallery.follow()
    return receipt


def reset_speaker(call: Call, speaker_id: str, *, expected_edition: str | None = None) -> SpeakerView:
    """Delete every recording of a speaker, who stays.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        ConcurrentModification: The speaker has another version by now.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        speaker = call.repository.reset_speaker(
            call.tenant_id, check_speaker_id(speaker_id), expected_edition=expected_edition, by=call.by
        )
    call.gallery.follow()
    return _view(call, speaker)


def merge_speakers(call: Call, speaker_id: str, other_id: str) -> SpeakerView:
    """Give a speaker the recordings of another, who turned out to be the same person and is deleted.

    Raises:
        InvalidSpeakerId: An id is not well formed.
        ConflictingParameters: Both are the same.
        SpeakerNotFound: Nobody has one of the ids.
        StorageUnavailable: The database does not answer.
    """
    if check_speaker_id(speaker_id) == check_speaker_id(other_id):
        raise ConflictingParameters("speaker_id", "other_speaker_id")
    with stage("store"):
        speaker = call.repository.merge_speakers(call.tenant_id, speaker_id, other_id, by=call.by)
    call.gallery.follow()
    return _view(call, speaker)


def opt_out(call: Call, speaker_id: str) -> Receipt | None:
    """Delete a speaker, if there is one, and enroll nobody of this id from now on.

    Returns:
        The receipt of the deletion; None when nothing was stored.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        receipt = call.repository.delete_speaker(
            call.tenant_id, check_speaker_id(speaker_id), reason="opt-out", by=call.by
        )
    reach("opt_out.before_index")
    call.gallery.follow()
    return receipt


def opt_in(call: Call, speaker_id: str) -> bool:
    """Take an objection back; returns whether there was one.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        return call.repository.opt_in(call.tenant_id, check_speaker_id(speaker_id), by=call.by)


def list_enrollments(call: Call, speaker_id: str) -> Takes:
    """List the takes of a speaker.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        view = _view(call, call.repository.get_speaker(call.tenant_id, check_speaker_id(speaker_id)))
        rows = call.repository.list_enrollments(call.tenant_id, speaker_id)
    own = [row for row in rows if row.model_id == call.model_id]
    return Takes(view, tuple(rows), consistency_of(own))


def delete_enrollment(call: Call, speaker_id: str, enrollment_id: str) -> None:
    """Delete one take; the centroid follows.

    Raises:
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        EnrollmentNotFound: The speaker has no such take.
        StorageUnavailable: The database does not answer.
    """
    with stage("store"):
        call.repository.delete_enrollment(
            call.tenant_id, check_speaker_id(speaker_id), enrollment_id, by=call.by
        )
    reach("take_back.before_index")
    call.gallery.follow()


def _view(call: Call, speaker: StoredSpeaker) -> SpeakerView:
    held = speaker.held(call.model_id)
    progress = Progress(held.enrollments_count, held.speech_s, call.settings.required_speech_s)
    return SpeakerView(speaker, progress)

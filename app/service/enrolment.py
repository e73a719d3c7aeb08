"""Enrolment: recordings of one voice become a speaker of the gallery, or more takes of one."""

import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.audio.quality import AudioReport
from app.errors import (
    AudioMissing,
    ConsentRequired,
    InvalidSpeakerId,
    NotFound,
    SpeakerExists,
    SpeakerNotFound,
    SpeakerOptedOut,
    StorageUnavailable,
    TimbreError,
    ValidationFailed,
)
from app.failpoints import reach
from app.service.call import Call
from app.service.progress import Progress
from app.service.takes import Take, agreement, consistency_of, judge
from app.service.trace import stage
from app.store.records import NewEnrollment, OnExisting, StoredEnrollment, StoredSpeaker

_SPEAKER_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class EnrolmentRequest:
    """What a caller wants enrolled."""

    recordings: Sequence[bytes]
    speaker_id: str | None = None
    display_name: str | None = None
    metadata: Mapping[str, Any] | None = None
    consent: Mapping[str, Any] | None = None
    retain_until: datetime | None = None
    on_existing: OnExisting = "append"
    allow_partial: bool = False
    dry_run: bool = False
    new_id: str | None = None
    """The id to give to a speaker for whom none was sent; random when None."""
    carried_out: bool = False
    """An earlier try of this request stored its recordings, but its answer is not known."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one recording of the request."""

    enrollment_id: str | None
    accepted: bool
    audio: AudioReport | Mapping[str, Any] | None
    duplicate: bool = False
    code: str | None = None
    detail: str | None = None
    doubts: tuple[TimbreError, ...] = ()
    """What speaks against it and was let pass by the policy."""


@dataclass(frozen=True)
class Enrolment:
    """The speaker after the enrolment, and a verdict for each recording in the order of the request."""

    speaker_id: str | None
    progress: Progress
    consistency: float | None
    """Mean cosine of the takes to their centroid, in [-1, 1]; None with one take."""
    verdicts: tuple[Verdict, ...]
    stored: bool
    """At least one recording was new and was stored."""


def check_speaker_id(speaker_id: str) -> str:
    """Return the id when it is well formed.

    Raises:
        InvalidSpeakerId: It is not 1 to 128 characters of A-Z a-z 0-9 . _ ~ - or is all dots.
    """
    # "." and ".." would be walked away by whatever normalises the path of a URL.
    if not _SPEAKER_ID.fullmatch(speaker_id) or speaker_id in {".", ".."}:
        raise InvalidSpeakerId
    return speaker_id


def check_retention(moment: datetime | None) -> None:
    """Refuse a time to be kept that is over already.

    Raises:
        ValidationFailed: It is.
    """
    if moment is not None and moment <= datetime.now(UTC):
        raise ValidationFailed("retain_until", "it must lie in the future")


def enroll(call: Call, request: EnrolmentRequest) -> Enrolment:
    """Enroll recordings: all are decoded, embedded and doubted before anything is stored.

    Args:
        call: Who asks, and what serves them.
        request: The recordings and what is said about them.

    Returns:
        The speaker and the verdicts.

    Raises:
        AudioMissing: There is no recording.
        InvalidSpeakerId: The id is not well formed.
        SpeakerOptedOut: The person asked not to be enrolled.
        SpeakerExists: The speaker exists and `on_existing` is "fail".
        ConsentRequired: The policy asks for a record of consent and there is none.
        AudioRefused: A recording cannot be used, and `allow_partial` is off or none can be used;
            `reasons` holds one error for each such recording.
        EnrollmentInconsistent, VoiceAlreadyEnrolled: The same, where the policy refuses such a recording.
        Unavailable: The model or the database cannot answer now; nothing was stored.
    """
    if not request.recordings:
        raise AudioMissing("audio")
    reach("enroll.read")
    check_retention(request.retain_until)
    request = _resumed(request)
    stands = _standing(call, request)
    _refuse_without_consent(call, request, stands)
    before = (
        [] if request.on_existing == "replace" or stands is None else _stored_takes(call, stands.speaker_id)
    )
    takes = judge(call, request.recordings, request.speaker_id, before)
    reach("enroll.embedded")
    _refuse_bad(takes, request.allow_partial)
    if request.dry_run:
        return _rehearse(call, request, takes, before)
    return _store(call, request, takes)


def _resumed(request: EnrolmentRequest) -> EnrolmentRequest:
    """A retry whose first try died after it had stored its takes finds them as duplicates, and as its own."""
    if not request.carried_out:
        return request
    return replace(request, speaker_id=request.speaker_id or request.new_id, on_existing="append")


def _standing(call: Call, request: EnrolmentRequest) -> StoredSpeaker | None:
    """The speaker as it stands; this spares the work where the answer is known, and the store asks again."""
    if request.speaker_id is None:
        return None
    check_speaker_id(request.speaker_id)
    with stage("store"):
        if call.repository.is_opted_out(call.tenant_id, request.speaker_id):
            raise SpeakerOptedOut(request.speaker_id)
        try:
            stands = call.repository.get_speaker(call.tenant_id, request.speaker_id)
        except SpeakerNotFound:
            return None
    if request.on_existing == "fail":
        raise SpeakerExists(request.speaker_id)
    return stands


def _refuse_without_consent(call: Call, request: EnrolmentRequest, stands: StoredSpeaker | None) -> None:
    known = request.consent or (stands is not None and stands.consent)
    if call.policy.consent == "required" and not known:
        raise ConsentRequired


def _refuse_bad(takes: Sequence[Take], allow_partial: bool) -> None:
    bad = tuple(take.refusal for take in takes if take.refusal is not None)
    if bad and (not allow_partial or len(bad) == len(takes)):
        bad[0].reasons = bad
        raise bad[0]


def _store(call: Call, request: EnrolmentRequest, takes: Sequence[Take]) -> Enrolment:
    speaker_id = request.speaker_id or request.new_id or uuid.uuid4().hex
    days = call.policy.retention_days
    with stage("store"):
        enrolled = call.repository.add_enrollments(
            call.tenant_id,
            speaker_id,
            call.model_id,
            [_row(call, take) for take in takes if take.heard is not None],
            on_existing=request.on_existing,
            display_name=request.display_name,
            metadata=request.metadata,
            consent=request.consent,
            retain_until=request.retain_until,
            retain_new_until=None if days is None else datetime.now(UTC) + timedelta(days=days),
            by=call.by,
        )
        reach("enroll.before_index")
        consistency = _consistency(call, speaker_id)
    call.gallery.follow()
    reach("enroll.after_index")
    rows = iter(enrolled.enrollments)
    verdicts = tuple(_verdict(take, next(rows) if take.heard is not None else None) for take in takes)
    progress = Progress(
        enrolled.centroid.enrollments_count, enrolled.centroid.speech_s, call.settings.required_speech_s
    )
    stored = any(not row.duplicate for row in enrolled.enrollments)
    return Enrolment(speaker_id, progress, consistency, verdicts, stored)


def _rehearse(
    call: Call, request: EnrolmentRequest, takes: Sequence[Take], before: Sequence[StoredEnrollment]
) -> Enrolment:
    """What `_store` would answer, with nothing stored and no ids given out."""
    fresh = [take.heard for take in takes if take.heard is not None and not take.duplicate]
    voices = [(row.embedding, row.speech_s) for row in before]
    voices += [(heard.embedding, heard.utterance.report.speech_s) for heard in fresh]
    progress = Progress(len(voices), sum(speech_s for _, speech_s in voices), call.settings.required_speech_s)
    verdicts = tuple(_verdict(take, None) for take in takes)
    return Enrolment(request.speaker_id, progress, agreement(voices), verdicts, stored=False)


def _row(call: Call, take: Take) -> NewEnrollment:
    assert take.heard is not None
    report = take.heard.utterance.report
    return NewEnrollment(
        embedding=take.heard.embedding,
        speech_s=report.speech_s,
        duration_s=report.duration_s,
        quality=report.quality,
        audio=report.as_dict(),
        audio_sha256=take.heard.utterance.sha256,
        recording=take.recording if call.policy.keep_audio else None,
        fingerprint=take.heard.utterance.fingerprint,
    )


def _verdict(take: Take, row: StoredEnrollment | None) -> Verdict:
    if take.refusal is not None:
        refusal = take.refusal
        return Verdict(
            enrollment_id=None,
            accepted=False,
            audio=refusal.audio,
            code=refusal.code,
            detail=str(refusal),
            doubts=take.warnings,
        )
    assert take.heard is not None
    return Verdict(
        enrollment_id=row.enrollment_id if row else None,
        accepted=True,
        audio=take.heard.utterance.report,
        duplicate=row.duplicate if row else take.duplicate,
        doubts=take.warnings,
    )


def _consistency(call: Call, speaker_id: str) -> float | None:
    with suppress(StorageUnavailable):  # what was stored stands, and its answer can do without
        return consistency_of(_stored_takes(call, speaker_id))
    return None


def _stored_takes(call: Call, speaker_id: str) -> list[StoredEnrollment]:
    try:
        return call.repository.list_enrollments(call.tenant_id, speaker_id, call.model_id)
    except NotFound:  # deleted by somebody else in this moment
        return []

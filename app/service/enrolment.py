"""Enrolment: recordings of one voice become a speaker of the gallery, or more takes of one."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.arrays import Embedding
from app.audio.quality import AudioReport
from app.errors import AudioMissing, AudioRefused, InvalidSpeakerId, NotFound, SpeakerExists, SpeakerNotFound
from app.scoring import centroid, cosine
from app.service.listening import Heard, listen, placed
from app.service.parts import TENANT, Parts
from app.service.progress import Progress
from app.service.trace import stage
from app.store.records import NewEnrollment, OnExisting, StoredEnrollment

_SPEAKER_ID: Final = re.compile(r"[A-Za-z0-9._~-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class EnrolmentRequest:
    """What a caller wants enrolled."""

    recordings: Sequence[bytes]
    speaker_id: str | None = None
    display_name: str | None = None
    metadata: Mapping[str, Any] | None = None
    consent: Mapping[str, Any] | None = None
    on_existing: OnExisting = "append"
    allow_partial: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one recording of the request."""

    enrollment_id: str | None
    accepted: bool
    audio: AudioReport | Mapping[str, Any] | None
    duplicate: bool = False
    code: str | None = None
    detail: str | None = None


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


Take = Heard | AudioRefused


def check_speaker_id(speaker_id: str) -> str:
    """Return the id when it is well formed.

    Raises:
        InvalidSpeakerId: It is not 1 to 128 characters of A-Z a-z 0-9 . _ ~ - or is all dots.
    """
    # "." and ".." would be walked away by whatever normalises the path of a URL.
    if not _SPEAKER_ID.fullmatch(speaker_id) or speaker_id in {".", ".."}:
        raise InvalidSpeakerId
    return speaker_id


def enroll(parts: Parts, request: EnrolmentRequest) -> Enrolment:
    """Enroll recordings: all are decoded and embedded before anything is stored.

    Args:
        parts: The joined parts.
        request: The recordings and what is said about them.

    Returns:
        The speaker and the verdicts.

    Raises:
        AudioMissing: There is no recording.
        InvalidSpeakerId: The id is not well formed.
        SpeakerExists: The speaker exists and `on_existing` is "fail".
        AudioRefused: A recording cannot be used, and `allow_partial` is off or none can be used;
            `reasons` holds one error for each such recording.
        Unavailable: The model or the database cannot answer now; nothing was stored.
    """
    if not request.recordings:
        raise AudioMissing("audio")
    if request.speaker_id is not None:
        check_speaker_id(request.speaker_id)
    _refuse_existing(parts, request)
    takes = [_take(parts, data, number) for number, data in enumerate(request.recordings)]
    _refuse_bad(takes, request.allow_partial)
    return _rehearse(parts, request, takes) if request.dry_run else _store(parts, request, takes)


def _refuse_existing(parts: Parts, request: EnrolmentRequest) -> None:
    """Spare the work when the answer is known; the transaction of the store asks again."""
    if request.speaker_id is None or request.on_existing != "fail":
        return
    try:
        with stage("store"):
            parts.repository.get_speaker(TENANT, request.speaker_id)
    except SpeakerNotFound:
        return
    raise SpeakerExists(request.speaker_id)


def _take(parts: Parts, data: bytes, number: int) -> Take:
    try:
        with placed(file=number):
            return listen(parts, data)
    except AudioRefused as refusal:
        return refusal


def _refuse_bad(takes: Sequence[Take], allow_partial: bool) -> None:
    bad = tuple(take for take in takes if isinstance(take, AudioRefused))
    if bad and (not allow_partial or len(bad) == len(takes)):
        bad[0].reasons = bad
        raise bad[0]


def _store(parts: Parts, request: EnrolmentRequest, takes: Sequence[Take]) -> Enrolment:
    speaker_id = request.speaker_id or uuid.uuid4().hex
    with stage("store"):
        enrolled = parts.repository.add_enrollments(
            TENANT,
            speaker_id,
            parts.model_id,
            [_row(take) for take in takes if isinstance(take, Heard)],
            on_existing=request.on_existing,
            display_name=request.display_name,
            metadata=request.metadata,
            consent=request.consent,
        )
        consistency = consistency_of(_stored_takes(parts, speaker_id))
    parts.gallery.follow()
    rows = iter(enrolled.enrollments)
    verdicts = tuple(_verdict(take, next(rows) if isinstance(take, Heard) else None) for take in takes)
    progress = Progress(
        enrolled.centroid.enrollments_count, enrolled.centroid.speech_s, parts.settings.required_speech_s
    )
    stored = any(not row.duplicate for row in enrolled.enrollments)
    return Enrolment(speaker_id, progress, consistency, verdicts, stored)


def _rehearse(parts: Parts, request: EnrolmentRequest, takes: Sequence[Take]) -> Enrolment:
    """What `_store` would answer, with nothing stored and no ids given out."""
    stood: list[StoredEnrollment] = []
    if request.speaker_id is not None and request.on_existing == "append":
        with stage("store"):
            stood = _stored_takes(parts, request.speaker_id)
    known = {row.audio_sha256 for row in stood}
    voices = [(row.embedding, row.speech_s) for row in stood]
    verdicts = []
    for take in takes:
        duplicate = isinstance(take, Heard) and take.utterance.sha256 in known
        if isinstance(take, Heard) and not duplicate:
            known.add(take.utterance.sha256)
            voices.append((take.embedding, take.utterance.report.speech_s))
        verdicts.append(_verdict(take, None, duplicate=duplicate))
    progress = Progress(
        len(voices), sum(speech_s for _, speech_s in voices), parts.settings.required_speech_s
    )
    return Enrolment(request.speaker_id, progress, _consistency(voices), tuple(verdicts), stored=False)


def _row(heard: Heard) -> NewEnrollment:
    report = heard.utterance.report
    return NewEnrollment(
        embedding=heard.embedding,
        speech_s=report.speech_s,
        duration_s=report.duration_s,
        quality=report.quality,
        audio=report.as_dict(),
        audio_sha256=heard.utterance.sha256,
    )


def _verdict(take: Take, row: StoredEnrollment | None, *, duplicate: bool = False) -> Verdict:
    if isinstance(take, AudioRefused):
        return Verdict(enrollment_id=None, accepted=False, audio=take.audio, code=take.code, detail=str(take))
    return Verdict(
        enrollment_id=row.enrollment_id if row else None,
        accepted=True,
        audio=take.utterance.report,
        duplicate=row.duplicate if row else duplicate,
    )


def _stored_takes(parts: Parts, speaker_id: str) -> list[StoredEnrollment]:
    try:
        return parts.repository.list_enrollments(TENANT, speaker_id, parts.model_id)
    except NotFound:  # deleted by somebody else in this moment, or not there yet in a dry run
        return []


def consistency_of(takes: Sequence[StoredEnrollment]) -> float | None:
    """How well the takes of a speaker agree: mean cosine to their centroid; None with fewer than two."""
    return _consistency([(take.embedding, take.speech_s) for take in takes])


def _consistency(voices: Sequence[tuple[Embedding, float]]) -> float | None:
    if len(voices) < 2:
        return None
    embeddings = np.stack([embedding for embedding, _ in voices])
    centre = centroid(embeddings, [speech_s for _, speech_s in voices])
    return float(np.mean([cosine(embedding, centre) for embedding in embeddings]))

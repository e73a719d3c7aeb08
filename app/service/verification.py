"""Verification: is this recording the voice of that speaker, or of that other recording?"""

from dataclasses import dataclass

from app.audio.quality import AudioReport
from app.errors import AudioMissing, ConflictingParameters, SpeakerNotEnrolled, ValidationFailed
from app.scoring import VerifyDecision, cosine, distance, verify_decision
from app.service.enrolment import check_speaker_id
from app.service.listening import listen, placed
from app.service.parts import TENANT, Parts
from app.service.thresholds import Threshold, choose
from app.service.trace import stage
from app.store.records import StoredCentroid


@dataclass(frozen=True, kw_only=True)
class VerificationRequest:
    """One recording and whom to compare it with: a speaker or a second recording, never both."""

    recording: bytes | None
    speaker_id: str | None = None
    reference: bytes | None = None
    threshold: float | None = None
    target_fmr: float | None = None


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The decision and everything that it rests on."""

    decision: VerifyDecision
    speaker_id: str | None
    score: float
    """Log-likelihood ratio of one voice to two, natural log; it decides."""
    similarity: float
    """Cosine of the two embeddings, in [-1, 1]."""
    distance: float
    """Euclidean distance of the two embeddings, in [0, 2]."""
    threshold: Threshold
    audio: AudioReport
    audio_reference: AudioReport | None


def verify(parts: Parts, request: VerificationRequest) -> Verification:
    """Compare one recording with a speaker's centroid or with a second recording.

    Args:
        parts: The joined parts.
        request: The recording and what to compare it with.

    Returns:
        The decision with its score and threshold.

    Raises:
        AudioMissing: There is no recording.
        ConflictingParameters: Two things that exclude each other were given.
        ValidationFailed: There is nothing to compare with, or the rate has no support.
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        SpeakerNotEnrolled: The speaker has too little speech so far.
        AudioRefused: A recording cannot be used; `where` names its part.
        Unavailable: The model or the database cannot answer now.
    """
    recording = _checked(request)
    threshold = choose(
        parts.calibration,
        threshold=request.threshold,
        target_fmr=request.target_fmr,
        default_fmr=parts.settings.target_fmr,
    )
    if request.speaker_id is not None:
        _enrolled(parts, request.speaker_id)  # spares the work when the answer is known
    with placed(field="audio"):
        heard = listen(parts, recording)
    report = None
    if request.reference is not None:
        with placed(field="audio_reference"):
            other = listen(parts, request.reference)
        report = other.utterance.report
        reference, enrolled_speech_s = other.embedding, report.speech_s
    else:
        assert request.speaker_id is not None
        centroid = _enrolled(parts, request.speaker_id)
        reference, enrolled_speech_s = centroid.embedding, centroid.speech_s
    similarity = cosine(heard.embedding, reference)
    score = float(parts.calibration.score.llr(similarity, enrolled_speech_s, heard.utterance.report.speech_s))
    return Verification(
        decision=verify_decision(score, threshold.value),
        speaker_id=request.speaker_id,
        score=score,
        similarity=similarity,
        distance=distance(heard.embedding, reference),
        threshold=threshold,
        audio=heard.utterance.report,
        audio_reference=report,
    )


def _checked(request: VerificationRequest) -> bytes:
    """The recording, once the request has exactly one thing to compare it with."""
    if request.speaker_id is not None and request.reference is not None:
        raise ConflictingParameters("speaker_id", "audio_reference")
    if request.speaker_id is None and request.reference is None:
        raise ValidationFailed("speaker_id", "give it, or a second recording as audio_reference")
    if request.speaker_id is not None:
        check_speaker_id(request.speaker_id)
    if request.recording is None:
        raise AudioMissing("audio")
    return request.recording


def _enrolled(parts: Parts, speaker_id: str) -> StoredCentroid:
    """The speaker's centroid as SQL has it now."""
    required_s = parts.settings.required_speech_s
    with stage("store"):
        centroid = parts.repository.centroid_of(TENANT, parts.model_id, speaker_id)
        if centroid is None:
            # Raises SpeakerNotFound, unless the speaker only lacks takes under this model.
            parts.repository.get_speaker(TENANT, speaker_id)
    if centroid is None:
        raise SpeakerNotEnrolled(speaker_id, 0.0, required_s)
    if centroid.speech_s < required_s:
        raise SpeakerNotEnrolled(speaker_id, centroid.speech_s, required_s)
    return centroid

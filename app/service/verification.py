"""Verification: is this recording the voice of that speaker, or of that other recording?"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from app.arrays import Embedding
from app.audio.quality import AudioReport
from app.errors import (
    AudioMissing,
    ConcurrentModification,
    ConflictingParameters,
    ReenrollmentRequired,
    SpeakerNotEnrolled,
    SpeakerNotFound,
    SpeakerOptedOut,
    ValidationFailed,
)
from app.scoring import Candidate, VerifyDecision, cosine, distance, verify_decision
from app.service.call import Call
from app.service.challenges import check_challenge, spend_challenge
from app.service.copies import note_replay
from app.service.decided import Decided, decided
from app.service.enrolment import check_speaker_id
from app.service.explanation import Remark, explain_verification
from app.service.listening import Heard, listen, placed
from app.service.lockout import count_decision, refuse_locked
from app.service.presentation import Presentation, presented
from app.service.shadow import Outcome, shadow
from app.service.thresholds import Threshold, choose
from app.service.trace import stage
from app.store.records import StoredCentroid

_READINGS: Final = 5
"""Readings of a speaker who is enrolled and deleted again and again, before it is given up."""


@dataclass(frozen=True, kw_only=True)
class VerificationRequest:
    """One recording and whom to compare it with: a speaker or a second recording, never both."""

    recording: bytes | None
    speaker_id: str | None = None
    reference: bytes | None = None
    threshold: float | None = None
    target_fmr: float | None = None
    challenge_id: str | None = None
    """The digits that the speaker was asked to say; only with a speaker."""


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
    presentation: Presentation
    """How the recording came; it may be rejected for that alone."""
    explanation: tuple[Remark, ...]
    decided: Decided
    """What the decision_id carries."""
    against: StoredCentroid | None
    """The enrolled speaker as it was compared; None with a second recording."""


def verify(call: Call, request: VerificationRequest) -> Verification:
    """Compare one recording with a speaker's centroid or with a second recording.

    Args:
        call: Who asks, and what serves them.
        request: The recording and what to compare it with.

    Returns:
        The decision with its score and threshold.

    Raises:
        AudioMissing: There is no recording.
        ConflictingParameters: Two things that exclude each other were given.
        ValidationFailed: There is nothing to compare with.
        UnsupportedRate: The trials are too few to promise the rate.
        InvalidSpeakerId: The id is not well formed.
        SpeakerNotFound: Nobody has the id.
        SpeakerOptedOut: Who has it objected to being compared.
        SpeakerNotEnrolled: The speaker has too little speech so far.
        ReenrollmentRequired: The speaker is enrolled, but under other models only.
        VerificationLocked: Too many verifications of the speaker failed.
        ConcurrentModification: The speaker was enrolled and deleted at every reading.
        ChallengeRequired: The policy wants one, and the request has none.
        ChallengeNotFound, ChallengeSpent, ChallengeExpired: It is none for this verification.
        AudioRefused: A recording cannot be used; `where` names its part.
        Unavailable: The model or the database cannot answer now.
    """
    recording = _checked(request)
    threshold = admit(call, request)
    with placed(field="audio"):
        heard = listen(call, recording)
    found = decide(call, request, threshold, heard)
    settle(call, found)
    if request.speaker_id is not None:
        shadow(call, heard, found.decided, _outcome(found), partial(_again, request, found.presentation))
    return found


def _again(request: VerificationRequest, presentation: Presentation, other: Call, heard: Heard) -> Outcome:
    """The same decision by a model on trial; how the recording came is known."""
    return _outcome(decide(other, request, _threshold(other, request), heard, presentation))


def _outcome(found: Verification) -> Outcome:
    return Outcome(found.decision, found.speaker_id if found.decision == "accept" else None, found.score)


def admit(call: Call, request: VerificationRequest) -> Threshold:
    """Check all that can be known before the recording is, which spares the work when the answer is clear.

    Returns:
        The threshold of the decision.

    Raises:
        ConflictingParameters, UnsupportedRate, InvalidSpeakerId, SpeakerNotFound, SpeakerOptedOut,
        SpeakerNotEnrolled, ReenrollmentRequired, VerificationLocked, ChallengeRequired, ChallengeNotFound,
        ChallengeSpent, ChallengeExpired, Unavailable: As `verify`.
    """
    threshold = _threshold(call, request)
    if request.speaker_id is not None:
        known = _enrolled(call, check_speaker_id(request.speaker_id))
        refuse_locked(call, known)
        check_challenge(call, known.speaker_key, request.challenge_id)
    return threshold


def _threshold(call: Call, request: VerificationRequest) -> Threshold:
    return choose(
        call.calibration,
        threshold=request.threshold,
        target_fmr=request.target_fmr,
        default_fmr=call.policy.target_fmr,
    )


def decide(
    call: Call,
    request: VerificationRequest,
    threshold: Threshold,
    heard: Heard,
    presentation: Presentation | None = None,
) -> Verification:
    """Decide about a recording that was heard; nothing is counted or written.

    Args:
        call: Who asks, and what serves them.
        request: What to compare it with.
        threshold: Least score that is accepted.
        heard: The recording.
        presentation: How it came, where that was asked before.

    Raises:
        SpeakerNotFound, SpeakerOptedOut, SpeakerNotEnrolled, ReenrollmentRequired: The speaker changed
            while the recording was heard.
        AudioRefused: The second recording cannot be used.
        Unavailable: The model or the database cannot answer now.
    """
    against = _other_side(call, request)
    speech_s = heard.utterance.report.speech_s
    similarity = cosine(heard.embedding, against.embedding)
    score = float(call.calibration.score.llr(similarity, against.speech_s, speech_s))
    if presentation is None:
        claimed = () if against.centroid is None else (against.centroid.speaker_key,)
        presentation = presented(call, heard, claimed, request.challenge_id)
    decision = "reject" if presentation.refused else verify_decision(score, threshold.value)
    compared = against.compared(score, similarity)
    return Verification(
        decision=decision,
        speaker_id=request.speaker_id,
        score=score,
        similarity=similarity,
        distance=distance(heard.embedding, against.embedding),
        threshold=threshold,
        audio=heard.utterance.report,
        audio_reference=against.report,
        presentation=presentation,
        explanation=(
            *presentation.remarks,
            *explain_verification(
                score, threshold, heard.utterance.report, against.speech_s, call.calibration
            ),
        ),
        decided=decided(call, "verify", decision, compared, speech_s=speech_s, threshold=threshold.value),
        against=against.centroid,
    )


def settle(call: Call, found: Verification) -> None:
    """Let a decision count: against the speaker's failures in a row, and in the audit log.

    Raises:
        ChallengeNotFound, ChallengeSpent, ChallengeExpired: Another verification has the challenge, or it
            is too late.
        ConcurrentModification: Others were first every time.
        StorageUnavailable: The database does not answer.
    """
    if found.against is not None:
        if found.presentation.challenge is not None:
            # First of all: whoever does not get it is told nothing, and nothing is counted.
            spend_challenge(call, found.against.speaker_key, found.presentation.challenge.challenge_id)
        count_decision(call, found.against, found.decision)
        accepted = found.decision == "accept"
        note_replay(call, found.against, found.presentation.replay, accepted=accepted)
    if call.policy.audit_decisions:
        with stage("store"):
            call.repository.append_audit(
                call.tenant_id, call.by, "voice.verified", found.speaker_id, decision=found.decision
            )


@dataclass(frozen=True)
class _OtherSide:
    """What the recording is compared with."""

    embedding: Embedding
    speech_s: float
    report: AudioReport | None = None
    centroid: StoredCentroid | None = None

    def compared(self, score: float, similarity: float) -> tuple[Candidate, ...]:
        """The enrolled speaker with the score that was found; nobody where it was a second recording."""
        if self.centroid is None:
            return ()
        who = self.centroid
        return (Candidate(who.speaker_id, score, similarity, who.speaker_key, who.speech_s),)


def _other_side(call: Call, request: VerificationRequest) -> _OtherSide:
    """The second recording, or the speaker's centroid as SQL has it after the first was heard."""
    if request.reference is not None:
        with placed(field="audio_reference"):
            other = listen(call, request.reference)
        report = other.utterance.report
        return _OtherSide(other.embedding, report.speech_s, report=report)
    assert request.speaker_id is not None
    centroid = _enrolled(call, request.speaker_id)
    return _OtherSide(centroid.embedding, centroid.speech_s, centroid=centroid)


def _checked(request: VerificationRequest) -> bytes:
    """The recording, once the request has exactly one thing to compare it with."""
    if request.speaker_id is not None and request.reference is not None:
        raise ConflictingParameters("speaker_id", "audio_reference")
    if request.challenge_id is not None and request.reference is not None:
        raise ConflictingParameters("challenge_id", "audio_reference")
    if request.speaker_id is None and request.reference is None:
        raise ValidationFailed("speaker_id", "give it, or a second recording as audio_reference")
    if request.recording is None:
        raise AudioMissing("audio")
    return request.recording


def _enrolled(call: Call, speaker_id: str) -> StoredCentroid:
    """The speaker's centroid as SQL has it now."""
    required_s = call.settings.required_speech_s
    with stage("store"):
        for _ in range(_READINGS):
            centroid = call.repository.centroid_of(call.tenant_id, call.model_id, speaker_id)
            if centroid is not None:
                break
            _refuse_unknown(call, speaker_id)  # goes on where it was enrolled between the two readings
        else:
            raise ConcurrentModification(speaker_id)
    if centroid.speech_s < required_s:
        raise SpeakerNotEnrolled(speaker_id, centroid.speech_s, required_s)
    return centroid


def _refuse_unknown(call: Call, speaker_id: str) -> None:
    """Tell who has nothing under this model from who is not there; return when neither is so any more."""
    try:
        speaker = call.repository.get_speaker(call.tenant_id, speaker_id)
    except SpeakerNotFound:
        if call.repository.is_opted_out(call.tenant_id, speaker_id):
            raise SpeakerOptedOut(speaker_id) from None
        raise
    if not speaker.holdings:
        raise SpeakerNotEnrolled(speaker_id, 0.0, call.settings.required_speech_s)
    if not speaker.held(call.model_id).enrollments_count:
        raise ReenrollmentRequired(speaker_id, call.model_id)

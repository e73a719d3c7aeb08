"""Doubts: what speaks against enrolling a recording that can be used.

A gallery is polluted by one recording of the wrong person, and nobody sees it afterwards: so it is asked
before. Which doubts refuse a recording, and which are only told, is the tenant's policy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import EnrollmentInconsistent, TimbreError, VoiceAlreadyEnrolled
from app.scoring import centroid, cosine
from app.service.call import Call
from app.service.listening import Heard
from app.service.trace import stage
from app.service.voices_apart import voices_in
from app.settings import Rule
from app.store.records import StoredEnrollment


@dataclass(frozen=True)
class Doubted:
    """One usable recording with what speaks against it: at most one refusal, and any number of warnings."""

    refusal: TimbreError | None
    warnings: tuple[TimbreError, ...]


def doubts_about(
    call: Call, heard: Heard, speaker_id: str | None, before: Sequence[StoredEnrollment | Heard]
) -> Doubted:
    """Ask everything that the policy wants asked about one recording.

    Args:
        call: Who asks, by which policy.
        heard: The recording.
        speaker_id: Whom it is to be enrolled as; None for somebody new.
        before: What was accepted of the same speaker before it, stored or in the same request.

    Raises:
        Unavailable: The model or the database cannot answer now.
    """
    policy = call.policy
    asked: list[tuple[Rule, Callable[[], TimbreError | None]]] = [
        (policy.several_voices, lambda: voices_in(call, heard.utterance).refusal),
        (policy.inconsistent, lambda: _inconsistent(call, heard, speaker_id or "", before)),
        (policy.same_voice, lambda: _enrolled_elsewhere(call, heard, speaker_id)),
    ]
    warnings: list[TimbreError] = []
    for rule, ask in asked:
        doubt = None if rule == "allow" else ask()
        if doubt is not None and rule == "refuse":
            doubt.audio = heard.utterance.report.as_dict()
            return Doubted(doubt, tuple(warnings))
        if doubt is not None:
            warnings.append(doubt)
    return Doubted(None, tuple(warnings))


def _inconsistent(
    call: Call, heard: Heard, speaker_id: str, before: Sequence[StoredEnrollment | Heard]
) -> EnrollmentInconsistent | None:
    """The recording against the centroid of what came before it."""
    point = call.calibration.at_fnmr(call.settings.consistency_fnmr)
    if not before or point is None:
        return None
    seconds = [_speech_s(take) for take in before]
    similarity = cosine(heard.embedding, centroid(np.stack([take.embedding for take in before]), seconds))
    score = float(call.calibration.score.llr(similarity, sum(seconds), heard.utterance.report.speech_s))
    if score >= point.threshold:
        return None
    return EnrollmentInconsistent(speaker_id, similarity, score, point.threshold)


def _enrolled_elsewhere(call: Call, heard: Heard, speaker_id: str | None) -> VoiceAlreadyEnrolled | None:
    """The recording against everybody else: the same upload, or a voice that can hardly be another's."""
    point = call.calibration.at_fmr(call.settings.same_voice_fmr)
    speech_s = heard.utterance.report.speech_s
    with stage("store"):
        owners = call.repository.owners_of_clip(call.tenant_id, heard.utterance.sha256)
    for owner in owners:
        if owner != speaker_id:
            score = float(call.calibration.score.llr(1.0, speech_s, speech_s))
            return VoiceAlreadyEnrolled(owner, 1.0, score, point.threshold)
    nearest = call.gallery.nearest(heard.embedding, speech_s, 2, call.calibration.score)
    for candidate in nearest.candidates:
        if candidate.speaker_id != speaker_id and candidate.score >= point.threshold:
            return VoiceAlreadyEnrolled(
                candidate.speaker_id, candidate.similarity, candidate.score, point.threshold
            )
    return None


def _speech_s(take: StoredEnrollment | Heard) -> float:
    return take.speech_s if isinstance(take, StoredEnrollment) else take.utterance.report.speech_s

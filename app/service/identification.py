"""Identification: whose voice is it, of those in the gallery, if anybody's?"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.audio.quality import AudioReport
from app.errors import AudioMissing
from app.scoring import Candidate, IdentifyDecision, identify_decision
from app.service.enrolment import check_speaker_id
from app.service.listening import listen, placed
from app.service.parts import Parts
from app.service.thresholds import Threshold, choose


@dataclass(frozen=True, kw_only=True)
class IdentificationRequest:
    """One recording and whom to look for."""

    recording: bytes | None
    top_k: int = 5
    threshold: float | None = None
    min_margin: float | None = None
    candidate_ids: Sequence[str] | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Identification:
    """The decision and everything that it rests on."""

    decision: IdentifyDecision
    speaker_id: str | None
    """The speaker found; None unless the decision is `match`."""
    candidates: tuple[Candidate, ...]
    """By falling score, at most `top_k`."""
    margin: float | None
    """Lead of the best candidate over the second, in score: the log-odds of the one against the other.
    None with fewer than two."""
    threshold: Threshold
    gallery_size: int
    """Speakers searched."""
    audio: AudioReport


def identify(parts: Parts, request: IdentificationRequest) -> Identification:
    """Search the gallery for the voice of one recording.

    Args:
        parts: The joined parts.
        request: The recording and whom to look for.

    Returns:
        The decision: nobody matching and an empty gallery are results, not errors.

    Raises:
        AudioMissing: There is no recording.
        InvalidSpeakerId: A candidate id is not well formed.
        AudioRefused: The recording cannot be used.
        Unavailable: The model, the index or the database cannot answer now.
    """
    if request.recording is None:
        raise AudioMissing("audio")
    for speaker_id in request.candidate_ids or ():
        check_speaker_id(speaker_id)
    threshold = choose(
        parts.calibration,
        threshold=request.threshold,
        target_fmr=None,
        default_fmr=parts.settings.target_fmr,
    )
    with placed(field="audio"):
        heard = listen(parts, request.recording)
    # The margin needs a second candidate even when the caller wants to see one only.
    nearest = parts.gallery.nearest(
        heard.embedding,
        heard.utterance.report.speech_s,
        max(request.top_k, 2),
        speaker_ids=request.candidate_ids,
        group=request.group,
    )
    min_margin = parts.settings.min_margin if request.min_margin is None else request.min_margin
    decision, margin = identify_decision(nearest.candidates, threshold.value, min_margin)
    return Identification(
        decision=decision,
        speaker_id=nearest.candidates[0].speaker_id if decision == "match" else None,
        candidates=nearest.candidates[: request.top_k],
        margin=margin,
        threshold=threshold,
        gallery_size=nearest.gallery_size,
        audio=heard.utterance.report,
    )

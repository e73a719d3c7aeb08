"""Identification: whose voice is it, of those in the gallery, if anybody's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from app.audio.quality import AudioReport
from app.errors import AudioMissing
from app.scoring import Candidate, IdentifyDecision, identify_decision, leads
from app.service.call import Call
from app.service.decided import MOST_COMPARED, Decided, decided
from app.service.enrolment import check_speaker_id
from app.service.explanation import Remark, explain_search
from app.service.gallery import Nearest
from app.service.listening import Heard, listen, placed
from app.service.presentation import Presentation, presented
from app.service.shadow import Outcome, shadow
from app.service.thresholds import Threshold, check_search_parameters, choose_for_search
from app.service.trace import stage


@dataclass(frozen=True, kw_only=True)
class IdentificationRequest:
    """One recording and whom to look for."""

    recording: bytes | None
    top_k: int = 5
    threshold: float | None = None
    target_fpir: float | None = None
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
    min_margin: float
    """The least lead of a match."""
    margins: tuple[float | None, ...]
    """For each candidate its lead over the best of the other speakers; below 0 for all but the first."""
    audio: AudioReport
    presentation: Presentation
    """How the recording came; nobody may be named for that alone."""
    explanation: tuple[Remark, ...]
    decided: Decided
    """What the decision_id carries."""


def identify(call: Call, request: IdentificationRequest) -> Identification:
    """Search the gallery for the voice of one recording.

    Args:
        call: Who asks, and what serves them.
        request: The recording and whom to look for.

    Returns:
        The decision: nobody matching and an empty gallery are results, not errors.

    Raises:
        AudioMissing: There is no recording.
        ConflictingParameters: Both a threshold and a rate were given.
        UnsupportedRate: The trials are too few to promise the rate in a gallery of this size.
        InvalidSpeakerId: A candidate id is not well formed.
        AudioRefused: The recording cannot be used.
        Unavailable: The model, the index or the database cannot answer now.
    """
    if request.recording is None:
        raise AudioMissing("audio")
    for speaker_id in request.candidate_ids or ():
        check_speaker_id(speaker_id)
    check_search_parameters(request.threshold, request.target_fpir)
    with placed(field="audio"):
        heard = listen(call, request.recording)
    found = _search(call, request, heard)
    shadow(call, heard, found.decided, _outcome(found), partial(_again, request, found.presentation))
    return found


def _again(request: IdentificationRequest, presentation: Presentation, other: Call, heard: Heard) -> Outcome:
    """The same decision by a model on trial; how the recording came is known."""
    return _outcome(_search(other, request, heard, presentation))


def _outcome(found: Identification) -> Outcome:
    return Outcome(found.decision, found.speaker_id, found.candidates[0].score if found.candidates else None)


def _search(
    call: Call, request: IdentificationRequest, heard: Heard, presentation: Presentation | None = None
) -> Identification:
    """Search for what was heard, and decide."""
    audio = heard.utterance.report
    # The margin needs a second candidate even when the caller wants to see one only, a later feedback more.
    nearest = call.gallery.nearest(
        heard.embedding,
        audio.speech_s,
        max(request.top_k, MOST_COMPARED),
        call.calibration.score,
        speaker_ids=request.candidate_ids,
        group=request.group,
    )
    threshold = choose_for_search(
        call.calibration,
        nearest.gallery_size,
        threshold=request.threshold,
        target_fpir=request.target_fpir,
        default_fpir=call.policy.target_fpir,
        default_fmr=call.policy.target_fmr,
    )
    if presentation is None:
        presentation = presented(call, heard, [each.speaker_key for each in nearest.candidates[:1]])
    return _decided(call, request, nearest, threshold, audio, presentation)


def _decided(
    call: Call,
    request: IdentificationRequest,
    nearest: Nearest,
    threshold: Threshold,
    audio: AudioReport,
    presentation: Presentation,
) -> Identification:
    found, size = nearest.candidates, nearest.gallery_size
    filtered = request.candidate_ids is not None or request.group is not None
    min_margin = call.policy.min_margin if request.min_margin is None else request.min_margin
    decision, margin = identify_decision(found, threshold.value, min_margin)
    if presentation.refused:
        decision = "unknown"
    named = found[0].speaker_id if decision == "match" else None
    if call.policy.audit_decisions:
        with stage("store"):
            call.repository.append_audit(
                call.tenant_id, call.by, "voice.identified", named, decision=decision
            )
    return Identification(
        decision=decision,
        speaker_id=named,
        candidates=found[: request.top_k],
        margin=margin,
        min_margin=min_margin,
        margins=leads([each.score for each in found])[: request.top_k],
        threshold=threshold,
        gallery_size=size,
        audio=audio,
        presentation=presentation,
        explanation=(
            *presentation.remarks,
            *explain_search(
                decision, found, margin, min_margin, threshold, size, filtered, audio, call.calibration
            ),
        ),
        decided=decided(
            call,
            "identify",
            decision,
            found,
            speech_s=audio.speech_s,
            threshold=threshold.value,
            gallery_size=size,
            filtered=filtered,
        ),
    )

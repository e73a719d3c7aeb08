"""What the main calls return → the JSON of the answers."""

from collections.abc import Sequence
from typing import Any

from app.api.answers.challenges import challenge_verdict
from app.api.answers.speakers import progress_fields
from app.api.problems import reasons_of
from app.api.schemas.common import Audio, Explanation, Model, OperatingPointAnswer, Reason, SearchPointAnswer
from app.api.schemas.segments import SegmentAnswer, SegmentsAnswer, SegmentSpeaker
from app.api.schemas.voices import (
    CandidateAnswer,
    EnrollAnswer,
    IdentifyAnswer,
    PadVerdict,
    QualityAnswer,
    ReplayVerdict,
    TakeVerdict,
    VerifyAnswer,
)
from app.scoring import OperatingPoint, SearchPoint
from app.service.call import Call
from app.service.decided import seal_decision
from app.service.enrolment import Enrolment, Verdict
from app.service.explanation import Remark
from app.service.identification import Identification
from app.service.presentation import Presentation
from app.service.quality import QualityVerdict
from app.service.segments import Segments
from app.service.trace import current
from app.service.verification import Verification


def enroll_answer(call: Call, result: Enrolment, *, dry_run: bool) -> EnrollAnswer:
    """The answer to an enrolment."""
    return EnrollAnswer(
        speaker_id=result.speaker_id,
        enrollments=[_take(verdict) for verdict in result.verdicts],
        consistency=result.consistency,
        dry_run=dry_run,
        model=model_answer(call),
        request_id=current().request_id,
        **progress_fields(result.progress),
    )


def verify_answer(call: Call, result: Verification) -> VerifyAnswer:
    """The answer to a verification."""
    return VerifyAnswer(
        decision=result.decision,
        decision_id=seal_decision(call, result.decided),
        speaker_id=result.speaker_id,
        score=result.score,
        similarity=result.similarity,
        distance=result.distance,
        threshold=result.threshold.value,
        operating_point=_point(result.threshold.operating_point),
        explanation=_explanation(result.explanation),
        **_presentation(result.presentation),
        challenge=challenge_verdict(result.presentation.challenge),
        audio=Audio.model_validate(result.audio),
        audio_reference=Audio.model_validate(result.audio_reference) if result.audio_reference else None,
        model=model_answer(call),
        request_id=current().request_id,
    )


def identify_answer(call: Call, result: Identification) -> IdentifyAnswer:
    """The answer to an identification."""
    return IdentifyAnswer(
        decision=result.decision,
        decision_id=seal_decision(call, result.decided),
        speaker_id=result.speaker_id,
        candidates=_candidates(result),
        margin=result.margin,
        min_margin=result.min_margin,
        threshold=result.threshold.value,
        gallery_size=result.gallery_size,
        operating_point=search_point(result.threshold.search),
        explanation=_explanation(result.explanation),
        **_presentation(result.presentation),
        audio=Audio.model_validate(result.audio),
        model=model_answer(call),
        request_id=current().request_id,
    )


def _presentation(found: Presentation) -> dict[str, Any]:
    return {
        "warnings": list(found.warnings),
        "replay": ReplayVerdict.model_validate(found.replay),
        "pad": PadVerdict.model_validate(found.pad),
    }


def segments_answer(call: Call, result: Segments) -> SegmentsAnswer:
    """The answer about who speaks when."""
    return SegmentsAnswer(
        segments=[
            SegmentAnswer(
                start_s=each.start_s,
                end_s=each.end_s,
                speaker_id=each.speaker.speaker_id,
                label=each.speaker.label,
                decision=each.speaker.decision,
                score=each.score,
            )
            for each in result.segments
        ],
        speakers=[SegmentSpeaker.model_validate(each) for each in result.speakers],
        duration_s=result.audio.duration_s,
        speech_s=result.audio.speech_s,
        threshold=result.threshold.value,
        min_margin=result.min_margin,
        gallery_size=result.gallery_size,
        operating_point=search_point(result.threshold.search),
        audio=Audio.model_validate(result.audio),
        model=model_answer(call),
        request_id=current().request_id,
    )


def quality_answer(verdict: QualityVerdict, reasons: list[dict[str, Any]]) -> QualityAnswer:
    """The answer to a quality check."""
    return QualityAnswer(
        accepted=verdict.refusal is None,
        reasons=[Reason.model_validate(reason) for reason in reasons],
        audio=Audio.model_validate(verdict.audio),
        request_id=current().request_id,
    )


def _take(verdict: Verdict) -> TakeVerdict:
    audio = Audio.model_validate(verdict.audio) if verdict.audio else None
    return TakeVerdict(
        enrollment_id=verdict.enrollment_id,
        accepted=verdict.accepted,
        duplicate=verdict.duplicate,
        code=verdict.code,
        detail=verdict.detail,
        audio=audio,
        warnings=[*(audio.warnings if audio else []), *(doubt.code for doubt in verdict.doubts)],
        doubts=[Reason.model_validate(reason) for doubt in verdict.doubts for reason in reasons_of(doubt)],
    )


def _point(point: OperatingPoint | None) -> OperatingPointAnswer | None:
    return None if point is None else OperatingPointAnswer.model_validate(point)


def search_point(search: SearchPoint | None) -> SearchPointAnswer | None:
    """An operating point of a search."""
    if search is None:
        return None
    of_search = {
        "gallery_size": search.gallery_size,
        "fpir": search.fpir,
        "fpir_interval": search.fpir_interval,
    }
    return SearchPointAnswer(**vars(search.point) | of_search)


def _explanation(remarks: Sequence[Remark]) -> list[Explanation]:
    return [Explanation.model_validate(remark) for remark in remarks]


def _candidates(result: Identification) -> list[CandidateAnswer]:
    return [
        CandidateAnswer(
            rank=rank,
            speaker_id=each.speaker_id,
            score=each.score,
            similarity=each.similarity,
            margin=margin,
            enrolled_speech_s=each.enrolled_speech_s,
        )
        for rank, (each, margin) in enumerate(zip(result.candidates, result.margins, strict=True), start=1)
    ]


def model_answer(call: Call) -> Model:
    """The model that serves the call."""
    manifest = call.embedder.manifest
    return Model(name=manifest.name, version=manifest.version, id=manifest.model_id)

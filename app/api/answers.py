"""What the use cases return → the JSON of the answers."""

from typing import Any, Final

from app.api.schemas import (
    Audio,
    CandidateAnswer,
    EnrollAnswer,
    Enrollment,
    EnrollmentsAnswer,
    IdentifyAnswer,
    Model,
    ModelDetail,
    ModelFileAnswer,
    ModelsAnswer,
    OperatingPointAnswer,
    OperatingPointOfModel,
    Pad,
    ProgressAnswer,
    QualityAnswer,
    Reason,
    Speaker,
    SpeakerAnswer,
    SpeakersAnswer,
    TakeVerdict,
    VerifyAnswer,
)
from app.scoring import OperatingPoint
from app.service.enrolment import Enrolment, Verdict
from app.service.identification import Identification
from app.service.models import ServingModel
from app.service.parts import Parts
from app.service.progress import Progress
from app.service.quality import QualityVerdict
from app.service.speakers import SpeakerListing, SpeakerView, Takes
from app.service.trace import current
from app.service.verification import Verification

_OF_MANIFEST: Final = (
    *("name", "version", "sha256", "sample_rate_hz", "dim", "min_speech_s"),
    *("recipe", "corpus", "commit", "created_at"),
)


def enroll_answer(parts: Parts, result: Enrolment, *, dry_run: bool) -> EnrollAnswer:
    """The answer to an enrolment."""
    return EnrollAnswer(
        speaker_id=result.speaker_id,
        enrollments=[_take(verdict) for verdict in result.verdicts],
        consistency=result.consistency,
        dry_run=dry_run,
        model=_model(parts),
        request_id=current().request_id,
        **_progress(result.progress),
    )


def verify_answer(parts: Parts, result: Verification) -> VerifyAnswer:
    """The answer to a verification."""
    return VerifyAnswer(
        decision=result.decision,
        speaker_id=result.speaker_id,
        score=result.score,
        similarity=result.similarity,
        distance=result.distance,
        threshold=result.threshold.value,
        operating_point=_point(result.threshold.operating_point),
        pad=Pad(),
        audio=Audio.model_validate(result.audio),
        audio_reference=Audio.model_validate(result.audio_reference) if result.audio_reference else None,
        model=_model(parts),
        request_id=current().request_id,
    )


def identify_answer(parts: Parts, result: Identification) -> IdentifyAnswer:
    """The answer to an identification."""
    return IdentifyAnswer(
        decision=result.decision,
        speaker_id=result.speaker_id,
        candidates=[
            CandidateAnswer(rank=rank, **candidate._asdict())
            for rank, candidate in enumerate(result.candidates, start=1)
        ],
        margin=result.margin,
        threshold=result.threshold.value,
        gallery_size=result.gallery_size,
        operating_point=_point(result.threshold.operating_point),
        audio=Audio.model_validate(result.audio),
        model=_model(parts),
        request_id=current().request_id,
    )


def speaker_answer(view: SpeakerView) -> SpeakerAnswer:
    """The answer about one speaker."""
    return SpeakerAnswer(**_speaker(view), request_id=current().request_id)


def speakers_answer(listing: SpeakerListing) -> SpeakersAnswer:
    """The answer with one page of speakers."""
    return SpeakersAnswer(
        speakers=[Speaker(**_speaker(view)) for view in listing.speakers],
        next_cursor=listing.next_cursor,
        request_id=current().request_id,
    )


def enrollments_answer(takes: Takes) -> EnrollmentsAnswer:
    """The answer with the takes of a speaker."""
    return EnrollmentsAnswer(
        speaker_id=takes.speaker.speaker.speaker_id,
        enrollments=[Enrollment.model_validate(row) for row in takes.enrollments],
        consistency=takes.consistency,
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


def models_answer(models: tuple[ServingModel, ...]) -> ModelsAnswer:
    """The answer with the loaded models."""
    details = [
        ModelDetail(
            id=model.manifest.model_id,
            serving=True,
            provider=model.provider,
            precision=model.choice.precision,
            precision_reason=model.choice.reason,
            measured_ms={name: round(took, 2) for name, took in model.choice.measured_ms.items()},
            files=[ModelFileAnswer.model_validate(file) for file in model.manifest.files],
            golden_cosine=round(model.golden_cosine, 6),
            eer=model.calibration.eer,
            cllr=model.calibration.cllr,
            min_cllr=model.calibration.min_cllr,
            trial_speakers=model.calibration.speakers,
            operating_points=[
                OperatingPointOfModel.model_validate(point) for point in model.calibration.operating_points
            ],
            **{name: getattr(model.manifest, name) for name in _OF_MANIFEST},
        )
        for model in models
    ]
    return ModelsAnswer(models=details, request_id=current().request_id)


def _take(verdict: Verdict) -> TakeVerdict:
    audio = Audio.model_validate(verdict.audio) if verdict.audio else None
    return TakeVerdict(
        enrollment_id=verdict.enrollment_id,
        accepted=verdict.accepted,
        duplicate=verdict.duplicate,
        code=verdict.code,
        detail=verdict.detail,
        audio=audio,
        warnings=audio.warnings if audio else [],
    )


def _progress(progress: Progress) -> dict[str, Any]:
    names = ProgressAnswer.model_fields.keys() - {"speaker_id"}
    return {name: getattr(progress, name) for name in names}


def _speaker(view: SpeakerView) -> dict[str, Any]:
    own = ("speaker_id", "display_name", "metadata", "consent", "version", "created_at", "updated_at")
    return {name: getattr(view.speaker, name) for name in own} | _progress(view.progress)


def _point(point: OperatingPoint | None) -> OperatingPointAnswer | None:
    return None if point is None else OperatingPointAnswer.model_validate(point)


def _model(parts: Parts) -> Model:
    manifest = parts.embedder.manifest
    return Model(name=manifest.name, version=manifest.version, id=manifest.model_id)

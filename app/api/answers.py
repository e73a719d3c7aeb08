"""What the use cases return → the JSON of the answers."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from app.api.problems import reasons_of
from app.api.schemas.common import Audio, Explanation, Model, OperatingPointAnswer, Reason, SearchPointAnswer
from app.api.schemas.governance import (
    AuditAnswer,
    AuditEntry,
    ChainAnswer,
    DisclosureAnswer,
    ErasuresAnswer,
    OptedAnswer,
    PolicyAnswer,
    Receipt,
    ReceiptAnswer,
)
from app.api.schemas.segments import SegmentAnswer, SegmentsAnswer, SegmentSpeaker
from app.api.schemas.service import (
    ActivationAnswer,
    ModelDetail,
    ModelFileAnswer,
    ModelsAnswer,
    OperatingPointOfModel,
)
from app.api.schemas.speakers import (
    Enrollment,
    EnrollmentsAnswer,
    Holding,
    Speaker,
    SpeakerAnswer,
    SpeakersAnswer,
)
from app.api.schemas.voices import (
    CandidateAnswer,
    EnrollAnswer,
    IdentifyAnswer,
    Pad,
    ProgressAnswer,
    QualityAnswer,
    TakeVerdict,
    VerifyAnswer,
)
from app.scoring import OperatingPoint, SearchPoint
from app.service.call import Call
from app.service.decided import seal_decision
from app.service.disclosure import Disclosure
from app.service.enrolment import Enrolment, Verdict
from app.service.explanation import Remark
from app.service.identification import Identification
from app.service.models import ModelListing, ModelView
from app.service.policy import Policy
from app.service.progress import Progress
from app.service.quality import QualityVerdict
from app.service.segments import Segments
from app.service.speakers import SpeakerListing, SpeakerView, Takes
from app.service.trace import current
from app.service.verification import Verification
from app.store.audit import Chain
from app.store.records import Receipt as StoredReceipt
from app.store.records import StoredAuditEntry

_OF_MANIFEST: Final = (
    *("name", "version", "sha256", "sample_rate_hz", "dim", "min_speech_s"),
    *("recipe", "corpus", "commit", "created_at"),
)


def enroll_answer(call: Call, result: Enrolment, *, dry_run: bool) -> EnrollAnswer:
    """The answer to an enrolment."""
    return EnrollAnswer(
        speaker_id=result.speaker_id,
        enrollments=[_take(verdict) for verdict in result.verdicts],
        consistency=result.consistency,
        dry_run=dry_run,
        model=model_answer(call),
        request_id=current().request_id,
        **_progress(result.progress),
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
        pad=Pad(),
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
        audio=Audio.model_validate(result.audio),
        model=model_answer(call),
        request_id=current().request_id,
    )


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


def models_answer(listing: ModelListing) -> ModelsAnswer:
    """The answer with the loaded models."""
    return ModelsAnswer(
        models=[_detail(view) for view in listing.models],
        available=list(listing.available),
        active=listing.active,
        previous=listing.previous,
        shadow=listing.shadow,
        request_id=current().request_id,
    )


def activation_answer(view: ModelView) -> ActivationAnswer:
    """The answer to a switch of models."""
    return ActivationAnswer(model=_detail(view), request_id=current().request_id)


def _detail(view: ModelView) -> ModelDetail:
    manifest, embedder, calibration = (
        view.serving.embedder.manifest,
        view.serving.embedder,
        view.serving.calibration,
    )
    return ModelDetail(
        id=manifest.model_id,
        serving=view.is_active,
        shadow=view.is_shadow,
        enrolled=view.enrolled,
        provider=embedder.provider,
        precision=embedder.choice.precision,
        precision_reason=embedder.choice.reason,
        measured_ms={name: round(took, 2) for name, took in embedder.choice.measured_ms.items()},
        files=[ModelFileAnswer.model_validate(file) for file in manifest.files],
        golden_cosine=round(embedder.golden_cosine, 6),
        eer=calibration.eer,
        cllr=calibration.cllr,
        min_cllr=calibration.min_cllr,
        trial_speakers=calibration.speakers,
        operating_points=[
            OperatingPointOfModel.model_validate(point) for point in calibration.operating_points
        ],
        **{name: getattr(manifest, name) for name in _OF_MANIFEST},
    )


def policy_answer(policy: Policy, own: Iterable[str]) -> PolicyAnswer:
    """The answer with the rules of a tenant."""
    return PolicyAnswer(policy=policy, own=sorted(own), request_id=current().request_id)


def audit_answer(entries: Iterable[StoredAuditEntry], cursor: str | None) -> AuditAnswer:
    """The answer with a page of the log."""
    return AuditAnswer(
        entries=[AuditEntry.model_validate(entry) for entry in entries],
        next_cursor=cursor,
        request_id=current().request_id,
    )


def chain_answer(chain: Chain) -> ChainAnswer:
    """The answer about the chain of the log."""
    return ChainAnswer(intact=chain.broken_at is None, **chain._asdict(), request_id=current().request_id)


def erasures_answer(receipts: Iterable[StoredReceipt], cursor: str | None) -> ErasuresAnswer:
    """The answer with receipts."""
    return ErasuresAnswer(
        erasures=[Receipt.model_validate(receipt) for receipt in receipts],
        next_cursor=cursor,
        request_id=current().request_id,
    )


def receipt_answer(receipt: StoredReceipt) -> ReceiptAnswer:
    """The answer with one receipt."""
    return ReceiptAnswer(**asdict(receipt), request_id=current().request_id)


def opted_answer(speaker_id: str, *, opted_out: bool, receipt: StoredReceipt | None) -> OptedAnswer:
    """The answer to an opt-out or an opt-in."""
    return OptedAnswer(
        speaker_id=speaker_id,
        opted_out=opted_out,
        receipt_id=receipt.receipt_id if receipt is not None else None,
        request_id=current().request_id,
    )


def disclosure_answer(found: Disclosure) -> DisclosureAnswer:
    """The answer with everything that is stored of a speaker."""
    return DisclosureAnswer(
        speaker=Speaker(**_speaker(found.takes.speaker)),
        enrollments=[Enrollment.model_validate(row) for row in found.takes.enrollments],
        recordings=found.recordings,
        audit=[AuditEntry.model_validate(entry) for entry in found.audit],
        erasures=[Receipt.model_validate(receipt) for receipt in found.erasures],
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


def _progress(progress: Progress) -> dict[str, Any]:
    names = ProgressAnswer.model_fields.keys() - {"speaker_id"}
    return {name: getattr(progress, name) for name in names}


def _speaker(view: SpeakerView) -> dict[str, Any]:
    own = (
        "speaker_id",
        "display_name",
        "metadata",
        "consent",
        "retain_until",
        "version",
        "created_at",
        "updated_at",
    )
    held = {
        "models": [Holding.model_validate(each) for each in view.speaker.holdings],
        "reenrollment_required": view.reenrollment_required,
    }
    return {name: getattr(view.speaker, name) for name in own} | held | _progress(view.progress)


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

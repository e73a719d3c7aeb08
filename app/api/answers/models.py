"""Models → the JSON of the answers."""

from typing import Final

from app.api.schemas.service import (
    ActivationAnswer,
    ModelDetail,
    ModelFileAnswer,
    ModelsAnswer,
    OperatingPointOfModel,
)
from app.service.models import ModelListing, ModelView
from app.service.trace import current

_OF_MANIFEST: Final = (
    *("name", "version", "sha256", "sample_rate_hz", "dim", "min_speech_s"),
    *("recipe", "corpus", "commit", "created_at"),
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

"""The models: which one serves, where it runs and what was measured of it."""

from dataclasses import dataclass

from app.embedder import Manifest
from app.scoring import Calibration
from app.service.parts import Parts


@dataclass(frozen=True)
class ServingModel:
    """A loaded model."""

    manifest: Manifest
    provider: str
    """The ONNX Runtime provider really used."""
    precision: str
    golden_cosine: float
    """Least cosine to the golden embeddings at the start, in [-1, 1]."""
    calibration: Calibration


def list_models(parts: Parts) -> tuple[ServingModel, ...]:
    """List the loaded models: one, until several can serve side by side."""
    return (
        ServingModel(
            manifest=parts.embedder.manifest,
            provider=parts.embedder.provider,
            precision=parts.settings.precision,
            golden_cosine=parts.embedder.golden_cosine,
            calibration=parts.calibration,
        ),
    )

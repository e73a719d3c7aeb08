"""The models: which one serves, where it runs and what was measured of it."""

from dataclasses import dataclass

from app.embedder import Choice, Manifest
from app.scoring import Calibration
from app.service.parts import Parts


@dataclass(frozen=True)
class ServingModel:
    """A loaded model."""

    manifest: Manifest
    provider: str
    """The ONNX Runtime provider really used."""
    choice: Choice
    """Which of its files serves, and why."""
    golden_cosine: float
    """Least cosine to the golden embeddings at the start, in [-1, 1]."""
    calibration: Calibration


def list_models(parts: Parts) -> tuple[ServingModel, ...]:
    """List the loaded models: one, until several can serve side by side."""
    return (
        ServingModel(
            manifest=parts.embedder.manifest,
            provider=parts.embedder.provider,
            choice=parts.embedder.choice,
            golden_cosine=parts.embedder.golden_cosine,
            calibration=parts.calibration,
        ),
    )

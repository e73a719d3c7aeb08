"""The parts that the use cases work with, joined once at the start."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from app.audio.quality import QualityLimits
from app.audio.workers import DecoderPool
from app.embedder import Embedder
from app.scoring import Calibration
from app.service.gallery import Gallery
from app.settings import Settings
from app.store.repository import Repository

TENANT: Final = "default"
"""The one tenant, until there are more."""


@dataclass(frozen=True)
class Parts:
    """Everything that a use case may need; each is safe to share between threads."""

    settings: Settings
    engine: Engine
    repository: Repository
    decoders: DecoderPool
    embedder: Embedder
    calibration: Calibration
    gallery: Gallery

    @property
    def model_id(self) -> str:
        """Identifier of the serving model; embeddings are compared under one id only."""
        return self.embedder.manifest.model_id

    @property
    def limits(self) -> QualityLimits:
        """What one recording must reach."""
        settings = self.settings
        return QualityLimits(
            min_speech_s=settings.min_speech_s,
            min_snr_db=settings.min_snr_db,
            max_clipped_ratio=settings.max_clipped_ratio,
            min_level_dbfs=settings.min_level_dbfs,
            # A recording shorter than the speech it must hold cannot hold it.
            min_duration_s=settings.min_speech_s,
        )

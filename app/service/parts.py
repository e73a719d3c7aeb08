"""The parts that the process has, joined once at the start; calls are opened on them."""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine

from app.audio.quality import QualityLimits
from app.audio.workers import DecoderPool
from app.digits import DigitHearer
from app.service.aside import Aside
from app.service.detection import Detection
from app.service.galleries import Galleries
from app.service.rates import Rates
from app.service.shelf import Serving, Shelf
from app.service.spool import Bell, Folder
from app.settings import Settings
from app.store import Repository, Vault
from app.store.records import StoredTenant

DEFAULT_TENANT: Final = "default"
"""The tenant of a service without keys; it is always there."""


@dataclass(frozen=True)
class Parts:
    """Everything that calls are opened on; each is safe to share between threads."""

    settings: Settings
    engine: Engine
    vault: Vault
    repository: Repository
    decoders: DecoderPool
    long_decoders: DecoderPool
    """A process of its own for long recordings, so that no short one waits behind them."""
    shelf: Shelf
    galleries: Galleries
    rates: Rates
    digits: DigitHearer | None
    """Hears whether the digits of a challenge are said; None where the settings name no model for it."""
    detection: Detection | None
    """Looks for played and made voices; None where the settings name no plug-in for it."""
    bell: Bell = field(default_factory=Bell)
    """Rings when a job was queued here."""
    aside: Aside = field(default_factory=Aside)
    """What nobody waits for."""

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

    @property
    def job_files(self) -> Folder:
        """The files of imports and exports."""
        return Folder(self.settings.jobs_dir, self.vault)

    def serving_for(self, tenant: StoredTenant) -> Serving:
        """The model that serves a tenant now.

        Raises:
            ModelNotFound: Its folder is gone.
            ModelInvalid: Its folder is refused.
        """
        return self.shelf.serving(tenant.model or self.shelf.default)

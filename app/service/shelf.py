"""The models on the shelf: every folder that could serve, each loaded once and when it is first needed."""

import logging
import threading
from dataclasses import dataclass
from typing import Final

from app.digits.hearer import RULE
from app.embedder import CALIBRATION, Embedder, file_bytes, sha256_of_bytes
from app.errors import ModelInvalid, ModelNotFound, ModelNotReady, StartupError, UnsupportedRate
from app.scoring import Calibration, parse_calibration
from app.settings import Settings

_log: Final = logging.getLogger("timbre.models")
_CALIBRATE: Final = "`timbre calibrate`, of the training package, writes a new one"


@dataclass(frozen=True)
class Serving:
    """A loaded model, and what its scores mean."""

    name: str
    embedder: Embedder
    calibration: Calibration

    @property
    def model_id(self) -> str:
        """Name and the beginning of the hash: embeddings are compared under one id only."""
        return self.embedder.manifest.model_id


class Shelf:
    """Loads models and keeps them until the end; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        """Make an empty shelf over `settings.models_dir`."""
        self._settings: Final = settings
        self._lock: Final = threading.Lock()
        self._loaded: Final[dict[str, Serving]] = {}

    @property
    def default(self) -> str:
        """Name of the model of the settings."""
        return self._settings.model

    @property
    def loaded(self) -> tuple[Serving, ...]:
        """Every model that is loaded, in the order of loading."""
        return tuple(self._loaded.values())

    def names(self) -> list[str]:
        """Names of the folders that could be served, sorted."""
        folders = self._settings.models_dir.glob("*/manifest.json")
        # A digit model stands on the same shelf and hears no speakers.
        return sorted(path.parent.name for path in folders if not (path.parent / RULE).exists())

    def serving(self, name: str) -> Serving:
        """The model of this name, loaded now if it is not yet.

        Raises:
            ModelNotFound: There is no such folder.
            ModelInvalid: The folder is refused.
            ProviderUnavailable: CUDA was asked for and does not run.
        """
        found = self._loaded.get(name)
        if found is not None:
            return found
        with self._lock:
            if name not in self._loaded:
                if name != self.default and name not in self.names():
                    raise ModelNotFound(name)
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def checked(self, name: str) -> Serving:
        """The same for a name that a caller gave.

        Raises:
            ModelNotFound: There is no such folder.
            ModelNotReady: The folder is refused; the log says why.
        """
        try:
            return self.serving(name)
        except StartupError as problem:
            _log.error("%s", problem)
            raise ModelNotReady from problem

    def close(self) -> None:
        """End the sessions of every model."""
        with self._lock:
            for each in self._loaded.values():
                each.embedder.close()
            self._loaded.clear()

    def _load(self, name: str) -> Serving:
        settings = self._settings
        embedder = Embedder.load(
            settings.models_dir / name,
            provider=settings.provider,
            precision=settings.precision,
            workers=settings.inference_workers,
            # Whoever comes here was let in at the gate; nobody waits twice or is turned away now.
            queue=settings.places + settings.segments_at_once + settings.job_workers + 1,
            timeout_s=settings.inference_timeout_s,
        )
        try:
            return Serving(name, embedder, self._calibration(name, embedder))
        except BaseException:
            embedder.close()
            raise

    def _calibration(self, name: str, embedder: Embedder) -> Calibration:
        """What the scores of a model mean, with thresholds at the rates that the settings ask for."""
        folder = self._settings.models_dir / name
        manifest = embedder.manifest
        try:
            data = file_bytes(folder, CALIBRATION)
        except ModelInvalid as error:
            raise ModelInvalid(str(folder), f"{error.problem}; {_CALIBRATE}") from error
        if manifest.calibration_sha256 is None:
            raise ModelInvalid(str(folder), f"manifest.json lacks calibration_sha256; {_CALIBRATE}")
        if sha256_of_bytes(data) != manifest.calibration_sha256:
            raise ModelInvalid(str(folder), f"calibration.json is not what manifest.json says; {_CALIBRATE}")
        try:
            calibration = parse_calibration(data)
        except ValueError as error:
            raise ModelInvalid(str(folder), f"{error}; {_CALIBRATE}") from error
        if calibration.model_sha256 != manifest.sha256:
            problem = f"calibration.json was made with another model.onnx; {_CALIBRATE}"
            raise ModelInvalid(str(folder), problem)
        try:
            calibration.at_fmr(self._settings.target_fmr, "TIMBRE_TARGET_FMR")
            if self._settings.target_fpir is not None:
                # In larger galleries it may still be refused; here it would be in every one.
                calibration.at_fpir(self._settings.target_fpir, 1, "TIMBRE_TARGET_FPIR")
        except UnsupportedRate as error:
            raise ModelInvalid(str(folder), f"{error.field} has no threshold: {error.problem}") from error
        return calibration

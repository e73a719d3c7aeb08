"""The digit model: a folder, checked and loaded once, then waveform → how well it says these digits."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from app.arrays import Embedding, Waveform
from app.digits.alignment import TOKENS, Frames, alignment_score, heard_digits
from app.embedder import Manifest, read_manifest, sha256_of
from app.embedder.admission import Admission
from app.embedder.golden import read_golden
from app.embedder.loading import checked_bytes, checked_golden, opened
from app.embedder.manifest import file_bytes, sha256_of_bytes
from app.embedder.session import Provider
from app.errors import ModelInvalid

RULE: Final = "digits.json"
"""File beside the manifest that holds the threshold; it tells a digit model from a speaker model."""
LEAST_COSINE: Final = 0.999
LOWEST_SCORE: Final = -100.0
"""What stands for minus infinity, which JSON lacks: too short to say so many digits."""


@dataclass(frozen=True)
class HeardDigits:
    """What the model makes of a recording that should say certain digits."""

    score: float
    """Log-likelihood ratio per digit of what was asked to whatever fits best, natural log, at most 0."""
    threshold: float
    """Least score that passes."""
    heard: str
    """The digits that fit best, with spaces between them; empty for none."""

    @property
    def passed(self) -> bool:
        """The digits were said."""
        return self.score >= self.threshold


class DigitHearer:
    """One digit model, ready to run from any thread.

    Attributes:
        manifest: What the model says of itself.
        threshold: Least score that passes.
        provider: The ONNX Runtime provider that really runs.
    """

    manifest: Manifest
    threshold: float
    provider: str

    def __init__(self, manifest: Manifest, threshold: float, session: Any, admission: Admission) -> None:
        self.manifest, self.threshold = manifest, threshold
        self.provider = session.get_providers()[0]
        self._session, self._admission = session, admission

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        provider: Provider = "auto",
        workers: int = 1,
        queue: int = 16,
        timeout_s: float = 30.0,
    ) -> Self:
        """Load a digit model and refuse it unless everything about it is right.

        Args:
            folder: Folder with manifest.json, model.onnx, golden.npz and digits.json.
            provider: Where the model runs; see `app.embedder.session.open_session`.
            workers: Recordings heard at the same time.
            queue: Recordings that may wait.
            timeout_s: Longest time for waiting and running together, in seconds.

        Raises:
            ModelInvalid: A missing file or key, a wrong hash, metadata that differ from the manifest, weights
                outside the file, foreign operators, other inputs or outputs than a digit model has, a
                changed threshold, or golden vectors that are not reproduced.
            ProviderUnavailable: CUDA was asked for and does not run.
        """
        manifest = read_manifest(folder)
        threshold = _read_threshold(folder, manifest)
        golden = read_golden(folder, TOKENS)
        session = opened(folder, checked_bytes(folder, manifest, "fp32"), provider)
        _check_signature(session, folder)
        hearer = cls(manifest, threshold, session, Admission(workers, queue, timeout_s))
        try:
            checked_golden(
                folder,
                golden,
                lambda w, options: summary(hearer._run(w, options)),
                LEAST_COSINE,
                hearer.provider,
            )
        except ModelInvalid:
            hearer.close()
            raise
        return hearer

    def hear(self, waveform: Waveform, digits: Sequence[int]) -> HeardDigits:
        """Tell how well a recording says these digits.

        Args:
            waveform: float32 (samples,), 16 kHz mono, [-1, 1]: its speech only.
            digits: What was asked, each 0 to 9.

        Raises:
            Overloaded: Too many recordings wait.
            InferenceTimeout: Not done in time.
            ModelNotReady: The hearer is closed.
        """
        if len(waveform) < self.manifest.window_samples:
            return HeardDigits(LOWEST_SCORE, self.threshold, "")

        def job(options: Any) -> HeardDigits:
            frames = self._run(waveform, options)
            score = max(alignment_score(frames, digits), LOWEST_SCORE)
            return HeardDigits(score, self.threshold, " ".join(map(str, heard_digits(frames))))

        return self._admission.run(job)

    def frames(self, waveform: Waveform) -> Frames:
        """Log-probabilities of the tokens, float32 (frames, TOKENS), of one waveform; for measurements."""
        return self._admission.run(lambda options: self._run(waveform, options))

    def close(self) -> None:
        """Let what runs end, turn away what waits. Closing twice does no harm."""
        self._admission.close()

    def _run(self, waveform: Waveform, options: Any) -> Frames:
        found: Frames = self._session.run(["tokens"], {"waveform": waveform[None, :]}, options)[0][0]
        return found


def summary(frames: Frames) -> Embedding:
    """What golden.npz keeps of the frames: their mean, at unit length; float32 (TOKENS,)."""
    mean = frames.mean(axis=0)
    found: Embedding = (mean / np.linalg.norm(mean)).astype(np.float32)
    return found


def write_threshold(folder: Path, manifest: Manifest, threshold: float, measured: dict[str, Any]) -> None:
    """Write digits.json, with the threshold and what was measured at it, and its hash into the manifest."""
    content = json.dumps({"threshold": threshold, "measured": measured}, indent=1) + "\n"
    (folder / RULE).write_text(content, encoding="utf-8")
    replace(manifest, calibration_sha256=sha256_of(folder / RULE)).write(folder)


def _read_threshold(folder: Path, manifest: Manifest) -> float:
    data = file_bytes(folder, RULE)
    try:
        threshold = float(json.loads(data)["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelInvalid(str(folder), f"{RULE} cannot be read: {error!r}") from error
    if sha256_of_bytes(data) != manifest.calibration_sha256:
        raise ModelInvalid(str(folder), f"{RULE} is not the one whose SHA-256 stands in manifest.json")
    if not (math.isfinite(threshold) and LOWEST_SCORE < threshold < 0):
        raise ModelInvalid(str(folder), f"the threshold in {RULE} is {threshold}, which is no score")
    return threshold


def _check_signature(session: Any, folder: Path) -> None:
    (taken, *more), (given, *others) = session.get_inputs(), session.get_outputs()
    names = [taken.name, *(each.name for each in more)], [given.name, *(each.name for each in others)]
    shape = [size if isinstance(size, int) else None for size in given.shape]
    kinds = {taken.type, given.type}
    if names != (["waveform"], ["tokens"]) or kinds != {"tensor(float)"} or shape != [None, None, TOKENS]:
        problem = f"it is no digit model: {names[0]} → {names[1]} {given.shape}, not waveform → tokens"
        raise ModelInvalid(str(folder), problem)

"""Similarity → score: what a model's calibration.json says, and what was measured of it."""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from app.errors import ValidationFailed

FORMAT: Final = 2
"""The version of calibration.json that is read here; the first had thresholds on the similarity."""
_RULE_OF_THREE: Final = 3.0
_EXTENT: Final = frozenset({"speech_range_s", "centre"})

Interval: TypeAlias = tuple[float, float]
"""95 % confidence interval of a rate, lower end first, in [0, 1]."""


@dataclass(frozen=True)
class ScoreModel:
    """Turns a similarity into a log-likelihood ratio, natural log.

    A short recording says less: the same cosine is worth another score there. With
    q = ln(seconds of speech, held inside `speech_range_s`) - centre, of the recording (q_t) and of what
    the speaker was enrolled with (q_e), and s the similarity:

        score = offset + similarity s + speech q_t + enrolled q_e
                + similarity_x_speech s q_t + similarity_x_enrolled s q_e

    Attributes:
        offset: Score of a similarity of 0.
        similarity: Rise of the score for each unit of similarity.
        speech: For each unit of q_t.
        enrolled: For each unit of q_e.
        similarity_x_speech: For each unit of s q_t.
        similarity_x_enrolled: For each unit of s q_e.
        speech_range_s: The durations that were fitted, in seconds; shorter and longer ones count as its ends.
        centre: A logarithm of seconds, subtracted from every ln(seconds).

    Raises:
        ValueError: A number is not finite, the range is none, or somewhere in it a higher
            similarity would not mean a higher score.

    Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection",
        Computer Speech and Language 20, 2006; durations as quality measures after M. I. Mandasari et al.,
        "Quality measure functions for calibration of speaker recognition systems in various duration
        conditions", IEEE TASLP 21, 2013.
    """

    offset: float
    similarity: float
    speech: float = 0.0
    enrolled: float = 0.0
    similarity_x_speech: float = 0.0
    similarity_x_enrolled: float = 0.0
    speech_range_s: tuple[float, float] = (0.25, 60.0)
    centre: float = 0.0

    def __post_init__(self) -> None:
        shortest, longest = self.speech_range_s
        if not np.isfinite((*astuple(self)[:6], shortest, longest, self.centre)).all():
            raise ValueError("every number of a score model is finite")
        if not 0.0 < shortest <= longest:
            raise ValueError("speech_range_s rises from a duration above 0")
        # The slope is linear in both q, so what holds in the corners holds everywhere between them.
        for enrolled_s, speech_s in itertools.product(self.speech_range_s, repeat=2):
            if not self._slope(self._q(enrolled_s), self._q(speech_s)) > 0.0:
                raise ValueError(
                    f"at {speech_s:g} s of speech against {enrolled_s:g} s enrolled, "
                    "the score does not rise with the similarity"
                )

    def llr(
        self, similarity: npt.ArrayLike, enrolled_speech_s: npt.ArrayLike, speech_s: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """Scores similarities; the arguments broadcast against each other.

        Args:
            similarity: Cosines, in [-1, 1].
            enrolled_speech_s: Speech behind the speaker's centroid, in seconds.
            speech_s: Speech in the recording, in seconds.

        Returns:
            float64 of the common shape (a scalar for scalars): log-likelihood ratios, natural log; above
            0 where the trials speak for the same voice. NaN where an argument is.
        """
        s = np.asarray(similarity, dtype=np.float64)
        q_e, q_t = self._q(enrolled_speech_s), self._q(speech_s)
        # As level + slope s, and not as six terms: rounding cannot turn two similarities around.
        level = self.offset + self.speech * q_t + self.enrolled * q_e
        return np.asarray(level + self._slope(q_e, q_t) * s, dtype=np.float64)[()]

    def _q(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        held = np.clip(np.asarray(seconds, dtype=np.float64), *self.speech_range_s)
        return np.asarray(np.log(held) - self.centre)

    def _slope(self, q_e: npt.NDArray[np.float64], q_t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.similarity + self.similarity_x_speech * q_t + self.similarity_x_enrolled * q_e


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what is expected of it.

    Attributes:
        fmr: Expected false-match rate, in [0, 1].
        fnmr: Expected false-non-match rate, in [0, 1].
        threshold: The least score that is accepted.
        fmr_interval: Where the false-match rate lies at 95 % confidence.
        fnmr_interval: Where the false-non-match rate lies at 95 % confidence.
        source: The trials it was measured on, in words.
        target_trials: Number of same-speaker trials.
        impostor_trials: Number of different-speaker trials.
    """

    fmr: float
    fnmr: float
    threshold: float
    fmr_interval: Interval
    fnmr_interval: Interval
    source: str
    target_trials: int
    impostor_trials: int


@dataclass(frozen=True)
class Calibration:
    """What a model's calibration.json says; the points stand in the order of their fmr.

    Attributes:
        model_sha256: Hash of the model.onnx whose similarities were fitted.
        source: The trials, in words.
        score: From similarity and seconds of speech to the score.
        target_trials: Number of same-speaker trials.
        impostor_trials: Number of different-speaker trials.
        speakers: Number of speakers in the trials, none of whom the model was trained on.
        eer: Equal-error rate of the score, in [0, 1].
        cllr: Cost of the score as a log-likelihood ratio, cross-validated by speaker, in bits.
        min_cllr: The same after the best monotone recalibration: what discrimination alone costs.
        operating_points: By rising false-match rate.
    """

    model_sha256: str
    source: str
    score: ScoreModel
    target_trials: int
    impostor_trials: int
    speakers: int
    eer: float
    cllr: float
    min_cllr: float
    operating_points: tuple[OperatingPoint, ...]

    @property
    def least_fmr(self) -> float:
        """The least false-match rate that this many impostor trials can support.

        No error in n trials still leaves a rate of up to 3/n at 95 % confidence.
        Source: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983.
        """
        return _RULE_OF_THREE / self.impostor_trials

    def at_fmr(self, target_fmr: float) -> OperatingPoint:
        """The supported point that comes nearest to a false-match rate without exceeding it.

        Args:
            target_fmr: Wanted false-match rate, in (0, 1).

        Raises:
            ValidationFailed: The rate is outside (0, 1), or the trials support no point at or below it.
        """
        if not 0.0 < target_fmr < 1.0:
            raise ValidationFailed("target_fmr", "it must lie between 0 and 1")
        supported = [p for p in self.operating_points if self.least_fmr <= p.fmr <= target_fmr]
        if not supported:
            least = min((p.fmr for p in self.operating_points if p.fmr >= self.least_fmr), default=1.0)
            raise ValidationFailed(
                "target_fmr",
                f"the {self.impostor_trials} impostor trials of '{self.source}' support {least:g} and above",
            )
        return max(supported, key=lambda point: point.fmr)


def load_calibration(path: Path) -> Calibration:
    """Reads a model's calibration.json.

    Raises:
        ValueError: It cannot be read, is of another format, lacks a key or makes no sense.
    """
    try:
        return _calibration(json.loads(path.read_text(encoding="utf-8")))
    except KeyError as missing:
        raise ValueError(f"{path.name} lacks the key {missing}") from missing
    except (OSError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path.name} is not a calibration: {problem}") from problem


def _calibration(data: Mapping[str, Any]) -> Calibration:
    if data.get("format") != FORMAT:
        raise ValueError(f"calibration.json has format {data.get('format', 1)}, and only {FORMAT} is read")
    source = str(data["source"])
    target, impostor, speakers = (int(data["trials"][kind]) for kind in ("target", "impostor", "speakers"))
    points = [_point(p, source, target, impostor) for p in data["operating_points"]]
    eer, cllr, min_cllr = (float(data[key]) for key in ("eer", "cllr", "min_cllr"))
    if min(target, impostor, speakers) < 1 or not points:
        raise ValueError("a calibration needs trials of both kinds, speakers and an operating point")
    if not 0.0 <= eer <= 1.0 or not all(0.0 <= cost < math.inf for cost in (cllr, min_cllr)):
        raise ValueError("a calibration's EER lies in [0, 1], its costs are finite and not below 0")
    points.sort(key=lambda point: point.fmr)
    return Calibration(
        model_sha256=str(data["model_sha256"]),
        source=source,
        score=_score_model(data["score"]),
        target_trials=target,
        impostor_trials=impostor,
        speakers=speakers,
        eer=eer,
        cllr=cllr,
        min_cllr=min_cllr,
        operating_points=tuple(points),
    )


def _score_model(data: Mapping[str, Any]) -> ScoreModel:
    weights = {f.name: float(data[f.name]) for f in fields(ScoreModel) if f.name not in _EXTENT}
    shortest, longest = data["speech_range_s"]
    return ScoreModel(
        **weights, speech_range_s=(float(shortest), float(longest)), centre=float(data["centre"])
    )


def _point(data: Mapping[str, Any], source: str, target: int, impostor: int) -> OperatingPoint:
    fmr, fnmr, threshold = float(data["fmr"]), float(data["fnmr"]), float(data["threshold"])
    intervals = [tuple(map(float, data[key])) for key in ("fmr_interval", "fnmr_interval")]
    (fmr_low, fmr_high), (fnmr_low, fnmr_high) = intervals
    if not all(0.0 <= rate <= 1.0 for rate in (fmr, fnmr)) or not math.isfinite(threshold):
        raise ValueError("a calibration's rates lie in [0, 1] and its thresholds are finite")
    if not (0.0 <= fmr_low <= fmr_high <= 1.0 and 0.0 <= fnmr_low <= fnmr_high <= 1.0):
        raise ValueError("a calibration's intervals lie in [0, 1], lower end first")
    return OperatingPoint(
        fmr, fnmr, threshold, (fmr_low, fmr_high), (fnmr_low, fnmr_high), source, target, impostor
    )

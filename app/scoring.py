"""Embeddings → score → decision: pure functions, no state, no audio."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from app.arrays import Embedding, Embeddings
from app.errors import ValidationFailed

VerifyDecision: TypeAlias = Literal["accept", "reject"]
IdentifyDecision: TypeAlias = Literal["match", "unknown", "ambiguous"]

_VANISHING: Final = 1e-6
"""A vector shorter than this has no direction left that float32 embeddings could vouch for."""
_RULE_OF_THREE: Final = 3.0


class Candidate(NamedTuple):
    """A speaker who may be the voice; similarity is the cosine to the centroid, in [-1, 1]."""

    speaker_id: str
    similarity: float


def unit(vector: npt.ArrayLike) -> Embedding:
    """Scales a vector to unit Euclidean length.

    Args:
        vector: Shape (dim,), finite, not zero.

    Returns:
        float32, shape (dim,), length 1.

    Raises:
        ValueError: The vector is not one-dimensional, not finite or has no direction.
    """
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if values.ndim != 1 or not np.isfinite(length) or length == 0.0:
        raise ValueError("only a finite vector other than zero, shape (dim,), has a direction")
    return (values / length).astype(np.float32)


def centroid(embeddings: Embeddings, weights: npt.ArrayLike | None = None) -> Embedding:
    """The direction of the weighted mean of embeddings: what stands for a speaker.

    Each embedding counts with unit length, so a loud direction cannot outvote the others.
    Embeddings that cancel each other out have no mean direction; then the one with the
    greatest weight stands (the first of equals), so that every set of takes has a centroid.

    Args:
        embeddings: float32, shape (count, dim), count at least 1.
        weights: Shape (count,), above 0: seconds of speech. None counts all alike.

    Returns:
        float32, shape (dim,), unit length.

    Raises:
        ValueError: No embeddings, shapes that do not fit, or weights that are not above 0.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError("a centroid needs embeddings of shape (count, dim), at least one")
    share = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(rows),) or not np.all((share > 0) & np.isfinite(share)):
        raise ValueError("a centroid needs one weight above 0 for each embedding")
    units = np.stack([unit(row) for row in rows]).astype(np.float64)
    mean = (share / share.sum()) @ units
    return unit(mean if np.linalg.norm(mean) > _VANISHING else units[int(np.argmax(share))])


def cosine(a: Embedding, b: Embedding) -> float:
    """Similarity of two embeddings: the cosine of the angle between them, in [-1, 1].

    Raises:
        ValueError: The shapes differ, or one of them has no direction.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"embeddings of shapes {np.shape(a)} and {np.shape(b)} cannot be compared")
    return float(np.clip(np.dot(unit(a).astype(np.float64), unit(b).astype(np.float64)), -1.0, 1.0))


# ---------------------------------------------------------------- operating points


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what was measured at it.

    Attributes:
        fmr: False-match rate, in [0, 1].
        fnmr: False-non-match rate, in [0, 1].
        threshold: The least value on `scale` that is accepted.
        scale: What the threshold is compared with: "similarity".
        source: The trials it was measured on, in words.
        target_trials: Number of same-speaker trials.
        impostor_trials: Number of different-speaker trials.
    """

    fmr: float
    fnmr: float
    threshold: float
    scale: str
    source: str
    target_trials: int
    impostor_trials: int


@dataclass(frozen=True)
class Calibration:
    """What a model's calibration.json says; the points stand in the order of their fmr."""

    model_sha256: str
    scale: str
    source: str
    target_trials: int
    impostor_trials: int
    eer: float
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
        ValueError: It cannot be read, a key is missing or a value makes no sense.
    """
    try:
        return _calibration(json.loads(path.read_text(encoding="utf-8")))
    except KeyError as missing:
        raise ValueError(f"{path.name} lacks the key {missing}") from missing
    except (OSError, TypeError, AttributeError) as problem:
        raise ValueError(f"{path.name} is not a calibration: {problem}") from problem


def _calibration(data: Mapping[str, Any]) -> Calibration:
    scale, source = str(data["scale"]), str(data["source"])
    target, impostor = int(data["trials"]["target"]), int(data["trials"]["impostor"])
    points = [
        OperatingPoint(
            float(p["fmr"]), float(p["fnmr"]), float(p["threshold"]), scale, source, target, impostor
        )
        for p in data["operating_points"]
    ]
    eer = float(data["eer"])
    rates = [eer, *(rate for p in points for rate in (p.fmr, p.fnmr))]
    if target < 1 or impostor < 1 or not points:
        raise ValueError("a calibration needs trials of both kinds and at least one operating point")
    if not all(0.0 <= rate <= 1.0 for rate in rates) or not all(np.isfinite(p.threshold) for p in points):
        raise ValueError("a calibration's rates lie in [0, 1] and its thresholds are finite")
    points.sort(key=lambda point: point.fmr)
    return Calibration(str(data["model_sha256"]), scale, source, target, impostor, eer, tuple(points))


# ---------------------------------------------------------------- decisions


def verify_decision(similarity: float, threshold: float) -> VerifyDecision:
    """Accepts at the threshold and above; a value that is no number is rejected."""
    return "accept" if similarity >= threshold else "reject"


def identify_decision(
    candidates: Sequence[Candidate], threshold: float, min_margin: float
) -> tuple[IdentifyDecision, float | None]:
    """Decides an open-set identification.

    Args:
        candidates: In any order; none at all for an empty gallery.
        threshold: The least similarity of a match.
        min_margin: The least lead over the runner-up, in similarity, at least 0.

    Returns:
        The decision and the margin, which is None with fewer than two candidates:
        `unknown` when nobody reaches the threshold, `ambiguous` when the best does but
        leads by less than min_margin, `match` otherwise.
    """
    best, *others = sorted((c.similarity for c in candidates), reverse=True) or [-np.inf]
    margin = best - others[0] if others else None
    if not best >= threshold:
        return "unknown", margin
    return ("ambiguous" if margin is not None and margin < min_margin else "match"), margin

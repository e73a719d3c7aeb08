"""What a calibration.json says: the score, what was measured of it, which errors it can promise."""

import json
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from app.errors import UnsupportedRate, ValidationFailed
from app.scoring.points import (
    Det,
    OperatingPoint,
    SearchPoint,
    between,
    fmr_of,
    fpir_of,
    largest_gallery,
    rounded_up,
)
from app.scoring.rates import RULE_OF_THREE
from app.scoring.score import ScoreModel

FORMAT: Final = 2
"""The version of calibration.json that is read here; the first had thresholds on the similarity."""
_EXTENT: Final = frozenset({"speech_range_s", "centre"})


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
        det: The curve between and below them; empty in a file without one.
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
    det: Det = field(default_factory=Det)

    @property
    def least_fmr(self) -> float:
        """The least false-match rate that this many impostor trials can support.

        No error in n trials still leaves a rate of up to 3/n at 95 % confidence.
        Source: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983.
        """
        return RULE_OF_THREE / self.impostor_trials

    @property
    def strictest(self) -> OperatingPoint | None:
        """The supported point with the least false-match rate; None when the trials support none."""
        written = min(self._supported(1.0), key=lambda point: point.fmr, default=None)
        place = bisect_right(self.det.fmr, -self.least_fmr, key=lambda rate: -rate) - 1
        if place < 0 or (written is not None and written.fmr <= self.det.fmr[place]):
            return written
        return between(self.det, self.det.fmr.index(self.det.fmr[place]), self.operating_points)

    def at_fmr(self, target_fmr: float, name: str = "target_fmr") -> OperatingPoint:
        """The supported point that comes nearest to a false-match rate without exceeding it.

        Args:
            target_fmr: Wanted false-match rate of one comparison, in (0, 1).
            name: What a refusal calls it.

        Raises:
            ValidationFailed: The rate is outside (0, 1).
            UnsupportedRate: The trials support no point at or below it.
        """
        point = self._nearest(_rate(target_fmr, name))
        if point is not None:
            return point
        strictest = self.strictest
        raise UnsupportedRate(
            field=name,
            asked=target_fmr,
            least_supported=rounded_up(strictest.fmr) if strictest else 1.0,
            impostor_trials=self.impostor_trials,
            gallery_size=None,
            largest_gallery=None,
            problem=f"the {self.impostor_trials} impostor trials of '{self.source}' do not support it",
        )

    def at_fpir(self, target_fpir: float, gallery_size: int, name: str = "target_fpir") -> SearchPoint:
        """The supported point at which a search errs at most so often on voices that nobody has.

        Args:
            target_fpir: Wanted false-positive identification rate of the whole search, in (0, 1).
            gallery_size: Speakers searched; an empty gallery gets the threshold of one speaker.
            name: What a refusal calls the rate.

        Raises:
            ValidationFailed: The rate is outside (0, 1).
            UnsupportedRate: The trials support it in smaller galleries only, or in none.
        """
        point = self._nearest(fmr_of(_rate(target_fpir, name), gallery_size))
        if point is not None:
            return SearchPoint.of(point, gallery_size)
        least = 1.0 if self.strictest is None else self.strictest.fmr
        most = largest_gallery(least, target_fpir)
        galleries = f"in galleries of at most {most} speakers" if most else "in no gallery"
        raise UnsupportedRate(
            field=name,
            asked=target_fpir,
            least_supported=rounded_up(fpir_of(least, max(gallery_size, 1))),
            impostor_trials=self.impostor_trials,
            gallery_size=gallery_size,
            largest_gallery=most,
            problem=f"{self.impostor_trials} impostor trials support it {galleries}, "
            f"and {gallery_size} are searched",
        )

    def at_fnmr(self, target_fnmr: float) -> OperatingPoint | None:
        """The strictest supported point that turns away at most this share of the right voices.

        Args:
            target_fnmr: In (0, 1).

        Returns:
            None when the trials support no point at or below it.
        """
        least = RULE_OF_THREE / self.target_trials
        written = [p for p in self.operating_points if least <= p.fnmr <= target_fnmr]
        found = max(written, key=lambda point: point.threshold, default=None)
        place = bisect_right(self.det.fnmr, target_fnmr) - 1
        if place < 0 or self.det.fnmr[place] < least:
            return found
        if found is not None and found.threshold >= self.det.threshold[place]:
            return found
        return between(self.det, place, self.operating_points)

    def _supported(self, fmr: float) -> list[OperatingPoint]:
        return [p for p in self.operating_points if self.least_fmr <= p.fmr <= fmr]

    def _nearest(self, fmr: float) -> OperatingPoint | None:
        """The supported point with the highest false-match rate up to `fmr`, written or on the curve."""
        written = max(self._supported(fmr), key=lambda point: point.fmr, default=None)
        place = self.det.place_of(fmr)
        if place is None or self.det.fmr[place] < self.least_fmr:
            return written
        if written is not None and written.fmr >= self.det.fmr[place]:
            return written
        return between(self.det, place, self.operating_points)


def _rate(value: float, name: str) -> float:
    if not 0.0 < value < 1.0:
        raise ValidationFailed(name, "it must lie between 0 and 1")
    return value


def load_calibration(path: Path) -> Calibration:
    """Reads a model's calibration.json.

    Raises:
        ValueError: It cannot be read, is of another format, lacks a key or makes no sense.
    """
    try:
        return parse_calibration(path.read_bytes(), path.name)
    except OSError as problem:
        raise ValueError(f"{path.name} is not a calibration: {problem}") from problem


def parse_calibration(data: bytes, name: str = "calibration.json") -> Calibration:
    """The same from the bytes of the file.

    Raises:
        ValueError: They are no JSON, of another format, lack a key or make no sense.
    """
    try:
        return read_calibration(json.loads(data.decode()), name)
    except RecursionError as problem:
        raise ValueError(f"{name} is not a calibration: {problem}") from problem


def read_calibration(content: Mapping[str, Any], name: str = "calibration.json") -> Calibration:
    """The same from content that was read already.

    Args:
        content: What `calibration_content` wrote.
        name: What a refusal calls it.

    Raises:
        ValueError: It is of another format, lacks a key or makes no sense.
    """
    try:
        return _calibration(content)
    except KeyError as missing:
        raise ValueError(f"{name} lacks the key {missing}") from missing
    except (TypeError, AttributeError) as problem:
        raise ValueError(f"{name} is not a calibration: {problem}") from problem


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
        det=_det(data.get("det", {})),
    )


def _det(data: Mapping[str, Any]) -> Det:
    columns = [[float(value) for value in data.get(key, ())] for key in ("threshold", "fmr", "fnmr")]
    if len({len(column) for column in columns}) != 1:
        raise ValueError("a calibration's DET curve has as many rates as thresholds")
    # Older files end at an infinite threshold, at which nobody passes.
    rows = [row for row in zip(*columns, strict=True) if row[0] < math.inf]
    threshold, fmr, fnmr = zip(*rows, strict=True) if rows else ((), (), ())
    return Det(threshold, fmr, fnmr)


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

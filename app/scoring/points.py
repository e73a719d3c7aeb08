"""Operating points: a threshold and the errors to expect at it, of one comparison and of a whole search."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

_Z: Final = 1.96
"""Standard deviations on either side of a 95 % interval."""

Interval: TypeAlias = tuple[float, float]
"""95 % confidence interval of a rate, lower end first, in [0, 1]."""


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
class SearchPoint:
    """An operating point in a search among several speakers.

    Attributes:
        point: Of each single comparison.
        gallery_size: Speakers that the recording is compared with.
        fpir: Expected false-positive identification rate, in [0, 1]: how often somebody reaches the
            threshold when the voice is nobody's in the gallery. See `fpir_of`.
        fpir_interval: Where it lies at 95 % confidence.
    """

    point: OperatingPoint
    gallery_size: int
    fpir: float
    fpir_interval: Interval

    @classmethod
    def of(cls, point: OperatingPoint, gallery_size: int) -> "SearchPoint":
        """What a point of one comparison comes to in a gallery of this size, 0 or more."""
        low, high = (fpir_of(end, gallery_size) for end in point.fmr_interval)
        return cls(point, gallery_size, fpir_of(point.fmr, gallery_size), (low, high))


@dataclass(frozen=True)
class Det:
    """The DET curve: rates at many thresholds, which rise; FMR falls with them and FNMR rises."""

    threshold: tuple[float, ...] = ()
    fmr: tuple[float, ...] = ()
    fnmr: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.threshold, *self.fmr, *self.fnmr)):
            raise ValueError("every number of a DET curve is finite")
        falling = tuple(-rate for rate in self.fmr)
        if any(list(column) != sorted(column) for column in (self.threshold, falling, self.fnmr)):
            raise ValueError("along a DET curve thresholds and FNMR rise and FMR falls")
        if any(not 0.0 <= rate <= 1.0 for rate in (*self.fmr, *self.fnmr)):
            raise ValueError("the rates of a DET curve lie in [0, 1]")

    def place_of(self, fmr: float) -> int | None:
        """The first place whose false-match rate is `fmr` or less; None beyond the end."""
        place = bisect_left(self.fmr, -fmr, key=lambda rate: -rate)
        return place if place < len(self.fmr) else None


def fpir_of(fmr: float, gallery_size: int) -> float:
    """False-positive identification rate of a search in which every comparison errs with `fmr`.

    1 - (1 - fmr)^gallery_size, as if one comparison knew nothing of the next. Those of one recording are
    alike: a voice that is taken for one speaker is the more easily taken for another. So the same errors
    fall on fewer recordings, and a search errs less often than this says (docs/decisions/0014).

    Args:
        fmr: Of one comparison, in [0, 1].
        gallery_size: Comparisons, at least 0.
    """
    return (
        1.0 if fmr >= 1.0 and gallery_size else -math.expm1(gallery_size * math.log1p(-min(fmr, 1 - 1e-16)))
    )


def fmr_of(fpir: float, gallery_size: int) -> float:
    """The false-match rate of one comparison with which a search keeps to `fpir`; undoes `fpir_of`.

    Args:
        fpir: In (0, 1).
        gallery_size: Comparisons; an empty gallery counts as one speaker.
    """
    return fpir if gallery_size <= 1 else -math.expm1(math.log1p(-fpir) / gallery_size)


def largest_gallery(fmr: float, fpir: float) -> int:
    """The most speakers among whom comparisons of `fmr` keep a search to `fpir`, in (0, 1)."""
    if fmr >= 1.0:
        return 0
    most = int(math.log1p(-fpir) / math.log1p(-fmr))
    # Rounding may have moved it by one; what counts is what `fmr_of` will allow.
    return next(size for size in (most + 1, most, most - 1) if size < 1 or fmr_of(fpir, size) >= fmr)


def between(det: Det, place: int, written: Iterable[OperatingPoint]) -> OperatingPoint:
    """A point of the curve, with intervals as wide as those of the nearest written point.

    That one's interval comes from drawing speakers anew and says how many independent trials its trials
    were worth. As many are taken for this point; towards lower rates they would rather be more.

    Args:
        det: The curve.
        place: Which of its points.
        written: The points with intervals, at least one.
    """
    fmr, fnmr = det.fmr[place], det.fnmr[place]
    near = min(written, key=lambda point: abs(math.log(max(point.fmr, 1e-9) / max(fmr, 1e-9))))
    passing = _worth(near.fmr, near.fmr_interval, near.impostor_trials)
    missing = _worth(near.fnmr, near.fnmr_interval, near.target_trials)
    return OperatingPoint(
        fmr,
        fnmr,
        det.threshold[place],
        wilson_interval(fmr, passing),
        wilson_interval(fnmr, missing),
        near.source,
        near.target_trials,
        near.impostor_trials,
    )


def _worth(rate: float, interval: Interval, trials: int) -> float:
    """How many independent trials would give an interval of this width."""
    width = interval[1] - interval[0]
    return min(4 * _Z**2 * rate * (1 - rate) / width**2, trials) if width > 0 and 0 < rate < 1 else trials


def wilson_interval(rate: float, trials: float) -> Interval:
    """95 % interval of a rate that was found in so many independent trials.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        JASA 22, 1927.
    """
    spread = _Z**2 / max(trials, 1.0)
    middle = rate + spread / 2
    half = math.sqrt(spread * rate * (1 - rate) + spread**2 / 4)
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def rounded_up(rate: float) -> float:
    """A rate in four digits that is not below it, in (0, 1]: what can be said and then asked for."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 3)
    near = float(f"{rate:.4g}")
    return min(near if near >= rate else float(f"{near + unit:.4g}"), 1.0)

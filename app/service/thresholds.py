"""The threshold of a decision: the caller's own, or the one that the trials give."""

from dataclasses import dataclass

from app.errors import ConflictingParameters
from app.scoring import Calibration, OperatingPoint


@dataclass(frozen=True)
class Threshold:
    """The least score that passes, and the operating point that it stands for when it came from trials."""

    value: float
    operating_point: OperatingPoint | None


def choose(
    calibration: Calibration, *, threshold: float | None, target_fmr: float | None, default_fmr: float
) -> Threshold:
    """Choose the threshold of one decision.

    Args:
        calibration: The operating points of the serving model.
        threshold: The caller's own score, finite.
        target_fmr: The false-match rate that the caller asks for, in (0, 1).
        default_fmr: The false-match rate when the caller says nothing.

    Returns:
        The threshold; a caller's own has no operating point, because nothing was measured at it.

    Raises:
        ConflictingParameters: Both a threshold and a rate were given.
        ValidationFailed: The trials are too few to support the rate.
    """
    if threshold is not None and target_fmr is not None:
        raise ConflictingParameters("threshold", "target_fmr")
    if threshold is not None:
        return Threshold(threshold, None)
    point = calibration.at_fmr(default_fmr if target_fmr is None else target_fmr)
    return Threshold(point.threshold, point)

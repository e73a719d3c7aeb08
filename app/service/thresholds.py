"""The threshold of a decision: the caller's own, or the one that the trials give."""

from dataclasses import dataclass
from typing import Literal

from app.errors import ConflictingParameters
from app.scoring import Calibration, OperatingPoint, SearchPoint


@dataclass(frozen=True)
class Threshold:
    """The least score that passes, and the operating point that it stands for when it came from trials."""

    value: float
    operating_point: OperatingPoint | None
    origin: Literal["caller", "rate", "policy"] = "policy"
    """Who chose it: a threshold of the caller's, a rate that the caller asked for, or the tenant's policy."""
    search: SearchPoint | None = None
    """What the operating point comes to in the whole search; None in a verification."""


def choose(
    calibration: Calibration, *, threshold: float | None, target_fmr: float | None, default_fmr: float
) -> Threshold:
    """Choose the threshold of one comparison.

    Args:
        calibration: The operating points in force.
        threshold: The caller's own score, finite.
        target_fmr: The false-match rate that the caller asks for, in (0, 1).
        default_fmr: The false-match rate when the caller says nothing.

    Returns:
        The threshold; a caller's own has no operating point, because nothing was measured at it.

    Raises:
        ConflictingParameters: Both a threshold and a rate were given.
        UnsupportedRate: The trials are too few to support the rate.
    """
    if threshold is not None and target_fmr is not None:
        raise ConflictingParameters("threshold", "target_fmr")
    if threshold is not None:
        return Threshold(threshold, None, "caller")
    point = calibration.at_fmr(default_fmr if target_fmr is None else target_fmr)
    return Threshold(point.threshold, point, "policy" if target_fmr is None else "rate")


def check_search_parameters(threshold: float | None, target_fpir: float | None) -> None:
    """Refuse a search that is told twice where its threshold stands.

    Raises:
        ConflictingParameters: Both a threshold and a rate were given.
    """
    if threshold is not None and target_fpir is not None:
        raise ConflictingParameters("threshold", "target_fpir")


def choose_for_search(
    calibration: Calibration,
    gallery_size: int,
    *,
    threshold: float | None,
    target_fpir: float | None,
    default_fpir: float | None,
    default_fmr: float,
) -> Threshold:
    """Choose the threshold of a search among so many speakers.

    Args:
        calibration: The operating points in force.
        gallery_size: Speakers searched.
        threshold: The caller's own score, finite.
        target_fpir: The false-positive identification rate that the caller asks for, in (0, 1).
        default_fpir: The one when the caller says nothing; None leaves it to `default_fmr`.
        default_fmr: The false-match rate of one comparison where no rate of the search is asked for.

    Returns:
        The threshold with what it comes to in this gallery, whoever chose it.

    Raises:
        ConflictingParameters: Both a threshold and a rate were given.
        UnsupportedRate: The trials are too few to support the rate in a gallery of this size.
    """
    check_search_parameters(threshold, target_fpir)
    if threshold is not None:
        return Threshold(threshold, None, "caller")
    origin: Literal["rate", "policy"] = "policy" if target_fpir is None else "rate"
    wanted = default_fpir if target_fpir is None else target_fpir
    if wanted is None:
        search = SearchPoint.of(calibration.at_fmr(default_fmr), gallery_size)
    else:
        search = calibration.at_fpir(wanted, gallery_size)
    return Threshold(search.point.threshold, search.point, origin, search)

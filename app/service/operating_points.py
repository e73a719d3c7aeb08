"""The thresholds that can be asked for, the rates that are expected there, and those that came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import UnsupportedRate
from app.scoring import Calibration, OperatingPoint, SearchPoint
from app.scoring.points import fpir_of, rounded_up
from app.service.call import Call
from app.service.feedback import Observed, observed
from app.service.policy import Policy
from app.service.trace import stage

RATES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Rates that are listed when none is asked for, as far as they are supported."""


@dataclass(frozen=True)
class OperatingPoints:
    """What can be promised now."""

    calibration: Calibration
    own: bool
    """The calibration is the tenant's, not the model's."""
    verify_default: OperatingPoint | None
    """Where the policy puts the threshold of a verification; None where its rate is not supported."""
    verify: tuple[OperatingPoint, ...]
    least_fmr: float
    """No lower false-match rate can be promised."""
    gallery_size: int
    identify_default: SearchPoint | None
    """Where it puts that of a search of this gallery; None where its rate is not supported."""
    identify: tuple[SearchPoint, ...]
    least_fpir: float
    """No lower false-positive identification rate can be promised in a gallery of this size."""
    observed: Observed


def operating_points(
    call: Call,
    *,
    target_fmr: float | None = None,
    target_fpir: float | None = None,
    gallery_size: int | None = None,
) -> OperatingPoints:
    """List the thresholds that can be asked for.

    Args:
        call: For whom.
        target_fmr: List the verification at this rate alone.
        target_fpir: List the search at this rate alone.
        gallery_size: Speakers searched; those enrolled when not given.

    Raises:
        UnsupportedRate: A rate that was asked for cannot be promised.
        StorageUnavailable: The database does not answer.
    """
    calibration, policy = call.calibration, call.policy
    if gallery_size is None:
        gallery_size = _enrolled(call)
    least = calibration.strictest.fmr if calibration.strictest is not None else 1.0
    if policy.target_fpir is None:
        compared = _at_fmr(calibration, (policy.target_fmr,))
        defaults = tuple(SearchPoint.of(point, gallery_size) for point in compared)
    else:
        defaults = _at_fpir(calibration, (policy.target_fpir,), gallery_size)
    return OperatingPoints(
        calibration=calibration,
        own=calibration is not call.serving.calibration,
        verify_default=next(iter(_at_fmr(calibration, (policy.target_fmr,))), None),
        verify=_at_fmr(calibration, RATES) if target_fmr is None else (calibration.at_fmr(target_fmr),),
        least_fmr=rounded_up(least),
        gallery_size=gallery_size,
        identify_default=next(iter(defaults), None),
        identify=_at_fpir(calibration, RATES, gallery_size)
        if target_fpir is None
        else (calibration.at_fpir(target_fpir, gallery_size),),
        least_fpir=rounded_up(fpir_of(least, max(gallery_size, 1))),
        observed=observed(call),
    )


def check_promises(call: Call, policy: Policy, calibration: Calibration) -> None:
    """Refuse rules whose error rates cannot be promised, in the gallery as large as it is now.

    Args:
        call: For whom.
        policy: The rules.
        calibration: What scores are to mean.

    Raises:
        UnsupportedRate: The trials are too few for a rate.
        StorageUnavailable: The database does not answer.
    """
    calibration.at_fmr(policy.target_fmr)
    if policy.target_fpir is not None:
        calibration.at_fpir(policy.target_fpir, _enrolled(call))


def _enrolled(call: Call) -> int:
    required_s = call.settings.required_speech_s
    with stage("store"):
        return call.repository.count_enrolled(call.tenant_id, call.model_id, required_s)


def _at_fmr(calibration: Calibration, rates: Sequence[float]) -> tuple[OperatingPoint, ...]:
    """The points of those rates that are supported, each threshold once."""
    found: dict[float, OperatingPoint] = {}
    for rate in rates:
        try:
            point = calibration.at_fmr(rate)
        except UnsupportedRate:
            continue
        found.setdefault(point.threshold, point)
    return tuple(found.values())


def _at_fpir(calibration: Calibration, rates: Sequence[float], gallery_size: int) -> tuple[SearchPoint, ...]:
    found: dict[float, SearchPoint] = {}
    for rate in rates:
        try:
            search = calibration.at_fpir(rate, gallery_size)
        except UnsupportedRate:
            continue
        found.setdefault(search.point.threshold, search)
    return tuple(found.values())

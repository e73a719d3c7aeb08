"""What the use cases about decisions and calibrations return → the JSON of the answers."""

from collections.abc import Sequence

from app.api.answers.voices import model_answer
from app.api.schemas.decisions import (
    CalibrationAnswer,
    CalibrationFigures,
    CalibrationInForce,
    CalibrationsAnswer,
    FeedbackAnswer,
    IdentifyPoints,
    ObservedAnswer,
    OperatingPointsAnswer,
    OwnCalibration,
    SearchPointOfGallery,
    VerifyPoints,
)
from app.api.schemas.service import OperatingPointOfModel
from app.scoring import OperatingPoint, SearchPoint, read_calibration
from app.service.call import Call
from app.service.feedback import Feedback
from app.service.operating_points import OperatingPoints
from app.service.trace import current
from app.store.calibrations import StoredCalibration


def feedback_answer(given: Feedback) -> FeedbackAnswer:
    """What was made of a feedback."""
    return FeedbackAnswer(
        kind=given.decided.kind,
        decision=given.decided.outcome,
        correct=given.correct,
        counted=given.counted,
        replaced=given.replaced,
        request_id=current().request_id,
    )


def operating_points_answer(call: Call, found: OperatingPoints) -> OperatingPointsAnswer:
    """What can be promised, and what came about."""
    measured = ("source", "speakers", "target_trials", "impostor_trials", "eer", "cllr", "min_cllr")
    facts = {name: getattr(found.calibration, name) for name in measured}
    return OperatingPointsAnswer(
        calibration=CalibrationInForce(own=found.own, **facts),
        verify=VerifyPoints(
            default=_point(found.verify_default),
            points=[OperatingPointOfModel.model_validate(point) for point in found.verify],
            least_fmr=found.least_fmr,
        ),
        identify=IdentifyPoints(
            gallery_size=found.gallery_size,
            default=_search(found.identify_default) if found.identify_default is not None else None,
            points=[_search(search) for search in found.identify],
            least_fpir=found.least_fpir,
            min_margin=call.policy.min_margin,
        ),
        observed=ObservedAnswer.model_validate(found.observed),
        model=model_answer(call),
        request_id=current().request_id,
    )


def calibration_answer(stored: StoredCalibration) -> CalibrationAnswer:
    """One calibration."""
    return CalibrationAnswer(**vars(_calibration(stored)), request_id=current().request_id)


def calibrations_answer(stored: Sequence[StoredCalibration], next_cursor: str | None) -> CalibrationsAnswer:
    """A page of calibrations."""
    return CalibrationsAnswer(
        calibrations=[_calibration(each) for each in stored],
        next_cursor=next_cursor,
        request_id=current().request_id,
    )


def _calibration(stored: StoredCalibration) -> OwnCalibration:
    content = read_calibration(stored.content)
    return OwnCalibration(
        calibration_id=stored.calibration_id,
        status=stored.status,
        model_id=stored.model_id,
        source=content.source,
        operating_points=[OperatingPointOfModel.model_validate(point) for point in content.operating_points],
        figures=CalibrationFigures.model_validate(stored.figures),
        created_at=stored.created_at,
        applied_at=stored.applied_at,
    )


def _point(point: OperatingPoint | None) -> OperatingPointOfModel | None:
    return None if point is None else OperatingPointOfModel.model_validate(point)


def _search(search: SearchPoint) -> SearchPointOfGallery:
    of_search = {"gallery_size": search.gallery_size, "fpir": search.fpir}
    return SearchPointOfGallery(**vars(search.point), **of_search, fpir_interval=search.fpir_interval)

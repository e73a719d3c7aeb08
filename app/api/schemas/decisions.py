"""The JSON about decisions: what was said of them, what can be promised, calibrations fitted on them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import SpeakerIdField
from app.api.schemas.common import Answer, Interval, Model, SearchPointAnswer
from app.api.schemas.service import OperatingPointOfModel


class FeedbackBody(BaseModel):
    """Who it really was."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    speaker_id: SpeakerIdField | None
    """Who spoke; null for somebody who is not enrolled."""


class FeedbackAnswer(Answer):
    """What was made of a feedback."""

    kind: Literal["verify", "identify"]
    """The call that decided."""
    decision: str
    """What it decided."""
    correct: bool
    """It was right."""
    counted: bool
    """It is kept; not of a search in which nobody was compared."""
    replaced: bool
    """It took the place of an earlier feedback about the same decision."""
    request_id: str


class ErrorShareAnswer(Answer):
    """How many of the confirmed decisions of one kind went wrong."""

    decisions: int
    """Confirmed decisions of this kind."""
    errors: int
    """Those that were wrong."""
    rate: float | None = Field(ge=0, le=1)
    """Their share; null without decisions."""
    interval: Interval | None
    """95 % confidence interval of `rate`, were the decisions independent of each other."""


class ObservedAnswer(Answer):
    """The errors of decisions that somebody confirmed or corrected, which need not be all of them."""

    fmr: ErrorShareAnswer
    """Verifications of another voice; errors were accepted."""
    fnmr: ErrorShareAnswer
    """Verifications of the right voice; errors were rejected."""
    fpir: ErrorShareAnswer
    """Searches for somebody who was not in the gallery; errors named somebody."""
    fnir: ErrorShareAnswer
    """Searches for somebody who was; errors did not name that speaker."""


class SearchPointOfGallery(SearchPointAnswer):
    """A threshold of a search."""

    threshold: float
    """Least score of a match."""


class CalibrationInForce(Answer):
    """What scores mean at present."""

    own: bool
    """Fitted on this tenant's trials and applied; otherwise the model's."""
    source: str
    """The trials."""
    speakers: int
    """Speakers in the trials."""
    target_trials: int
    impostor_trials: int
    eer: float = Field(ge=0, le=1)
    """Equal error rate on them."""
    cllr: float
    """Cost of the scores as log-likelihood ratios, in bits: 0 is perfect, 1 says nothing."""
    min_cllr: float
    """What it would be if every score were the best that its order allows."""


class VerifyPoints(Answer):
    """Thresholds of verifications."""

    default: OperatingPointOfModel | None
    """The one of the policy; null where its rate cannot be promised: then none is made by it."""
    points: list[OperatingPointOfModel]
    """By rising false-match rate."""
    least_fmr: float = Field(ge=0, le=1)
    """Least `target_fmr` that can be asked for."""


class IdentifyPoints(Answer):
    """Thresholds of searches in a gallery of this size."""

    gallery_size: int
    """Speakers searched."""
    default: SearchPointOfGallery | None
    """The one of the policy; null where its rate cannot be promised: then none is made by it."""
    points: list[SearchPointOfGallery]
    """By rising false-positive identification rate."""
    least_fpir: float = Field(ge=0, le=1)
    """Least `target_fpir` that can be asked for in a gallery of this size."""
    min_margin: float
    """Least lead of a match, by the policy."""


class OperatingPointsAnswer(Answer):
    """What can be promised, and what came about."""

    calibration: CalibrationInForce
    verify: VerifyPoints
    identify: IdentifyPoints
    observed: ObservedAnswer
    model: Model
    request_id: str


class TrialCounts(Answer):
    """Trials of both kinds."""

    target: int
    impostor: int


class OwnTrialCounts(Answer):
    """Where the trials come from."""

    confirmed: TrialCounts
    """Decisions that somebody confirmed."""
    gallery: TrialCounts
    """Comparisons inside the gallery."""


class ScoreCosts(Answer):
    """What scores cost on the tenant's trials."""

    eer: float = Field(ge=0, le=1)
    """Equal error rate."""
    cllr: float
    """In bits."""
    cllr_interval: tuple[float, float]
    """95 % confidence interval, by resampling speakers."""
    min_cllr: float
    """In bits."""


class RatesHere(Answer):
    """What a threshold does on the tenant's trials."""

    threshold: float
    fmr: float = Field(ge=0, le=1)
    fmr_interval: Interval
    fnmr: float = Field(ge=0, le=1)
    fnmr_interval: Interval


class ThresholdsCompared(Answer):
    """Both calibrations' thresholds for one promised rate."""

    fmr: float = Field(ge=0, le=1)
    """The false-match rate that is promised."""
    in_force: RatesHere | None
    """Null where the calibration in force promises no such rate."""
    proposed: RatesHere


class CalibrationFigures(Answer):
    """How a calibration compares with the one that was in force when it was fitted, on the same trials.

    The proposed scores are cross-validated: none is by a fit that saw a voice of its trial.
    """

    trials: OwnTrialCounts
    speakers: int
    """Speakers with target trials."""
    in_force: ScoreCosts
    proposed: ScoreCosts
    cllr_saved: float
    """Bits that the proposed scores cost less."""
    cllr_saved_interval: tuple[float, float]
    """95 % confidence interval, by resampling speakers; where it holds 0, the gain may be chance."""
    thresholds: list[ThresholdsCompared]


class OwnCalibration(Answer):
    """A calibration fitted on the tenant's own trials."""

    calibration_id: str
    status: Literal["proposed", "applied", "retired"]
    """`proposed` until somebody applies it, `applied` while it is in force, then `retired`."""
    model_id: str
    """The model whose similarities were fitted; it counts only while that one serves."""
    source: str
    """The trials."""
    operating_points: list[OperatingPointOfModel]
    figures: CalibrationFigures
    created_at: datetime
    applied_at: datetime | None
    """When it was last applied."""


class CalibrationAnswer(OwnCalibration):
    """One calibration."""

    request_id: str


class CalibrationsAnswer(Answer):
    """One page of calibrations, the newest first."""

    calibrations: list[OwnCalibration]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last."""
    request_id: str

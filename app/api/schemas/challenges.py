"""The JSON of challenges: digits to say, and whether they were said."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.api.fields import SpeakerIdField
from app.api.schemas.common import Answer, Score
from app.service.challenges import LEAST_DIGITS, MOST_DIGITS, USUAL_DIGITS
from app.store.challenges import Status


class ChallengeBody(BaseModel):
    """Who is to be asked for digits."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    speaker_id: SpeakerIdField
    """Who is to say them."""
    digits: Annotated[int, Field(ge=LEAST_DIGITS, le=MOST_DIGITS)] = USUAL_DIGITS
    """How many."""
    lifetime_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Seconds until they expire; no more than the service's setting, which counts without it."""


class ChallengeAnswer(Answer):
    """Digits to say."""

    challenge_id: str
    """Send it to `/verify` with the recording."""
    digits: str
    """What the speaker is to say, in English, in this order: `4 8 1 …`, none twice in a row."""
    expires_at: datetime
    """When the verification must be decided at the latest."""
    speaker_id: str
    """Whose verification it is good for, once."""
    status: Status
    """`open`, or why it is not good any more."""
    request_id: str


class ChallengeVerdict(Answer):
    """Whether the recording says the digits."""

    challenge_id: str
    expected: str
    """The digits that were asked for."""
    evaluated: bool
    """False where the service has no model that hears digits: nothing is known then."""
    passed: bool
    """They were said. When they were not, the decision is `reject`, whoever spoke."""
    score: Score | None
    """How well the digits fit the recording against whatever fits best: a log-likelihood ratio per digit,
    natural log, 0 at most."""
    threshold: float | None
    """Least score that passes."""
    heard: str | None
    """The digits that fit best, for a support desk; it may be wrong where `passed` is right."""

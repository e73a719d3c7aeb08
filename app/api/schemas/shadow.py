"""The JSON of a model on trial."""

from datetime import datetime

from app.api.schemas.common import Answer, Score, Share


class ShadowQuantile(Answer):
    """The scores of both models at one quantile of the decisions that both have scored."""

    quantile: Share
    serving: Score
    shadow: Score


class ShadowErrors(Answer):
    """Wrong decisions of one model among those for which feedback tells what was right."""

    wrong: int
    known: int
    """Decisions of which it is known whether this model's was right."""
    rate: Share | None
    """`wrong` of `known`; null without any."""


class ShadowDifference(Answer):
    """A decision in which the models differ."""

    kind: str
    outcome: str
    """What was answered."""
    shadow_outcome: str
    """What the model on trial would have answered; `no_template`: the speaker is not enrolled under it."""
    score: Score | None
    shadow_score: Score | None
    correct: bool | None
    """What was answered was right; null without feedback."""
    decided_at: datetime


class ShadowAnswer(Answer):
    """How a model on trial compares with the one that serves, over its newest 50,000 decisions of 30 days."""

    model: str
    """Name of the model on trial."""
    model_id: str
    shadowing: bool
    """It is on trial now."""
    decisions: int
    """Live decisions that it made as well. Under load some are left out."""
    agreeing: int
    """Those in which both named the same speaker, or both nobody."""
    agreement: Share | None
    """`agreeing` of `decisions`; null without any."""
    without_template: int
    """Those about a speaker who is not enrolled under the model on trial; they count as different."""
    outcomes: dict[str, int]
    """How often each pair of outcomes came up: what was answered, then the other, as `accept/reject`."""
    scores: list[ShadowQuantile]
    serving_errors: ShadowErrors
    shadow_errors: ShadowErrors
    differing: list[ShadowDifference]
    """The newest 50 decisions in which they differ."""
    request_id: str

"""Score → decision."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from app.scoring.vectors import Candidate

VerifyDecision: TypeAlias = Literal["accept", "reject"]
IdentifyDecision: TypeAlias = Literal["match", "unknown", "ambiguous"]


def verify_decision(score: float, threshold: float) -> VerifyDecision:
    """Accepts at the threshold and above; a value that is no number is rejected."""
    return "accept" if score >= threshold else "reject"


def identify_decision(
    candidates: Sequence[Candidate], threshold: float, min_margin: float
) -> tuple[IdentifyDecision, float | None]:
    """Decides an open-set identification.

    Args:
        candidates: In any order; none at all for an empty gallery.
        threshold: The least score of a match.
        min_margin: The least lead over the runner-up, in score, at least 0: two log-likelihood ratios
            differ by the log-odds of the one candidate against the other.

    Returns:
        The decision and the margin, which is None with fewer than two candidates:
        `unknown` when nobody reaches the threshold, `ambiguous` when the best does but
        leads by less than min_margin, `match` otherwise.
    """
    best, *others = sorted((c.score for c in candidates), reverse=True) or [-np.inf]
    margin = best - others[0] if others else None
    if not best >= threshold:
        return "unknown", margin
    return ("ambiguous" if margin is not None and margin < min_margin else "match"), margin


def leads(scores: Sequence[float]) -> tuple[float | None, ...]:
    """The lead of each candidate over the best of the others, from scores that fall.

    Above 0 for the first alone, None for one that has no others.
    """
    if len(scores) < 2:
        return (None,) * len(scores)
    return (scores[0] - scores[1], *(score - scores[0] for score in scores[1:]))

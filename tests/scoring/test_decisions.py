"""Score → decision."""

import math

import pytest

from app.scoring import Candidate, identify_decision, leads, verify_decision


@pytest.mark.parametrize(
    ("score", "decision"),
    [(0.51, "accept"), (0.5, "accept"), (0.4999, "reject"), (-1.0, "reject"), (math.nan, "reject")],
)
def test_verify_accepts_at_the_threshold(score: float, decision: str) -> None:
    assert verify_decision(score, 0.5) == decision


@pytest.mark.parametrize(
    ("scores", "decision", "margin"),
    [
        ([], "unknown", None),
        ([0.49], "unknown", None),
        ([0.5], "match", None),
        ([0.1, 0.7], "match", 0.6),
        ([0.7, 0.68], "ambiguous", 0.02),
        ([0.75, 0.625, 0.8125], "match", 0.0625),  # exactly the margin
        ([0.49, 0.48], "unknown", 0.01),
        ([0.7, 0.7], "ambiguous", 0.0),
    ],
)
def test_identify_is_open_set(scores: list[float], decision: str, margin: float | None) -> None:
    # The similarities, in the other order, must not matter.
    candidates = [Candidate(f"s{i}", score, -score / 10) for i, score in enumerate(scores)]
    found, lead = identify_decision(candidates, threshold=0.5, min_margin=0.0625)
    assert found == decision
    assert lead == (None if margin is None else pytest.approx(margin))


def test_no_margin_asked_for_means_no_ambiguity() -> None:
    assert identify_decision([Candidate("a", 0.7, 0.9), Candidate("b", 0.7, 0.1)], 0.5, 0.0) == ("match", 0.0)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([], ()), ([2.0], (None,)), ([2.0, 1.5], (0.5, -0.5)), ([2.0, 1.5, -1.0], (0.5, -0.5, -3.0))],
)
def test_each_candidate_leads_or_trails_the_best_of_the_others(
    scores: list[float], expected: tuple[float | None, ...]
) -> None:
    assert leads(scores) == expected

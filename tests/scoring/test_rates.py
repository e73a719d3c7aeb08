"""Error rates and costs of scores whose truth is known."""

import numpy as np
import pytest

from app.scoring.rates import cllr, equal_error_rate, error_rates, min_cllr
from tests.scoring.known import LABELS, calibrated, normal_scores


def test_two_normal_distributions_give_the_textbook_rate() -> None:
    from scipy.stats import norm

    scores, labels = normal_scores(2.0)
    assert equal_error_rate(scores, labels) == pytest.approx(norm.cdf(-1.0), abs=0.01)


@pytest.mark.parametrize("distance", [1.0, 2.5, 4.0])
def test_true_likelihood_ratios_cost_what_theory_says(distance: float) -> None:
    from scipy.integrate import quad
    from scipy.stats import norm

    llr, labels = calibrated(distance)
    middle = distance**2 / 2
    theory, _ = quad(
        lambda x: np.logaddexp(0, -x) / np.log(2) * norm.pdf(x, middle, distance), -60, 60, points=[0.0]
    )
    assert cllr(llr, labels) == pytest.approx(theory, rel=0.03)
    assert min_cllr(llr, labels) == pytest.approx(theory, rel=0.03)


def test_knowing_nothing_costs_one_bit_and_being_sure_and_right_nothing() -> None:
    assert cllr(np.zeros(len(LABELS)), LABELS) == 1.0
    assert min_cllr(np.zeros(len(LABELS)), LABELS) == pytest.approx(1.0)
    assert cllr(np.where(LABELS == 1, 50.0, -50.0), LABELS) == pytest.approx(0.0, abs=1e-9)
    assert min_cllr(LABELS * 2.0, LABELS) == 0.0


def test_a_weight_counts_like_repetition() -> None:
    scores, labels = normal_scores(1.5, targets=30, impostors=60)
    counts = np.random.default_rng(1).integers(1, 4, len(labels))
    repeated = np.repeat(scores, counts), np.repeat(labels, counts)
    weights = counts.astype(float)
    assert cllr(scores, labels, weights) == pytest.approx(cllr(*repeated))
    assert min_cllr(scores, labels, weights) == pytest.approx(min_cllr(*repeated))
    assert equal_error_rate(scores, labels, weights) == pytest.approx(equal_error_rate(*repeated))
    fmr, _, thresholds = error_rates(scores, labels, weights)
    assert fmr[5] == pytest.approx(np.mean(repeated[0][repeated[1] == 0] >= thresholds[5]))

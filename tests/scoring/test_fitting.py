from dataclasses import replace

import numpy as np
import pytest

from app.scoring.fitting import (
    SIMILARITY_ONLY,
    Examples,
    Frame,
    balance,
    cross_validated,
    fit,
    shift,
    speaker_folds,
)
from app.scoring.rates import cllr
from tests.scoring.known import FRAME, TERMS, TRUTH, known_trials
from training.metrics import act_dcf, min_dcf


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
def test_a_known_log_likelihood_ratio_is_recovered_whatever_the_prior_and_the_counts(p_target: float) -> None:
    model = fit(known_trials(1, 30_000, 90_000), TERMS, FRAME, p_target).score_model()
    for name in ("offset", *TERMS):
        assert getattr(model, name) == pytest.approx(getattr(TRUTH, name), abs=0.35), name
    assert model.speech_range_s == TRUTH.speech_range_s


def test_the_fitted_score_costs_what_the_true_one_costs() -> None:
    trials, fresh = known_trials(1, 30_000, 90_000), known_trials(2, 30_000, 90_000)
    llr = fit(trials, TERMS, FRAME).llr(fresh)
    truth = TRUTH.llr(fresh.similarity, fresh.enrolled_speech_s, fresh.speech_s)
    assert cllr(llr, fresh.labels) == pytest.approx(cllr(truth, fresh.labels), abs=0.001)
    assert act_dcf(llr, fresh.labels) == pytest.approx(min_dcf(llr, fresh.labels), rel=0.02)
    plain = fit(trials, SIMILARITY_ONLY, FRAME).llr(fresh)
    assert cllr(plain, fresh.labels) > cllr(truth, fresh.labels) + 0.004


def test_the_service_scores_as_the_fit_does() -> None:
    trials = known_trials(3, 300, 300)
    line = fit(trials, (*TERMS, "enrolled"), FRAME)
    np.testing.assert_allclose(
        line.score_model().llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s),
        line.llr(trials),
        atol=1e-9,
    )


@pytest.mark.parametrize("weight", [0.5, 1.0, 18.0])
def test_a_line_whose_slope_is_held_meets_the_share_of_targets(weight: float) -> None:
    trials = known_trials(1, 3000, 9000)
    line = shift(trials, FRAME, weight, p_target=0.2)
    assert line.weights.tolist() == [weight]
    assert line.terms == SIMILARITY_ONLY
    # At the optimum, the mean probability of a target is the share of targets that was asked for.
    posterior = 1 / (1 + np.exp(-line.llr(trials) - np.log(0.25)))
    shares = balance(trials.block, trials.labels, 0.2)
    assert shares @ posterior / shares.sum() == pytest.approx(0.2, abs=1e-6)


def test_a_slope_held_where_the_regression_would_put_it_gives_its_line() -> None:
    trials = known_trials(1, 3000, 9000)
    free = fit(trials, SIMILARITY_ONLY, FRAME)
    held = shift(trials, FRAME, float(free.weights[0]))
    assert held.offset == pytest.approx(free.offset, abs=0.01)


def test_durations_beyond_those_that_were_seen_count_as_the_outermost() -> None:
    seen = np.exp(np.linspace(np.log(1), np.log(9), 1001))
    frame = Frame.of(seen)
    assert frame.speech_range_s == pytest.approx((1.02, 8.8), rel=0.01)
    assert frame.centre == pytest.approx(np.log(3), abs=0.01)
    trials = replace(known_trials(4, 1, 1), speech_s=np.array([8.9, 500.0]))
    long, longer = frame.columns(trials, ("speech",))
    assert long == longer


def test_every_block_counts_alike_and_targets_make_up_their_share() -> None:
    trials = Examples.joined(
        [known_trials(1, 10, 1000), known_trials(2, 300, 20, block=1), known_trials(3, 40, 0, block=2)]
    )
    weights = balance(trials.block, trials.labels, 0.1)
    total = weights.sum()
    assert total == pytest.approx(len(trials.labels))
    for block in (0, 1):
        inside = trials.block == block
        assert weights[inside].sum() == pytest.approx(total / 2)
        assert weights[inside & (trials.labels == 1)].sum() == pytest.approx(0.1 * total / 2)
    assert not weights[trials.block == 2].any()  # no impostors: nothing to learn from
    with pytest.raises(ValueError, match="no set has target and impostor"):
        balance(trials.block[-40:], trials.labels[-40:], 0.1)


def test_a_score_that_falls_with_the_similarity_is_refused() -> None:
    trials = known_trials(1, 500, 500)
    with pytest.raises(ValueError, match="does not rise"):
        fit(replace(trials, labels=1 - trials.labels), SIMILARITY_ONLY, FRAME).score_model()


def test_folds_spread_the_speakers_of_each_set() -> None:
    sets = [[f"a{i}" for i in range(12)] * 3, [f"b{i}" for i in range(7)]]
    folds = speaker_folds(sets, 5)
    assert folds.keys() == {*sets[0], *sets[1]}
    for speakers in sets:
        counts = np.bincount([folds[name] for name in set(speakers)], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert folds == speaker_folds(sets, 5)
    assert folds != speaker_folds(sets, 5, seed=1)


def test_no_trial_is_scored_by_a_fit_that_saw_one_of_its_speakers() -> None:
    trials = known_trials(5, 400, 1200)
    scores = cross_validated(trials, trials, TERMS, FRAME)
    assert np.isfinite(scores).all()
    for place in (0, 401, 777, 1500):
        inside = (trials.enroll_fold[place], trials.test_fold[place])
        spoiled = np.isin(trials.enroll_fold, inside) | np.isin(trials.test_fold, inside)
        poison = replace(trials, similarity=np.where(spoiled, 5.0 - trials.similarity, trials.similarity))
        after = cross_validated(poison, trials, TERMS, FRAME)
        same_pair = (trials.enroll_fold == inside[0]) & (trials.test_fold == inside[1])
        np.testing.assert_array_equal(after[same_pair], scores[same_pair])
        elsewhere = ~np.isin(trials.enroll_fold, inside) & ~np.isin(trials.test_fold, inside)
        assert np.all(after[elsewhere] != scores[elsewhere])  # the poison is strong enough to be seen


def test_each_trial_is_scored_once_by_the_fit_of_its_pair_of_folds() -> None:
    trials = known_trials(6, 300, 900)
    scores = cross_validated(trials, trials, SIMILARITY_ONLY, FRAME)
    for one in range(5):
        for other in range(5):
            here = (trials.enroll_fold == one) & (trials.test_fold == other)
            kept = ~np.isin(trials.enroll_fold, (one, other)) & ~np.isin(trials.test_fold, (one, other))
            line = fit(trials.chosen(kept), SIMILARITY_ONLY, FRAME)
            np.testing.assert_allclose(scores[here], line.llr(trials.chosen(here)))


def test_the_order_of_trials_does_not_matter() -> None:
    trials = known_trials(7, 200, 400)
    order = np.random.default_rng(0).permutation(600)
    shuffled = type(trials)(*(getattr(trials, name)[order] for name in trials.__dataclass_fields__))
    scores = cross_validated(trials, trials, TERMS, FRAME)
    np.testing.assert_allclose(cross_validated(shuffled, shuffled, TERMS, FRAME), scores[order], atol=1e-6)

"""A gallery's own trials, and the calibration that they give."""

import json
from dataclasses import replace

import numpy as np
import pytest

from app.scoring import ScoreModel, read_calibration
from app.scoring import refit as fitted
from app.scoring.own_trials import OwnTrials
from app.scoring.refit import refit
from tests.scoring.known import calibrated
from tests.scoring.test_points import CALIBRATION

BASE = replace(
    CALIBRATION, score=ScoreModel(-3.0, 9.0, enrolled=-0.5, speech_range_s=(0.5, 20.0), centre=1.0)
)


def own_trials(shift: float, scale: float, seed: int = 0, each: int = 4000, voices: int = 40) -> OwnTrials:
    """Trials that BASE would score with true likelihood ratios, had they not been stretched and shifted."""
    llr, labels = calibrated(2.5, seed, each)
    rng = np.random.default_rng(seed)
    enroll = rng.integers(0, voices, len(llr))
    test = np.where(labels == 1, enroll, (enroll + rng.integers(1, voices, len(llr))) % voices)
    names = np.array([f"s{i}" for i in range(voices)])
    enrolled_s, speech_s = np.exp(rng.uniform(0, 2, (2, len(llr))))
    at_zero = np.asarray(BASE.score.llr(np.zeros(len(llr)), enrolled_s, speech_s))
    similarity = ((llr - shift) / scale - at_zero) / BASE.score.similarity
    return OwnTrials(
        labels, similarity, enrolled_s, speech_s, names[enroll], names[test], np.zeros(len(llr), bool)
    )


def test_a_shift_and_a_stretch_are_found_and_the_durations_kept() -> None:
    found = refit(own_trials(-2.0, 1.5), BASE, BASE, "own")
    score = read_calibration(found.content).score
    assert score.similarity == pytest.approx(9.0 * 1.5, rel=0.06)
    assert score.enrolled / score.similarity == pytest.approx(BASE.score.enrolled / BASE.score.similarity)
    assert score.offset == pytest.approx(-3.0 * 1.5 - 2.0, abs=0.25)
    assert (score.speech_range_s, score.centre) == (BASE.score.speech_range_s, BASE.score.centre)


def test_a_shift_alone_leaves_the_scale_alone() -> None:
    score = read_calibration(refit(own_trials(-2.0, 1.0, each=400), BASE, BASE, "own").content).score
    assert (score.similarity, score.enrolled) == (BASE.score.similarity, BASE.score.enrolled)
    assert score.offset == pytest.approx(BASE.score.offset - 2.0, abs=0.3)


def test_trials_without_an_error_do_not_make_the_scale_grow_without_bounds() -> None:
    trials = own_trials(0.0, 1.0, each=400)
    apart = replace(trials, similarity=np.where(trials.labels == 1, 0.6, 0.1))
    score = read_calibration(refit(apart, BASE, BASE, "own").content).score
    assert score.similarity == fitted.SCALES[1] * BASE.score.similarity


def test_the_figures_say_what_is_gained_on_trials_that_no_fit_saw() -> None:
    trials = own_trials(-2.0, 1.5)
    figures = refit(trials, BASE, BASE, "own").figures
    assert figures["trials"] == {
        "confirmed": {"target": 0, "impostor": 0},
        "gallery": {"target": 4000, "impostor": 4000},
    }
    assert figures["speakers"] == 40
    before, after = figures["in_force"], figures["proposed"]
    assert figures["cllr_saved"] == pytest.approx(before["cllr"] - after["cllr"])
    low, high = figures["cllr_saved_interval"]
    assert 0 < low < figures["cllr_saved"] < high
    assert after["cllr"] == pytest.approx(after["min_cllr"], abs=0.02)
    assert before["min_cllr"] == pytest.approx(after["min_cllr"], abs=0.01)  # no ranking is gained
    assert before["cllr_interval"][0] < before["cllr"] < before["cllr_interval"][1]
    llr = BASE.score.llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s)
    one = next(row for row in figures["thresholds"] if row["fmr"] == 0.05)
    assert one["in_force"]["threshold"] == BASE.at_fmr(0.05).threshold
    assert one["in_force"]["fmr"] == pytest.approx(
        np.mean(llr[trials.labels == 0] >= one["in_force"]["threshold"])
    )
    assert one["proposed"]["fmr"] == pytest.approx(0.05, abs=0.001)
    assert one["proposed"]["fmr_interval"][0] < 0.05 < one["proposed"]["fmr_interval"][1]
    assert figures["thresholds"][0]["fmr"] == 0.001
    assert figures["thresholds"][0]["in_force"] is not None
    poor = replace(BASE, impostor_trials=1000)  # support no such rate: there is nothing to compare with
    assert refit(trials, BASE, poor, "own").figures["thresholds"][0]["in_force"] is None


def test_nothing_is_gained_where_the_model_was_right() -> None:
    figures = refit(own_trials(0.0, 1.0), BASE, BASE, "own").figures
    assert abs(figures["cllr_saved"]) < 0.002
    low, high = figures["cllr_saved_interval"]
    assert low < 0.001 < high + 0.002


def test_strangers_do_not_decide_how_the_enrolled_are_spread_over_the_folds() -> None:
    trials = own_trials(0.0, 1.0, each=400, voices=10)
    strangers = [f"?{i}" for i in range(800)]
    trials = replace(trials, test_speakers=np.where(trials.labels == 1, trials.test_speakers, strangers))
    examples = fitted._examples(trials, BASE.score)
    targets = trials.labels == 1
    np.testing.assert_array_equal(examples.enroll_fold[targets], examples.test_fold[targets])
    fold_of = dict(zip(trials.enroll_speakers.tolist(), examples.enroll_fold.tolist(), strict=True))
    assert np.bincount(list(fold_of.values())).tolist() == [2] * 5
    assert np.bincount(examples.test_fold[~targets]).tolist() == [80] * 5
    np.testing.assert_array_equal(
        examples.similarity,
        BASE.score.llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s),
    )


def test_what_is_proposed_can_be_stored_and_read() -> None:
    found = refit(own_trials(-1.0, 1.2, each=500), BASE, BASE, "confirmed decisions")
    assert json.loads(json.dumps(found.figures, allow_nan=False)) == found.figures
    calibration = read_calibration(json.loads(json.dumps(found.content, allow_nan=False)))
    assert calibration == read_calibration(found.content)
    assert calibration.model_sha256 == BASE.model_sha256
    assert calibration.source == "confirmed decisions"
    assert (calibration.target_trials, calibration.impostor_trials, calibration.speakers) == (500, 500, 40)
    assert calibration.at_fmr(0.05).fmr <= 0.05


def test_decisions_that_were_confirmed_the_wrong_way_round_are_refused() -> None:
    trials = own_trials(0.0, 1.0, each=400)
    with pytest.raises(ValueError, match="does not rise"):
        refit(replace(trials, similarity=-trials.similarity), BASE, BASE, "own")

"""Held-out scores → thresholds, rates and intervals."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.scoring import ScoreModel, load_calibration
from app.scoring.operating import Scored, calibration_content, operating_points
from app.scoring.rates import error_rates


def scored(targets: int, impostors: int, shift: float = 0.0, seed: int = 0, voices: int = 20) -> Scored:
    rng = np.random.default_rng(seed)
    llr = np.concatenate([rng.normal(2 + shift, 2, targets), rng.normal(shift - 2, 2, impostors)])
    enroll = rng.integers(0, voices, targets + impostors)
    test = np.concatenate(
        [enroll[:targets], (enroll[targets:] + rng.integers(1, voices, impostors)) % voices]
    )
    names = np.array([f"{seed}-{i}" for i in range(voices)])
    return Scored(llr, np.repeat([1, 0], [targets, impostors]), names[enroll], names[test])


SETS = {"large": scored(500, 5000), "small": scored(50, 400, shift=2.0, seed=1)}


def test_operating_points_count_every_set_alike_and_keep_their_rate() -> None:
    points = operating_points(SETS)
    assert [p["fmr"] for p in points] == [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]
    for point in points:
        per_set = [np.mean(s.llr[s.labels == 0] >= point["threshold"]) for s in SETS.values()]
        assert np.mean(per_set) == pytest.approx(point["measured_fmr"])
        assert np.mean(per_set) <= point["fmr"] + 1e-9
        missed = [np.mean(s.llr[s.labels == 1] < point["threshold"]) for s in SETS.values()]
        assert point["fnmr"] == pytest.approx(np.mean(missed))
        for rate in ("fmr", "fnmr"):
            low, high = point[f"{rate}_interval"]
            assert low <= point["measured_fmr" if rate == "fmr" else "fnmr"] <= high
            assert high - low < 0.2
    pooled = np.concatenate([s.llr[s.labels == 0] for s in SETS.values()])
    five = next(p for p in points if p["fmr"] == 0.05)
    # The small set's impostors score higher; pooled by trial, they would hardly count.
    assert np.mean(pooled >= five["threshold"]) < 0.03


def test_no_rate_is_promised_that_the_trials_cannot_support() -> None:
    assert [p["fmr"] for p in operating_points({"few": scored(20, 100)})] == [0.05, 0.1]
    with pytest.raises(ValueError, match="29 impostor trials support no false-match rate"):
        operating_points({"fewer": scored(20, 29)})


def test_what_is_written_can_be_read_and_says_what_was_measured(tmp_path: Path) -> None:
    content = calibration_content(ScoreModel(-1.0, 9.0, speech=0.5), SETS, "ab" * 32, "two sets")
    (tmp_path / "calibration.json").write_text(json.dumps(content))
    calibration = load_calibration(tmp_path / "calibration.json")
    assert calibration.score == ScoreModel(-1.0, 9.0, speech=0.5)
    assert (calibration.target_trials, calibration.impostor_trials, calibration.speakers) == (550, 5400, 40)
    assert 0 < calibration.min_cllr <= calibration.cllr
    det = content["det"]
    assert 50 < len(det["threshold"]) <= 200
    assert det["threshold"] == sorted(det["threshold"])
    for threshold, fmr, fnmr in zip(*(det[key] for key in ("threshold", "fmr", "fnmr")), strict=True):
        rates = [
            (np.mean(s.llr[s.labels == 0] >= threshold), np.mean(s.llr[s.labels == 1] < threshold))
            for s in SETS.values()
        ]
        assert np.mean(rates, axis=0) == pytest.approx([fmr, fnmr], abs=0.015)
    gap = np.abs(np.array(det["fmr"]) - det["fnmr"])
    assert content["eer"] == pytest.approx(det["fmr"][int(gap.argmin())], abs=0.02)


def test_one_set_has_its_own_det() -> None:
    one = SETS["large"]
    det = calibration_content(ScoreModel(0.0, 1.0), {"large": one}, "ab" * 32, "one")["det"]
    fmr, fnmr, thresholds = error_rates(one.llr, one.labels)
    places = np.searchsorted(thresholds, np.array(det["threshold"]) - 1e-5)
    np.testing.assert_allclose(det["fmr"], fmr[places], atol=1e-6)
    np.testing.assert_allclose(det["fnmr"], fnmr[places], atol=1e-6)

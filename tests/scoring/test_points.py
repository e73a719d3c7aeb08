"""Errors of one comparison and of a search: what is promised, and what is refused."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnsupportedRate
from app.scoring import Calibration, Det, OperatingPoint, ScoreModel, SearchPoint, load_calibration
from app.scoring.operating import calibration_content
from app.scoring.points import fmr_of, fpir_of, largest_gallery, rounded_up
from tests.scoring.test_operating import SETS, scored

SHIPPED = Path(__file__).parents[2] / "models" / "timbre-2"
RATES = st.floats(1e-6, 0.999)
SIZES = st.integers(1, 100_000)


def written(fmr: float, fnmr: float, threshold: float) -> OperatingPoint:
    return OperatingPoint(fmr, fnmr, threshold, (fmr / 2, fmr * 2), (fnmr / 2, fnmr * 2), "test", 500, 10_000)


CALIBRATION = Calibration(
    model_sha256="ab" * 32,
    source="test",
    score=ScoreModel(0.0, 1.0),
    target_trials=500,
    impostor_trials=10_000,
    speakers=40,
    eer=0.05,
    cllr=0.2,
    min_cllr=0.15,
    operating_points=(written(0.01, 0.1, 0.5), written(0.1, 0.02, 0.3)),
    det=Det(
        (0.1, 0.4, 0.6, 0.7, 0.8, 0.9),
        (0.5, 0.03, 0.002, 0.0004, 0.0002, 0.0),
        (0.0, 0.05, 0.2, 0.3, 0.4, 0.6),
    ),
)


@given(RATES, SIZES)
def test_the_rates_of_search_and_comparison_undo_each_other(fpir: float, size: int) -> None:
    assert fpir_of(fmr_of(fpir, size), size) == pytest.approx(fpir, rel=1e-9)
    assert fmr_of(fpir, size) <= fpir
    assert fmr_of(fpir, 1) == fmr_of(fpir, 0) == fpir  # exactly: it names a point that was written


def test_a_search_errs_as_independent_comparisons_would() -> None:
    assert fpir_of(0.01, 10) == pytest.approx(1 - 0.99**10)
    assert fpir_of(0.5, 0) == 0.0
    assert fpir_of(1.0, 3) == fpir_of(1.0, 1) == 1.0
    assert fpir_of(0.0, 1000) == 0.0


@given(st.floats(1e-6, 0.5), st.floats(1e-4, 0.99))
def test_the_largest_gallery_keeps_the_promise_and_one_more_breaks_it(fmr: float, fpir: float) -> None:
    most = largest_gallery(fmr, fpir)
    assert most == 0 or fmr_of(fpir, most) >= fmr
    assert fmr_of(fpir, most + 1) < fmr


@given(st.floats(1e-9, 1.0))
def test_what_is_said_of_a_rate_is_not_below_it(rate: float) -> None:
    assert rate <= rounded_up(rate) <= min(rate * 1.0011, 1.0)
    assert rounded_up(rounded_up(rate)) == rounded_up(rate)


@pytest.mark.parametrize(
    ("target", "threshold"),
    [
        (0.5, 0.1),
        (0.2, 0.3),  # written, between two points of the curve
        (0.1, 0.3),
        (0.05, 0.4),
        (0.02, 0.5),
        (0.01, 0.5),
        (0.0099, 0.6),
        (0.001, 0.7),
        (0.0004, 0.7),
    ],
)
def test_the_next_stricter_threshold_is_taken_from_points_and_curve(target: float, threshold: float) -> None:
    point = CALIBRATION.at_fmr(target)
    assert point.threshold == threshold
    assert point.fmr <= target
    assert point.fmr_interval[0] < point.fmr < point.fmr_interval[1]
    assert point.fnmr_interval[0] <= point.fnmr < point.fnmr_interval[1]
    assert (point.source, point.target_trials, point.impostor_trials) == ("test", 500, 10_000)


def test_the_curve_promises_nothing_below_the_rule_of_three() -> None:
    with pytest.raises(UnsupportedRate) as refusal:
        CALIBRATION.at_fmr(0.00039)
    assert refusal.value.least_supported == 0.0004  # 0.0002 stands on the curve, but 3 / 10,000 is more
    assert CALIBRATION.at_fmr(refusal.value.least_supported).threshold == 0.7


def test_an_interval_is_as_wide_as_that_of_the_nearest_point() -> None:
    # (0.005, 0.02) at 0.01 is what so many independent trials would give.
    trials = 4 * 1.96**2 * 0.01 * 0.99 / 0.015**2
    low, high = CALIBRATION.at_fmr(0.002).fmr_interval
    spread = 1.96 * math.sqrt(0.002 * 0.998 / trials)
    assert high - low == pytest.approx(2 * spread, rel=0.5)
    assert high - low > 2 * spread
    sure = replace(
        CALIBRATION, operating_points=(replace(CALIBRATION.operating_points[0], fmr_interval=(0.01, 0.01)),)
    )
    narrow = sure.at_fmr(0.002).fmr_interval
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * math.sqrt(0.002 * 0.998 / 10_000), rel=0.1)


@pytest.mark.parametrize(
    ("target", "threshold"), [(0.5, 0.8), (0.39, 0.7), (0.15, 0.5), (0.1, 0.5), (0.09, 0.4), (0.03, 0.3)]
)
def test_the_strictest_threshold_that_turns_few_away(target: float, threshold: float) -> None:
    point = CALIBRATION.at_fnmr(target)
    assert point is not None
    assert point.threshold == threshold
    assert point.fnmr <= target


def test_no_share_of_right_voices_is_promised_below_the_rule_of_three() -> None:
    assert CALIBRATION.at_fnmr(0.019) is None  # on the curve 0.0, which 500 trials do not support
    assert replace(CALIBRATION, target_trials=100).at_fnmr(0.025) is None


def test_a_larger_gallery_asks_for_a_higher_threshold() -> None:
    found = [CALIBRATION.at_fpir(0.05, size) for size in (0, 1, 5, 20, 100)]
    thresholds = [search.point.threshold for search in found]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == thresholds[1] == CALIBRATION.at_fmr(0.05).threshold
    assert thresholds[-1] > thresholds[1]
    for search, size in zip(found, (0, 1, 5, 20, 100), strict=True):
        assert search.gallery_size == size
        assert search.fpir == pytest.approx(1 - (1 - search.point.fmr) ** size)
        assert search.fpir <= 0.05
        assert search.fpir_interval[0] <= search.fpir <= search.fpir_interval[1] <= 1.0
    assert found[0].fpir == 0.0


def test_a_gallery_too_large_for_the_promise_is_told_what_can_be_promised() -> None:
    with pytest.raises(UnsupportedRate) as refusal:
        CALIBRATION.at_fpir(0.01, 1000)
    facts = refusal.value.facts
    assert (facts["field"], facts["asked"], facts["gallery_size"]) == ("target_fpir", 0.01, 1000)
    assert (facts["impostor_trials"], facts["largest_gallery"]) == (10_000, 25)  # 1 - 0.9996^25 = 0.00995
    assert "in galleries of at most 25 speakers, and 1000 are searched" in str(refusal.value)
    assert CALIBRATION.at_fpir(0.01, 25).point.fmr == 0.0004
    with pytest.raises(UnsupportedRate):
        CALIBRATION.at_fpir(0.01, 26)
    assert CALIBRATION.at_fpir(facts["least_supported"], 1000).point.fmr == 0.0004
    with pytest.raises(UnsupportedRate) as refusal:
        CALIBRATION.at_fpir(0.0001, 1)
    assert refusal.value.largest_gallery == 0
    assert "in no gallery" in str(refusal.value)


@given(st.floats(1e-4, 0.5), st.integers(1, 3000))
def test_what_the_shipped_model_refuses_and_what_it_offers_fit_together(fpir: float, size: int) -> None:
    calibration = load_calibration(SHIPPED / "calibration.json")
    refused = None
    try:
        found = calibration.at_fpir(fpir, size)
    except UnsupportedRate as refusal:
        refused = refusal
        fpir = refusal.least_supported
        found = calibration.at_fpir(fpir, size)
    assert found.fpir <= fpir * (1 + 1e-9)
    assert found.point.fmr >= calibration.least_fmr
    if refused is not None and refused.largest_gallery:
        assert refused.largest_gallery < size
        assert calibration.at_fpir(refused.asked, refused.largest_gallery).fpir <= refused.asked * (1 + 1e-9)


def test_the_curve_that_is_written_is_read_and_keeps_its_rates(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(calibration_content(ScoreModel(0.0, 1.0), SETS, "ab" * 32, "two sets")))
    calibration = load_calibration(path)
    for target in (0.2, 0.07, 0.013, 0.003):
        point = calibration.at_fmr(target)
        passed = [np.mean(s.llr[s.labels == 0] >= point.threshold) for s in SETS.values()]
        assert np.mean(passed) <= target
        assert np.mean(passed) == pytest.approx(point.fmr, abs=0.0015)
        assert point.fmr > target / 1.5


def test_a_curve_ends_before_the_infinite_threshold() -> None:
    one = scored(50, 400)
    first = int(np.argmax(one.labels == 0))
    one.llr[first] = one.llr.max() + 1  # an impostor scores highest
    det = calibration_content(ScoreModel(0.0, 1.0), {"one": one}, "ab" * 32, "one")["det"]
    assert math.isfinite(det["threshold"][-1])
    assert json.loads(json.dumps(det, allow_nan=False)) == det


def test_a_point_of_a_search_keeps_that_of_the_comparison() -> None:
    point = CALIBRATION.operating_points[0]
    search = SearchPoint.of(point, 3)
    assert asdict(search.point) == asdict(point)
    assert search.fpir_interval == pytest.approx((1 - 0.995**3, 1 - 0.98**3))

"""Similarity → score: the model of scores, its file, its operating points."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import UnsupportedRate, ValidationFailed
from app.scoring import OperatingPoint, ScoreModel, load_calibration

WEIGHTS = st.floats(-20, 20)
COSINES = st.floats(-1, 1)
SECONDS = st.floats(0, 3600)
FITTED = ScoreModel(
    offset=-2.0,
    similarity=12.0,
    speech=0.5,
    enrolled=-0.25,
    similarity_x_speech=3.0,
    similarity_x_enrolled=1.0,
    speech_range_s=(1.0, 16.0),
    centre=math.log(4.0),
)


@st.composite
def score_models(draw: st.DrawFn) -> ScoreModel:
    """Any model that is accepted: every weight, every range, every centre."""
    shortest, longest = sorted(draw(st.tuples(*[st.floats(0.01, 600)] * 2)))
    try:
        return ScoreModel(
            offset=draw(st.floats(-100, 100)),
            similarity=draw(st.floats(0, 100)),
            speech=draw(WEIGHTS),
            enrolled=draw(WEIGHTS),
            similarity_x_speech=draw(WEIGHTS),
            similarity_x_enrolled=draw(WEIGHTS),
            speech_range_s=(shortest, longest),
            centre=draw(st.floats(-5, 5)),
        )
    except ValueError:
        assume(False)
        raise


# ---------------------------------------------------------------- the score


@given(score_models(), COSINES, COSINES, SECONDS, SECONDS)
def test_the_score_rises_with_the_similarity_at_any_durations(
    model: ScoreModel, one: float, other: float, enrolled_s: float, speech_s: float
) -> None:
    low, high = sorted((one, other))
    scores = model.llr([low, high], enrolled_s, speech_s)
    assert np.isfinite(scores).all()
    assert scores[0] <= scores[1], "rounding may make them equal, but never turns them around"
    corner = min(model.llr(1.0, e, t) - model.llr(0.0, e, t) for e in (0.0, 1e9) for t in (0.0, 1e9))
    assume((high - low) * corner > 1e-9)
    assert scores[0] < scores[1]


@given(COSINES, SECONDS, SECONDS)
def test_the_score_is_the_formula(similarity: float, enrolled_s: float, speech_s: float) -> None:
    q_e, q_t = (math.log(min(max(s, 1.0), 16.0)) - math.log(4.0) for s in (enrolled_s, speech_s))
    expected = (
        -2.0 + 12.0 * similarity + 0.5 * q_t - 0.25 * q_e + 3.0 * similarity * q_t + 1.0 * similarity * q_e
    )
    assert FITTED.llr(similarity, enrolled_s, speech_s) == pytest.approx(expected, abs=1e-12)


def test_at_the_centre_only_offset_and_similarity_count() -> None:
    assert FITTED.llr(0.5, 4.0, 4.0) == pytest.approx(4.0)
    assert FITTED.llr(0.5, 4.0, 8.0) == pytest.approx(4.0 + 2.0 * math.log(2.0))
    assert FITTED.llr(0.5, 8.0, 4.0) == pytest.approx(4.0 + 0.25 * math.log(2.0))


@given(score_models(), COSINES)
def test_beyond_the_fitted_range_durations_stop_counting(model: ScoreModel, similarity: float) -> None:
    shortest, longest = model.speech_range_s
    assert model.llr(similarity, 0.0, 1e9) == model.llr(similarity, shortest, longest)
    assert model.llr(similarity, math.inf, shortest / 2) == model.llr(similarity, longest, shortest)


@given(COSINES, SECONDS, SECONDS)
def test_without_weights_the_score_is_the_similarity(
    similarity: float, enrolled_s: float, speech_s: float
) -> None:
    assert ScoreModel(0.0, 1.0).llr(similarity, enrolled_s, speech_s) == similarity


def test_arguments_broadcast_and_no_number_stays_none() -> None:
    scores = FITTED.llr([[0.1], [0.9]], [4.0, 8.0, 12.0], 3.0)
    assert (scores.shape, scores.dtype) == ((2, 3), np.float64)
    assert scores[1, 2] == FITTED.llr(0.9, 12.0, 3.0)
    assert FITTED.llr([], [], 3.0).shape == (0,)
    for arguments in ((math.nan, 4.0, 4.0), (0.5, math.nan, 4.0), (0.5, 4.0, math.nan)):
        assert math.isnan(FITTED.llr(*arguments))


@given(score_models())
def test_a_score_model_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, model: ScoreModel
) -> None:
    path = write(tmp_path_factory.mktemp("model"), calibration(score=asdict(model)))
    assert load_calibration(path).score == model


# ---------------------------------------------------------------- the file


def point(fmr: float, fnmr: float, threshold: float, **changes: Any) -> dict[str, Any]:
    intervals = {"fmr_interval": [fmr / 2, fmr], "fnmr_interval": [fnmr, 1.0]}
    return {"fmr": fmr, "fnmr": fnmr, "threshold": threshold, **intervals} | changes


def calibration(**changes: Any) -> dict[str, Any]:
    points = [(0.1, 0.02, 0.3), (0.001, 0.3, 0.7), (0.01, 0.1, 0.5), (0.0, 0.9, 0.95)]
    return {
        "format": 2,
        "model_sha256": "ab" * 32,
        "source": "development trials",
        "score": asdict(FITTED),
        "trials": {"target": 500, "impostor": 10_000, "speakers": 40},
        "eer": 0.05,
        "cllr": 0.2,
        "min_cllr": 0.15,
        "operating_points": [point(*each) for each in points],
        "det": {"threshold": [], "fmr": [], "fnmr": []},
        "something else": 1,
    } | changes


DET = {"threshold": [0.3, 0.55, 0.8], "fmr": [0.1, 0.006, 0.0004], "fnmr": [0.02, 0.14, 0.4]}


def without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


def write(folder: Path, data: object) -> Path:
    path = folder / "calibration.json"
    path.write_text(json.dumps(data))
    return path


def test_a_calibration_is_read_and_sorted(tmp_path: Path) -> None:
    found = load_calibration(write(tmp_path, calibration()))
    assert [p.fmr for p in found.operating_points] == [0.0, 0.001, 0.01, 0.1]
    assert found.operating_points[2] == OperatingPoint(
        0.01, 0.1, 0.5, (0.005, 0.01), (0.1, 1.0), "development trials", 500, 10_000
    )
    assert (found.model_sha256, found.eer, found.least_fmr) == ("ab" * 32, 0.05, 0.0003)
    assert (found.cllr, found.min_cllr, found.speakers) == (0.2, 0.15, 40)
    assert found.score == FITTED


@pytest.mark.parametrize(
    ("target", "fmr"), [(0.01, 0.01), (0.05, 0.01), (0.0099, 0.001), (0.5, 0.1), (0.001, 0.001)]
)
def test_the_nearest_point_below_the_target_is_taken(tmp_path: Path, target: float, fmr: float) -> None:
    assert load_calibration(write(tmp_path, calibration())).at_fmr(target).fmr == fmr


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_what_is_no_rate_is_refused(tmp_path: Path, target: float) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        load_calibration(write(tmp_path, calibration())).at_fmr(target)
    assert refusal.value.field == "target_fmr"
    with pytest.raises(ValidationFailed):
        load_calibration(write(tmp_path, calibration())).at_fpir(target, 1)


def test_a_rate_that_no_point_supports_is_refused_with_the_least_that_is(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedRate) as refusal:
        load_calibration(write(tmp_path, calibration())).at_fmr(0.0005)
    assert refusal.value.facts == {
        "field": "target_fmr",
        "asked": 0.0005,
        "least_supported": 0.001,
        "impostor_trials": 10_000,
        "gallery_size": None,
        "largest_gallery": None,
        "problem": "the 10000 impostor trials of 'development trials' do not support it",
    }


def test_few_trials_support_only_high_rates(tmp_path: Path) -> None:
    few = {"target": 50, "impostor": 100, "speakers": 9}
    found = load_calibration(write(tmp_path, calibration(trials=few)))
    assert found.at_fmr(0.2).fmr == 0.1
    with pytest.raises(UnsupportedRate, match=r"100 impostor trials .* least that can is 0\.1\."):
        found.at_fmr(0.01)
    none = {"target": 50, "impostor": 20, "speakers": 9}
    with pytest.raises(UnsupportedRate) as refusal:
        load_calibration(write(tmp_path, calibration(trials=none))).at_fmr(0.5)
    assert refusal.value.least_supported == 1.0


@pytest.mark.parametrize(
    "key",
    ["model_sha256", "source", "score", "trials", "eer", "cllr", "min_cllr", "operating_points"],
)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        load_calibration(write(tmp_path, without(calibration(), key)))


@pytest.mark.parametrize("key", list(asdict(FITTED)))
def test_a_missing_weight_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        load_calibration(write(tmp_path, calibration(score=without(asdict(FITTED), key))))


@pytest.mark.parametrize("key", list(point(0.1, 0.1, 0.1)))
def test_a_missing_part_of_a_point_is_named(tmp_path: Path, key: str) -> None:
    points = [without(point(0.1, 0.1, 0.1), key)]
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        load_calibration(write(tmp_path, calibration(operating_points=points)))


@pytest.mark.parametrize("data", [{"format": 3}, {"format": None}, {"scale": "similarity"}, {}])
def test_another_format_is_refused_by_its_number(tmp_path: Path, data: dict[str, Any]) -> None:
    wanted = calibration() | data if "format" in data else without(calibration(), "format") | data
    with pytest.raises(ValueError, match=r"has format \w+, and only 2 is read"):
        load_calibration(write(tmp_path, wanted))


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        calibration(trials={"target": 0, "impostor": 5, "speakers": 2}),
        calibration(trials={"target": 5, "impostor": 5, "speakers": 0}),
        calibration(trials=7),
        calibration(eer="high"),
        calibration(eer=1.5),
        calibration(cllr=-0.1),
        calibration(min_cllr=math.inf),
        calibration(operating_points=[]),
        calibration(operating_points=[point(2.0, 0.1, 0.1)]),
        calibration(operating_points=[point(0.1, 0.1, math.nan)]),
        calibration(operating_points=[point(0.1, 0.1, 0.1, fmr_interval=[0.2, 0.1])]),
        calibration(operating_points=[point(0.1, 0.1, 0.1, fnmr_interval=[0.1, 1.1])]),
        calibration(operating_points=[point(0.1, 0.1, 0.1, fnmr_interval=[math.nan, 0.1])]),
        calibration(operating_points=[point(0.1, 0.1, 0.1, fmr_interval=[0.1])]),
        calibration(operating_points=[point(0.1, 0.1, 0.1, fmr_interval=None)]),
        calibration(score=None),
        calibration(det=DET | {"fmr": [0.1, 0.02, 0.03]}),
        calibration(det=DET | {"fnmr": [0.1, 0.2, math.nan]}),
        calibration(det=DET | {"fnmr": [0.1, 0.2, 1.2]}),
        calibration(det=DET | {"threshold": [0.1, 0.2]}),
        calibration(det=DET | {"threshold": [0.1, 0.2, 0.15]}),
        calibration(det=[0.1]),
        calibration(score=asdict(FITTED) | {"speech_range_s": [1.0]}),
    ],
)
def test_a_calibration_of_nonsense_is_refused(tmp_path: Path, data: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_calibration(write(tmp_path, data))


@pytest.mark.parametrize("key", list(asdict(FITTED)))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_refused(tmp_path: Path, key: str, value: float) -> None:
    weight = [1.0, value] if key == "speech_range_s" else value
    with pytest.raises(ValueError, match="is finite"):
        load_calibration(write(tmp_path, calibration(score=asdict(FITTED) | {key: weight})))


@pytest.mark.parametrize("extent", [[0.0, 5.0], [-1.0, 5.0], [5.0, 1.0]])
def test_a_range_of_durations_that_is_none_is_refused(tmp_path: Path, extent: list[float]) -> None:
    with pytest.raises(ValueError, match="speech_range_s"):
        load_calibration(write(tmp_path, calibration(score=asdict(FITTED) | {"speech_range_s": extent})))


@pytest.mark.parametrize(
    ("slope_by_speech", "slope_by_enrolled", "corner"),
    [
        (4.0, 0.0, "at 1 s of speech"),  # 5 + 4 ln(1/4) < 0
        (0.0, 4.0, "against 1 s enrolled"),
        (-4.0, 0.0, "at 16 s of speech"),
        (0.0, -4.0, "against 16 s enrolled"),
        (2.0, -2.0, "at 1 s of speech against 16 s enrolled"),  # one corner alone
    ],
)
def test_a_slope_that_is_negative_in_a_corner_is_refused(
    tmp_path: Path, slope_by_speech: float, slope_by_enrolled: float, corner: str
) -> None:
    weights = {
        "similarity": 5.0,
        "similarity_x_speech": slope_by_speech,
        "similarity_x_enrolled": slope_by_enrolled,
    }
    with pytest.raises(ValueError, match=corner):
        load_calibration(write(tmp_path, calibration(score=asdict(FITTED) | weights)))
    assert ScoreModel(**{**asdict(FITTED), **weights, "similarity": 6.0})


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_a_score_that_does_not_rise_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match="does not rise"):
        ScoreModel(offset=0.0, similarity=slope)


def test_a_calibration_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "none.json"):
        with pytest.raises(ValueError, match=r"."):
            load_calibration(tmp_path / name)

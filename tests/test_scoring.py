"""Pure functions: embeddings → score → decision."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.errors import ValidationFailed
from app.scoring import (
    Candidate,
    OperatingPoint,
    centroid,
    cosine,
    identify_decision,
    load_calibration,
    unit,
    verify_decision,
)

VECTORS = arrays.arrays(np.float64, 8, elements=st.floats(-1e3, 1e3)).filter(
    lambda v: np.linalg.norm(v) > 1e-3
)
X, Y = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


# ---------------------------------------------------------------- geometry


@given(VECTORS)
def test_unit_keeps_the_direction_and_has_length_one(vector: np.ndarray) -> None:
    found = unit(vector)
    assert found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-6)
    assert float(found @ vector) == pytest.approx(np.linalg.norm(vector), rel=1e-5)


@pytest.mark.parametrize("vector", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [[1.0, 0.0]], []])
def test_what_has_no_direction_is_refused(vector: Any) -> None:
    with pytest.raises(ValueError, match="direction"):
        unit(vector)


def test_a_centroid_leans_to_the_longer_take() -> None:
    np.testing.assert_allclose(centroid(np.stack([X, Y])), [math.sqrt(0.5)] * 2, atol=1e-7)
    np.testing.assert_allclose(centroid(np.stack([X, Y]), [3.0, 4.0]), [0.6, 0.8], atol=1e-7)
    np.testing.assert_allclose(centroid(np.stack([X * 100, Y]), [3.0, 4.0]), [0.6, 0.8], atol=1e-7)
    np.testing.assert_allclose(centroid(X[None], [9.0]), X)


def test_takes_that_cancel_out_leave_the_heaviest() -> None:
    np.testing.assert_array_equal(centroid(np.stack([X, -X])), X)
    np.testing.assert_array_equal(centroid(np.stack([X, -X, Y, -Y]), [1.0, 1.0, 2.0, 2.0]), Y)


@pytest.mark.parametrize(
    ("rows", "weights"),
    [
        (np.empty((0, 2)), None),
        (X, None),
        (np.stack([X, Y]), [1.0]),
        (np.stack([X, Y]), [1.0, 0.0]),
        (np.stack([X, Y]), [1.0, -1.0]),
        (np.stack([X, Y]), [1.0, math.nan]),
        (np.stack([X, Y * 0]), None),
    ],
)
def test_a_centroid_of_nonsense_is_refused(rows: np.ndarray, weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"centroid needs|direction"):
        centroid(rows, weights)


@given(VECTORS, VECTORS, st.floats(0.1, 10))
def test_cosine_is_symmetric_bounded_and_blind_to_length(a: np.ndarray, b: np.ndarray, scale: float) -> None:
    similarity = cosine(a, b)
    assert -1.0 <= similarity <= 1.0
    assert cosine(b, a) == similarity
    assert cosine(a * scale, b) == pytest.approx(similarity, abs=1e-5)
    assert similarity == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)


def test_cosine_of_a_vector_with_itself_does_not_pass_one() -> None:
    for seed in range(50):
        v = unit(np.random.default_rng(seed).standard_normal(192))
        assert 1.0 - 1e-6 <= cosine(v, v) <= 1.0
        assert cosine(v, -v) >= -1.0


def test_embeddings_of_different_sizes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="compared"):
        cosine(X, np.ones(3, np.float32))


# ---------------------------------------------------------------- operating points


def calibration(**changes: Any) -> dict[str, Any]:
    points = [(0.1, 0.02, 0.3), (0.001, 0.3, 0.7), (0.01, 0.1, 0.5), (0.0, 0.9, 0.95)]
    return {
        "model_sha256": "ab" * 32,
        "scale": "similarity",
        "source": "development trials",
        "trials": {"target": 500, "impostor": 10_000},
        "eer": 0.05,
        "operating_points": [{"fmr": f, "fnmr": m, "threshold": t} for f, m, t in points],
    } | changes


def write(folder: Path, data: object) -> Path:
    path = folder / "calibration.json"
    path.write_text(json.dumps(data))
    return path


def test_a_calibration_is_read_and_sorted(tmp_path: Path) -> None:
    found = load_calibration(write(tmp_path, calibration()))
    assert [p.fmr for p in found.operating_points] == [0.0, 0.001, 0.01, 0.1]
    assert found.operating_points[2] == OperatingPoint(
        0.01, 0.1, 0.5, "similarity", "development trials", 500, 10_000
    )
    assert (found.model_sha256, found.eer, found.least_fmr) == ("ab" * 32, 0.05, 0.0003)


@pytest.mark.parametrize(
    ("target", "fmr"), [(0.01, 0.01), (0.05, 0.01), (0.0099, 0.001), (0.5, 0.1), (0.001, 0.001)]
)
def test_the_nearest_point_below_the_target_is_taken(tmp_path: Path, target: float, fmr: float) -> None:
    assert load_calibration(write(tmp_path, calibration())).at_fmr(target).fmr == fmr


@pytest.mark.parametrize("target", [0.0005, 0.0, 1.0, -0.1, 2.0, math.nan])
def test_a_rate_that_no_point_supports_is_refused(tmp_path: Path, target: float) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        load_calibration(write(tmp_path, calibration())).at_fmr(target)
    assert refusal.value.field == "target_fmr"


def test_few_trials_support_only_high_rates(tmp_path: Path) -> None:
    found = load_calibration(write(tmp_path, calibration(trials={"target": 50, "impostor": 100})))
    assert found.at_fmr(0.2).fmr == 0.1
    with pytest.raises(ValidationFailed, match=r"100 impostor trials .* support 0\.1 and above"):
        found.at_fmr(0.01)


@pytest.mark.parametrize("key", ["model_sha256", "scale", "source", "trials", "eer", "operating_points"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    data = calibration()
    del data[key]
    with pytest.raises(ValueError, match=f"lacks the key '{key}'"):
        load_calibration(write(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        [],
        "x",
        calibration(trials={"target": 0, "impostor": 5}),
        calibration(operating_points=[]),
        calibration(operating_points=[{"fmr": 2.0, "fnmr": 0.1, "threshold": 0.1}]),
        calibration(operating_points=[{"fmr": 0.1, "fnmr": 0.1, "threshold": math.nan}]),
        calibration(operating_points=[{"fmr": 0.1, "threshold": 0.1}]),
        calibration(eer="high"),
        calibration(trials=7),
    ],
)
def test_a_calibration_of_nonsense_is_refused(tmp_path: Path, data: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_calibration(write(tmp_path, data))


def test_a_calibration_that_is_no_json_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "none.json"):
        with pytest.raises(ValueError, match=r"."):
            load_calibration(tmp_path / name)


# ---------------------------------------------------------------- decisions


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [(0.51, "accept"), (0.5, "accept"), (0.4999, "reject"), (-1.0, "reject"), (math.nan, "reject")],
)
def test_verify_accepts_at_the_threshold(similarity: float, decision: str) -> None:
    assert verify_decision(similarity, 0.5) == decision


@pytest.mark.parametrize(
    ("similarities", "decision", "margin"),
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
def test_identify_is_open_set(similarities: list[float], decision: str, margin: float | None) -> None:
    candidates = [Candidate(f"s{i}", s) for i, s in enumerate(similarities)]
    found, lead = identify_decision(candidates, threshold=0.5, min_margin=0.0625)
    assert found == decision
    assert lead == (None if margin is None else pytest.approx(margin))


def test_no_margin_asked_for_means_no_ambiguity() -> None:
    assert identify_decision([Candidate("a", 0.7), Candidate("b", 0.7)], 0.5, 0.0) == ("match", 0.0)

"""Embeddings → similarity."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.scoring import centroid, cosine, distance, unit

VECTORS = arrays.arrays(np.float64, 8, elements=st.floats(-1e3, 1e3)).filter(
    lambda v: np.linalg.norm(v) > 1e-3
)
X, Y = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


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
    assert cosine(a * np.float32(scale), b) == pytest.approx(similarity, abs=1e-5)
    assert similarity == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)


def test_cosine_of_a_vector_with_itself_does_not_pass_one() -> None:
    for seed in range(50):
        v = unit(np.random.default_rng(seed).standard_normal(192))
        assert 1.0 - 1e-6 <= cosine(v, v) <= 1.0
        assert cosine(v, -v) >= -1.0


@given(VECTORS, VECTORS, st.floats(0.1, 10))
def test_distance_is_that_of_the_directions(a: np.ndarray, b: np.ndarray, scale: float) -> None:
    apart = distance(a, b)
    assert 0.0 <= apart <= 2.0
    assert distance(b, a) == apart
    assert distance(a * np.float32(scale), b) == pytest.approx(apart, abs=1e-5)
    assert apart**2 == pytest.approx(2 - 2 * cosine(a, b), abs=1e-5)


def test_distance_keeps_its_digits_where_the_cosine_has_none_left() -> None:
    assert distance(X, X) == 0.0
    assert distance(X, -X) == 2.0
    assert distance(X, Y) == pytest.approx(math.sqrt(2), abs=1e-6)
    near = np.array([1, 1e-5], np.float32)
    assert distance(X, near) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("compare", [cosine, distance])
def test_embeddings_of_different_sizes_cannot_be_compared(compare: Callable[..., float]) -> None:
    with pytest.raises(ValueError, match="compared"):
        compare(X, np.ones(3, np.float32))

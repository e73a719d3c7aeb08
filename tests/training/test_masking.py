from pathlib import Path

import keras
import numpy as np
import pytest

from training.masking import MaskedCrossEntropy, NearestCluster, SpanMask, centroids_of


def frames(rows: int = 40, count: int = 101, bands: int = 3) -> np.ndarray:
    return 1 + np.random.default_rng(0).random((rows, count, bands)).astype(np.float32)


def runs_of_ones(row: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
    return [int(end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def test_nothing_is_hidden_outside_of_training() -> None:
    heard = frames()
    given, hidden = SpanMask(0.5, 4)(heard, training=False)
    np.testing.assert_array_equal(given, heard)
    assert np.asarray(hidden).shape == (40, 51)
    assert not np.asarray(hidden).any()


def test_whole_spans_are_hidden_behind_the_filler() -> None:
    heard, layer = frames(), SpanMask(0.05, 6)
    layer.build(heard.shape)
    layer.set_weights([np.array([-1.0, -2.0, -3.0], np.float32), *layer.get_weights()[1:]])
    given, hidden = (np.asarray(x) for x in layer(heard, training=True))
    of_frames = np.repeat(hidden, 2, axis=1)[:, :101] > 0
    np.testing.assert_allclose(given[of_frames], np.tile([-1, -2, -3], (of_frames.sum(), 1)), atol=1e-6)
    np.testing.assert_array_equal(given[~of_frames], heard[~of_frames])
    inside = [length for row in hidden for length in runs_of_ones(row[6:-6])]
    whole = [length for row in hidden for length in runs_of_ones(row)]
    assert min(whole) >= 3  # half a span at an end of the crop
    assert np.median(inside) >= 6
    # A step shows only where none of the six places begins a span that would hide it.
    assert hidden[:, 6:-6].mean() == pytest.approx(1 - 0.95**6, abs=0.06)


def test_every_crop_and_every_call_is_masked_anew() -> None:
    layer = SpanMask(0.05, 6)
    _, first = layer(frames(), training=True)
    _, second = layer(frames(), training=True)
    assert not np.array_equal(first, second)
    assert len(np.unique(np.asarray(first), axis=0)) > 30


def test_the_nearest_cluster_of_every_other_frame() -> None:
    heard, centroids = frames(4, 9), 1 + np.random.default_rng(1).random((7, 3)).astype(np.float32)
    layer = NearestCluster(7)
    layer.build(heard.shape)
    layer.set_weights([centroids])
    distances = np.linalg.norm(heard[:, ::2, None] - centroids, axis=-1)
    np.testing.assert_array_equal(layer(heard), distances.argmin(axis=-1))


def test_only_hidden_steps_cost() -> None:
    rng = np.random.default_rng(2)
    logits, clusters = rng.standard_normal((3, 5, 4)).astype(np.float32), rng.integers(4, size=(3, 5))
    hidden = np.array([[0, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], np.float32)
    likelihood = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    each = -np.log(np.take_along_axis(likelihood, clusters[..., None], axis=-1)[..., 0])
    expected = [each[0, 1:3].mean(), each[1].mean(), 0.0]
    np.testing.assert_allclose(MaskedCrossEntropy()([logits, clusters, hidden]), expected, rtol=1e-4)


def test_clusters_are_found_again_by_the_same_seed() -> None:
    rng = np.random.default_rng(3)
    places = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    heard = (places[rng.integers(3, size=600)] + 0.1 * rng.standard_normal((600, 2))).astype(np.float32)
    found = centroids_of(heard, 3, seed=4)
    np.testing.assert_array_equal(found, centroids_of(heard, 3, seed=4))
    nearest = np.linalg.norm(found[:, None] - places, axis=-1)
    assert sorted(nearest.argmin(axis=1)) == [0, 1, 2]
    assert nearest.min(axis=1).max() < 0.1


def test_centroids_survive_a_resumed_run(tmp_path: Path) -> None:
    heard = keras.Input((None, 3))
    layer = NearestCluster(7, name="nearest")
    network = keras.Model(heard, layer(heard))
    centroids = frames(1, 7)[0]
    layer.centroids.assign(centroids)
    network.save(tmp_path / "training.keras")
    read = keras.saving.load_model(tmp_path / "training.keras").get_layer("nearest")
    np.testing.assert_array_equal(read.get_weights()[0], centroids)
    assert not read.trainable_weights

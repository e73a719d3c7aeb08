from pathlib import Path

import keras
import numpy as np
import pytest

from tests.training.methods.conftest import Learn
from training.method import branch_of
from training.methods.simclr import Options, TwoViewContrast, two_views
from training.network import NetworkConfig, build_network
from training.signals import speech_like

pytestmark = pytest.mark.timeout(600)


def unit_vectors(rows: int, dim: int) -> np.ndarray:
    vectors = np.random.default_rng(3).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_loss_is_the_published_formula() -> None:
    views, temperature = unit_vectors(8, 5), 0.2
    weights = np.exp((views @ views.T).astype(np.float64) / temperature)

    def pick(anchor: int, partner: int) -> float:
        everyone_else = sum(weights[anchor, k] for k in range(8) if k != anchor)
        return float(-np.log(weights[anchor, partner] / everyone_else))

    expected = [(pick(i, i + 4) + pick(i + 4, i)) / 2 for i in range(4)]
    np.testing.assert_allclose(TwoViewContrast(temperature)(views), expected, rtol=1e-4)


def test_equal_views_of_orthogonal_recordings_cost_least() -> None:
    apart = np.eye(4, dtype=np.float32)
    least = TwoViewContrast(0.1)(np.concatenate([apart, apart]))
    swapped = TwoViewContrast(0.1)(np.concatenate([apart, np.roll(apart, 1, axis=0)]))
    np.testing.assert_allclose(least, np.log1p(6 * np.exp(-10.0)), atol=1e-5)
    assert np.all(np.asarray(swapped) > 10)


def test_it_does_not_matter_which_view_is_left() -> None:
    small = NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12)
    network = two_views(build_network(small), Options())
    left = np.stack([speech_like(0.5, speaker=n) for n in range(3)])
    right = np.stack([speech_like(0.5, speaker=n, take=1) for n in range(3)])
    there, back = network.predict([left, right], verbose=0), network.predict([right, left], verbose=0)
    np.testing.assert_allclose(there, back, rtol=1e-4)


def test_the_branch_survives_a_resumed_run(tmp_path: Path) -> None:
    small = NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12)
    branch = build_network(small)
    two_views(branch, Options()).save(tmp_path / "training.keras")
    read = branch_of(keras.saving.load_model(tmp_path / "training.keras"))
    waveform = speech_like(0.7)[None]
    np.testing.assert_allclose(read(waveform), branch(waveform), atol=1e-6)


def test_two_views_of_a_recording_are_learnt_to_be_one(learn: Learn, tmp_path: Path) -> None:
    learnt = learn("simclr", steps=6)
    assert learnt.losses[-1] < learnt.losses[0]
    assert learnt.eer < 45
    assert learnt.export(tmp_path / "model").dim == 24

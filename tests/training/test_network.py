from pathlib import Path

import numpy as np
import pytest

from training.frontend import WINDOW
from training.methods import load_network
from training.network import NetworkConfig, build_network
from training.signals import speech_like

SMALL = NetworkConfig(channels=24, dilations=(1, 2), aggregate=32, bottleneck=8, dim=16)


@pytest.fixture(scope="module")
def network():
    return build_network(SMALL)


def test_the_level_of_a_recording_does_not_matter(network) -> None:
    waveform = speech_like(1.0, speaker=2)[None]
    loud, soft = (network.predict(waveform * gain, verbose=0)[0] for gain in (1.0, 0.02))
    assert loud @ soft > 0.9999


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + 1, 1600, 24001])
def test_embeddings_have_unit_length_at_any_duration(network, samples: int) -> None:
    embedding = network.predict(speech_like(2.0)[None, :samples], verbose=0)
    assert embedding.shape == (1, SMALL.dim)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(network) -> None:
    voices = np.stack([speech_like(1.0, speaker=s) for s in range(4)])
    together = network.predict(voices, verbose=0)
    alone = np.concatenate([network.predict(v[None], verbose=0) for v in voices])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_saved_network_comes_back_the_same(network, tmp_path: Path) -> None:
    network.save(tmp_path / "branch.keras")
    voice = speech_like(1.0)[None]
    again = load_network(tmp_path / "branch.keras")
    np.testing.assert_array_equal(network.predict(voice, verbose=0), again.predict(voice, verbose=0))

from pathlib import Path

import librosa
import numpy as np
import pytest

from training.frontend import HOP, WINDOW, LogMel, SpecAugment
from training.methods import load_network
from training.network import NetworkConfig, build_network
from training.signals import speech_like

SMALL = NetworkConfig(channels=24, dilations=(1, 2), aggregate=32, bottleneck=8, dim=16)


@pytest.fixture(scope="module")
def network():  # type: ignore[no-untyped-def]
    return build_network(SMALL)


def test_the_front_end_is_librosas_mel_spectrogram() -> None:
    waveform = speech_like(1.0, speaker=2)
    ours = np.asarray(LogMel(80, floor=1e-4)(waveform[None]))[0]
    scaled = waveform / np.sqrt(np.mean(waveform**2) + 1e-10)
    # librosa centres a window shorter than the transform: 56 samples on either side.
    mel = librosa.feature.melspectrogram(
        y=np.pad(scaled, 56),
        sr=16000,
        n_fft=512,
        hop_length=HOP,
        win_length=WINDOW,
        center=False,
        n_mels=80,
        fmin=20.0,
        fmax=7600.0,
    )
    theirs = np.log(mel + 1e-4).T
    np.testing.assert_allclose(ours, theirs - theirs.mean(axis=0), atol=2e-3)


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + 1, 559, 560, 561, 16000, 16001])
def test_frames_are_counted_as_documented(samples: int) -> None:
    waveform = np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)
    frames = LogMel()(waveform).shape
    assert tuple(frames) == LogMel().compute_output_shape((1, samples))
    assert frames[1] == 1 + (samples - WINDOW) // HOP


def test_the_level_of_a_recording_does_not_matter(network) -> None:  # type: ignore[no-untyped-def]
    waveform = speech_like(1.0, speaker=2)[None]
    loud, soft = (network.predict(waveform * gain, verbose=0)[0] for gain in (1.0, 0.02))
    assert loud @ soft > 0.9999


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + 1, 1600, 24001])
def test_embeddings_have_unit_length_at_any_duration(network, samples: int) -> None:  # type: ignore[no-untyped-def]
    embedding = network.predict(speech_like(2.0)[None, :samples], verbose=0)
    assert embedding.shape == (1, SMALL.dim)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(network) -> None:  # type: ignore[no-untyped-def]
    voices = np.stack([speech_like(1.0, speaker=s) for s in range(4)])
    together = network.predict(voices, verbose=0)
    alone = np.concatenate([network.predict(v[None], verbose=0) for v in voices])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_saved_network_comes_back_the_same(network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    network.save(tmp_path / "branch.keras")
    voice = speech_like(1.0)[None]
    again = load_network(tmp_path / "branch.keras")
    np.testing.assert_array_equal(network.predict(voice, verbose=0), again.predict(voice, verbose=0))


def test_spec_augment_masks_in_training_only() -> None:
    layer = SpecAugment(bands=10, frames=20, seed=3)
    frames = np.ones((4, 100, 80), np.float32)
    np.testing.assert_array_equal(layer(frames), frames)
    masked = np.asarray(layer(frames, training=True))
    whole_bands = (masked == 0).all(axis=1).sum(axis=1)
    whole_frames = (masked == 0).all(axis=2).sum(axis=1)
    assert whole_bands.max() <= 10
    assert whole_frames.max() <= 20
    assert (whole_bands + whole_frames).sum() > 0

"""Every front end beside librosa, SciPy or the paper, and the same again in ONNX Runtime."""

from typing import Literal

import keras
import librosa
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
import scipy.fft
import scipy.linalg
import scipy.signal

from app.arrays import Waveform
from training.export import convert, runner, trace
from training.frontend import FrontEnd, SpecAugment, front_end
from training.network import NetworkConfig, build_network
from training.signals import speech_like
from training.spectra import FRAMINGS, WINDOW, rate_filter, rate_kernel, resampled

KINDS = [
    FrontEnd(),
    FrontEnd("log_mel", bands=64, rate_hz=22_050),
    FrontEnd("spectrogram"),
    FrontEnd("spectrogram", rate_hz=22_050),
    FrontEnd("mfcc", coefficients=20),
    FrontEnd("mfcc", deltas=2),
    FrontEnd("plp"),
    FrontEnd("plp", coefficients=10, deltas=1, rate_hz=22_050),
]
LENGTHS = [WINDOW, WINDOW + 1, 559, 560, 561, 639, 640, 641, 8005, 16_000]
SMALL = NetworkConfig(channels=24, dilations=(1, 2), aggregate=32, bottleneck=8, dim=16)
each_kind = pytest.mark.parametrize("config", KINDS, ids=lambda c: f"{c.kind}-{c.rate_hz}-{c.deltas}")

Numbers = npt.NDArray[np.float64]


def features(config: FrontEnd, waveform: Waveform) -> npt.NDArray[np.float32]:
    """(frames, features) of one waveform."""
    return np.asarray(front_end(config)(waveform[None]))[0]


def unit_rms(waveform: Waveform) -> Numbers:
    return np.asarray(waveform / np.sqrt(np.mean(waveform.astype(np.float64) ** 2) + 1e-10))


def centred(x: Numbers) -> Numbers:
    """Coefficients or bands by frames, as librosa has them → frames first, mean over time subtracted."""
    return x.T - x.T.mean(axis=0)


def power_by_librosa(waveform: Numbers, rate_hz: int = 16_000) -> Numbers:
    """(bins, frames). librosa centres a window that is shorter than the transform, hence the padding."""
    framing = FRAMINGS[rate_hz]
    spectrum = librosa.stft(
        y=np.pad(waveform, (framing.fft - framing.window) // 2),
        n_fft=framing.fft,
        hop_length=framing.hop,
        win_length=framing.window,
        window="hann",
        center=False,
    )
    return np.abs(spectrum) ** 2


def log_mel_by_librosa(waveform: Numbers, bands: int = 80, rate_hz: int = 16_000) -> Numbers:
    mel = librosa.feature.melspectrogram(
        S=power_by_librosa(waveform, rate_hz),
        sr=rate_hz,
        n_fft=FRAMINGS[rate_hz].fft,
        n_mels=bands,
        fmin=20.0,
        fmax=7600.0,
        htk=False,
        norm="slaney",
    )
    return np.log(mel + 1e-4)


def test_log_mel_is_librosas() -> None:
    waveform = speech_like(1.0, speaker=2)
    theirs = centred(log_mel_by_librosa(unit_rms(waveform)))
    np.testing.assert_allclose(features(FrontEnd(), waveform), theirs, atol=2e-3)


def test_the_spectrogram_is_librosas() -> None:
    waveform = speech_like(1.0, speaker=2)
    theirs = centred(np.log(power_by_librosa(unit_rms(waveform)) + 3e-3))
    np.testing.assert_allclose(features(FrontEnd("spectrogram"), waveform), theirs, atol=2e-3)


@pytest.mark.parametrize(("bands", "coefficients"), [(80, 13), (40, 20)])
def test_mfcc_is_librosas(bands: int, coefficients: int) -> None:
    waveform = speech_like(1.0, speaker=2)
    log_mel = log_mel_by_librosa(unit_rms(waveform), bands)
    theirs = librosa.feature.mfcc(S=log_mel, n_mfcc=coefficients, dct_type=2, norm="ortho", lifter=0)
    by_scipy = scipy.fft.dct(log_mel, type=2, norm="ortho", axis=0)[:coefficients]
    np.testing.assert_allclose(theirs, by_scipy, atol=1e-5)
    ours = features(FrontEnd("mfcc", bands=bands, coefficients=coefficients), waveform)
    np.testing.assert_allclose(ours, centred(theirs), atol=5e-3)


@pytest.mark.parametrize("samples", [WINDOW, 3 * WINDOW, 16_000])
@pytest.mark.parametrize("kind", ["mfcc", "plp"])
def test_deltas_are_librosas_at_the_edges_too(kind: Literal["mfcc", "plp"], samples: int) -> None:
    waveform = speech_like(1.0, speaker=5)[:samples]
    plain, ours = (features(FrontEnd(kind, deltas=n), waveform) for n in (0, 2))
    deltas = [librosa.feature.delta(plain.T, width=9, order=n, axis=-1, mode="nearest") for n in (1, 2)]
    theirs = np.concatenate([centred(x) for x in (plain.T, *deltas)], axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def plp_of_the_paper(waveform: Numbers, rate_hz: int, count: int) -> Numbers:
    """Cepstra of Hermansky's perceptual linear prediction, (count, frames), band by band, frame by frame."""
    power = power_by_librosa(waveform, rate_hz)
    hertz = np.linspace(0, rate_hz / 2, len(power))
    barks = 6 * np.log(hertz / 600 + np.sqrt((hertz / 600) ** 2 + 1))
    bands = np.linspace(0, barks[-1], int(np.ceil(barks[-1])) + 1)
    heard = []
    for band in bands:
        omega = 2 * np.pi * 600 * np.sinh(band / 6)
        loudness = (omega**2 + 56.8e6) * omega**4
        loudness /= (omega**2 + 6.3e6) ** 2 * (omega**2 + 0.38e9) * (omega**6 + 9.58e26)
        total = np.zeros(power.shape[1])
        for place, row in zip(barks, power, strict=True):
            total += masking(band - place) * row
        heard.append((loudness, total))
    loudest = max(loudness for loudness, _ in heard)
    bands_heard = [loudness / loudest * total for loudness, total in heard]
    bands_heard[0], bands_heard[-1] = bands_heard[1], bands_heard[-2]
    perceived = (np.array(bands_heard) + 1e-2) ** 0.33
    return np.array([cepstrum_of_model(spectrum, count) for spectrum in perceived.T]).T


def masking(distance: float) -> float:
    """Level at a critical band, of power so many Bark below it."""
    if -0.5 < distance < 0.5:
        return 1.0
    if -1.3 <= distance <= -0.5:
        return float(10 ** (2.5 * (distance + 0.5)))
    return float(10 ** -(distance - 0.5)) if 0.5 <= distance <= 2.5 else 0.0


def cepstrum_of_model(spectrum: Numbers, count: int) -> Numbers:
    """Cepstrum of the all-pole model, by the logarithm of its spectrum instead of a recursion."""
    both_sides = np.concatenate([spectrum, spectrum[-2:0:-1]])
    lags = np.fft.ifft(both_sides).real[:count]
    a = scipy.linalg.solve_toeplitz(lags[:-1], -lags[1:])
    error = lags[0] + a @ lags[1:]
    inverse = np.fft.fft(np.concatenate([[1.0], a]), 4096)
    return np.fft.ifft(np.log(error / np.abs(inverse) ** 2)).real[:count]


@pytest.mark.parametrize(("rate_hz", "count"), [(16_000, 13), (16_000, 9), (22_050, 13)])
def test_plp_is_the_papers(rate_hz: int, count: int) -> None:
    waveform = speech_like(0.6, speaker=4)
    scaled = unit_rms(waveform)
    if rate_hz != 16_000:
        scaled = scipy.signal.resample_poly(scaled, 441, 320, window=rate_filter() / 441)
    theirs = plp_of_the_paper(scaled, rate_hz, count)
    ours = features(FrontEnd("plp", coefficients=count, rate_hz=rate_hz), waveform)
    np.testing.assert_allclose(ours, centred(theirs), atol=2e-3)


@pytest.mark.parametrize("samples", LENGTHS)
def test_the_change_of_rate_is_scipys(samples: int) -> None:
    waveform = speech_like(samples / 16_000, speaker=3)
    ours = np.asarray(resampled(waveform[None], rate_kernel()))[0]
    theirs = scipy.signal.resample_poly(waveform.astype(np.float64), 441, 320, window=rate_filter() / 441)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_change_of_rate_is_soxrs_where_a_filter_has_to_choose_nothing() -> None:
    low_pass = scipy.signal.firwin(201, 6_800, fs=16_000)
    speech = np.convolve(speech_like(1.0, speaker=3), low_pass, "same").astype(np.float32)
    ours = np.asarray(resampled(speech[None], rate_kernel()))[0]
    theirs = librosa.resample(speech, orig_sr=16_000, target_sr=22_050, res_type="soxr_vhq")
    away_from_the_edges = slice(200, -200)
    np.testing.assert_allclose(ours[away_from_the_edges], theirs[away_from_the_edges], atol=1e-5)


@pytest.mark.parametrize("samples", LENGTHS)
@each_kind
def test_frames_are_counted_as_documented(config: FrontEnd, samples: int) -> None:
    layer, framing = front_end(config), FRAMINGS[config.rate_hz]
    waveform = np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)
    found = layer(waveform)
    assert tuple(found.shape) == layer.compute_output_shape((1, samples))
    at_rate = -(-samples * config.rate_hz // 16_000)
    assert found.shape[1] == 1 + (at_rate - framing.window) // framing.hop
    assert np.isfinite(found).all()


def test_an_hour_is_resampled_to_an_hour() -> None:
    layer = front_end(FrontEnd("spectrogram", rate_hz=22_050))
    assert layer.compute_output_shape((1, 3600 * 16_000))[1] == 1 + (3600 * 22_050 - 550) // 220


@each_kind
def test_silence_is_nothing(config: FrontEnd) -> None:
    silence = np.asarray(front_end(config)(np.zeros((1, 8000), np.float32)))
    np.testing.assert_allclose(silence, 0, atol=1e-3)


@each_kind
def test_a_front_end_survives_saving(config: FrontEnd) -> None:
    layer = front_end(config)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    waveform = speech_like(0.5)[None]
    np.testing.assert_array_equal(layer(waveform), again(waveform))
    assert again.get_config() == layer.get_config()
    assert layer.name == config.kind


@each_kind
def test_a_network_over_it_is_the_same_in_onnx(config: FrontEnd) -> None:
    traced = trace(build_network(SMALL, config))
    session = ort.InferenceSession(convert(traced).SerializeToString())
    for number, samples in enumerate(LENGTHS):
        speech = speech_like(samples / 16_000, speaker=number)
        batch = np.stack([speech, np.zeros_like(speech), 1e-3 * speech[::-1]])
        found = session.run(["embedding"], {"waveform": batch})[0]
        np.testing.assert_allclose(found, runner(traced)(batch), atol=2e-4)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="wavelet"):
        front_end(FrontEnd("wavelet"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="44100"):
        front_end(FrontEnd(rate_hz=44_100))
    with pytest.raises(ValueError, match="40 mel bands"):
        front_end(FrontEnd("mfcc", bands=40, coefficients=41))
    with pytest.raises(ValueError, match="21 critical bands"):
        front_end(FrontEnd("plp", coefficients=22))


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


def test_of_few_features_spec_augment_leaves_most() -> None:
    layer = SpecAugment(bands=10, frames=0, seed=3)
    masked = np.stack([np.asarray(layer(np.ones((8, 5, 13), np.float32), training=True)) for _ in range(9)])
    assert (masked == 0).any(axis=2).sum(axis=-1).max() == 3

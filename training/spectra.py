"""Spectra inside the graph: waveform → power of each frame → log spectrogram or log-mel spectrogram.

Everything is a fixed convolution or a matrix product, because the CUDA provider of ONNX Runtime has no STFT
kernel; so is the change of rate.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import keras
import librosa
import numpy as np
import numpy.typing as npt
from keras import ops
from scipy.signal import firwin

from app.arrays import SAMPLE_RATE_HZ

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Framing:
    """How a waveform of one rate is cut into frames, in samples of that rate."""

    window: int
    """Analysis window, Hann: 25 ms."""
    hop: int
    """Distance between windows: 10 ms."""
    fft: int
    """Points of the Fourier transform: a power of two from `window` on."""

    @property
    def step(self) -> int:
        """Divides both window and hop: framing becomes one dense convolution over steps."""
        return self.hop // 2

    @property
    def bins(self) -> int:
        """Frequencies from zero to half the rate."""
        return self.fft // 2 + 1


FRAMINGS = {SAMPLE_RATE_HZ: Framing(400, 160, 512), 22_050: Framing(550, 220, 1024)}
"""By rate; windows and hops of 22,050 Hz are shorter than 25 and 10 ms by a quarter of a percent."""
WINDOW = FRAMINGS[SAMPLE_RATE_HZ].window
"""Analysis window, in samples (25 ms): the shortest waveform that is taken, at any rate."""
HOP = FRAMINGS[SAMPLE_RATE_HZ].hop
"""Distance between windows, in samples (10 ms)."""

UP, DOWN = 441, 320
"""22,050 / 16,000: every 320 samples become 441."""
_REACH = 64
"""Samples on either side of a moment that its new sample is made of."""
_STEPS = DOWN // _REACH
"""Steps of 64 samples in a block of 320, by which the convolution over them moves."""


def rate_filter() -> npt.NDArray[np.float64]:
    """Low-pass filter at 16,000 x 441 Hz for the change of rate, gain 441: (2 * 64 * 441 + 1,).

    Flat up to 7.2 kHz and 100 dB down from 8 kHz on, where the images begin.
    """
    taps = 2 * _REACH * UP + 1
    beta = 10.0  # 100 dB; with it, 64 samples of reach make the slope about 800 Hz wide
    low_pass = firwin(taps, 7_600, window=("kaiser", beta), fs=SAMPLE_RATE_HZ * UP)
    return np.asarray(UP * low_pass)


def rate_kernel() -> Matrix:
    """The filter as a convolution over steps of 64 samples: float32 (7, 64, 441), stride 5.

    Sample j of a block of 441 stands at 320 j / 441 of its 320 samples.
    """
    taps = rate_filter()
    heard = np.arange(-_REACH, DOWN + _REACH)
    moment = DOWN * np.arange(UP)
    place = moment[None, :] - UP * heard[:, None] + _REACH * UP
    inside = (place >= 0) & (place < len(taps))
    kernel = np.where(inside, taps[np.clip(place, 0, len(taps) - 1)], 0.0)
    return np.asarray(kernel.reshape(_STEPS + 2, _REACH, UP), np.float32)


def resampled(waveform: keras.KerasTensor, kernel: Matrix) -> keras.KerasTensor:
    """16,000 → 22,050 Hz: float32 (batch, samples) → (batch, ceil(samples * 441 / 320)).

    Polyphase filtering as one convolution: each block of 320 samples with its surroundings, times a matrix.
    """
    samples = ops.shape(waveform)[1]
    # As many zeros behind as the last block may need; what they make is cut off again.
    x = ops.pad(waveform, ((0, 0), (_REACH, _REACH + DOWN - 1)))
    steps = (samples + 2 * _REACH + DOWN - 1) // _REACH
    x = ops.reshape(x[:, : steps * _REACH], (-1, steps, _REACH))
    x = ops.conv(x, ops.convert_to_tensor(kernel), strides=_STEPS, padding="valid")
    blocks = (steps - _STEPS - 2) // _STEPS + 1
    return ops.reshape(x, (-1, blocks * UP))[:, : length_after(samples)]


def length_after(samples: Any) -> Any:
    """Samples at 22,050 Hz of so many at 16,000 Hz; in parts, which 32 bits hold for hours."""
    return samples // DOWN * UP + (samples % DOWN * UP + DOWN - 1) // DOWN


def _fourier_kernel(framing: Framing) -> Matrix:
    """Hann-windowed DFT of a frame as a convolution kernel, float32 (window/step, step, 2 * bins)."""
    n = np.arange(framing.window)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / framing.window)
    phase = 2 * np.pi * np.outer(n, np.arange(framing.bins)) / framing.fft
    kernel = window[:, None] * np.concatenate([np.cos(phase), -np.sin(phase)], axis=1)
    return np.asarray(kernel.reshape(framing.window // framing.step, framing.step, -1), np.float32)


def mel_filters(bands: int, rate_hz: int) -> Matrix:
    """Slaney's mel bands from 20 to 7,600 Hz, of unit area: float32 (bins, bands)."""
    filters: Matrix = librosa.filters.mel(
        sr=rate_hz,
        n_fft=FRAMINGS[rate_hz].fft,
        n_mels=bands,
        fmin=20.0,
        fmax=7600.0,
        htk=False,
        norm="slaney",
        dtype=np.float32,
    ).T
    return filters


class Spectra(keras.layers.Layer, ABC):
    """float32 waveform (batch, samples), 16 kHz, [-1, 1] → frames (batch, frames, features).

    The waveform is scaled to unit RMS first, so that the floor under the logarithm means the same at every
    recording level; last, each feature's mean over time is subtracted. `frames` is
    1 + (samples - WINDOW) // HOP, at 22,050 Hz by the window and the hop of that rate.

    Args:
        floor: Power under which a band counts as silent, relative to unit RMS.
        rate_hz: Rate at which frames are taken: 16,000 or 22,050.
    """

    def __init__(self, floor: float, rate_hz: int = SAMPLE_RATE_HZ, **kwargs: Any) -> None:
        # The front end stays in float32 under mixed precision: a logarithm of a bf16 power
        # would cost the quiet bands their resolution.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        if rate_hz not in FRAMINGS:
            raise ValueError(f"no frames at {rate_hz} Hz; there are {' and '.join(map(str, FRAMINGS))}")
        self.floor, self.rate_hz, self.framing = floor, rate_hz, FRAMINGS[rate_hz]
        self.fourier = _fourier_kernel(self.framing)
        self.rate_kernel = None if rate_hz == SAMPLE_RATE_HZ else rate_kernel()

    @property
    @abstractmethod
    def features(self) -> int:
        """Numbers that a frame becomes."""

    @abstractmethod
    def heard(self, power: keras.KerasTensor) -> keras.KerasTensor:
        """Power (batch, frames, bins) → features (batch, frames, features)."""

    def call(self, waveform: keras.KerasTensor) -> keras.KerasTensor:
        x = self.heard(self.power(waveform))
        return x - ops.mean(x, axis=1, keepdims=True)

    def power(self, waveform: keras.KerasTensor) -> keras.KerasTensor:
        """Power spectrum of each frame: float32 (batch, frames, bins)."""
        scale = ops.rsqrt(ops.mean(ops.square(waveform), axis=1, keepdims=True) + 1e-10)
        x, step = waveform * scale, self.framing.step
        if self.rate_kernel is not None:
            x = resampled(x, self.rate_kernel)
        steps = ops.shape(x)[1] // step
        x = ops.reshape(x[:, : steps * step], (-1, steps, step))
        stride = self.framing.hop // step
        x = ops.conv(x, ops.convert_to_tensor(self.fourier), strides=stride, padding="valid")
        bins = self.framing.bins
        return ops.square(x[:, :, :bins]) + ops.square(x[:, :, bins:])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        samples = input_shape[1]
        if samples is None:
            return (input_shape[0], None, self.features)
        if self.rate_kernel is not None:
            samples = length_after(samples)
        return (input_shape[0], 1 + (samples - self.framing.window) // self.framing.hop, self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "floor": self.floor, "rate_hz": self.rate_hz}


@keras.saving.register_keras_serializable("timbre")
class Spectrogram(Spectra):
    """Log power spectrogram, linear in frequency: natural log, 257 bins at 16,000 Hz, 513 at 22,050.

    The floor stands for as much as that of `LogMel`, whose bands of unit area divide by the 31 Hz of a bin.
    """

    def __init__(self, floor: float = 3e-3, **kwargs: Any) -> None:
        super().__init__(floor=floor, **kwargs)

    @property
    def features(self) -> int:
        return self.framing.bins

    def heard(self, power: keras.KerasTensor) -> keras.KerasTensor:
        # In units of the floor, which the mean takes away again: silence is then nothing, to the last digit.
        return ops.log(power / self.floor + 1)


@keras.saving.register_keras_serializable("timbre")
class LogMel(Spectra):
    """Log-mel spectrogram, natural log.

    Args:
        bands: Number of mel bands.
        floor: As in `Spectra`.
    """

    def __init__(self, bands: int = 80, floor: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(floor=floor, **kwargs)
        self.bands = bands
        self.mel = mel_filters(bands, self.rate_hz)

    @property
    def features(self) -> int:
        return self.bands

    def heard(self, power: keras.KerasTensor) -> keras.KerasTensor:
        return ops.log(ops.matmul(power, ops.convert_to_tensor(self.mel)) / self.floor + 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bands": self.bands}

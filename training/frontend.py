"""The front end, inside the graph: waveform → log-mel spectrogram, mean-normalised over time."""

from dataclasses import dataclass
from typing import Any, Literal

import keras
import librosa
import numpy as np
import numpy.typing as npt
from keras import ops

from app.arrays import SAMPLE_RATE_HZ

WINDOW = 400
"""Analysis window, in samples (25 ms)."""
HOP = 160
"""Distance between windows, in samples (10 ms)."""
_STEP = 80  # divides both WINDOW and HOP: framing becomes one dense convolution over steps
_FFT = 512


def _fourier_kernel() -> npt.NDArray[np.float32]:
    """Hann-windowed DFT of one frame as a convolution kernel, float32 (WINDOW/_STEP, _STEP, 2 * bins)."""
    n = np.arange(WINDOW)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / WINDOW)
    phase = 2 * np.pi * np.outer(n, np.arange(_FFT // 2 + 1)) / _FFT
    kernel = window[:, None] * np.concatenate([np.cos(phase), -np.sin(phase)], axis=1)
    return np.asarray(kernel.reshape(WINDOW // _STEP, _STEP, -1), np.float32)


@dataclass(frozen=True)
class FrontEnd:
    """What a network hears; a recipe names it in its section [front_end]."""

    kind: Literal["log_mel"] = "log_mel"
    """Log-mel spectrogram."""
    bands: int = 80
    """Mel bands."""


LOG_MEL = FrontEnd()
"""What the shipped model hears."""


def front_end(config: FrontEnd) -> keras.layers.Layer:
    """The layer of a front end: waveform (batch, samples) → (batch, frames, features), named by its kind."""
    return LogMel(config.bands, name=config.kind)


@keras.saving.register_keras_serializable("timbre")
class LogMel(keras.layers.Layer):
    """float32 waveform (batch, samples), [-1, 1] → log-mel frames (batch, frames, bands), natural log.

    The Fourier transform is a fixed convolution because the CUDA provider of ONNX Runtime has no
    STFT kernel. The waveform is scaled to unit RMS first, so that the floor under the logarithm
    means the same at every recording level. `frames` is 1 + (samples - WINDOW) // HOP.

    Args:
        bands: Number of mel bands.
        floor: Power under which a band counts as silent, relative to unit RMS.
    """

    def __init__(self, bands: int = 80, floor: float = 1e-4, **kwargs: Any) -> None:
        # The front end stays in float32 under mixed precision: a logarithm of a bf16 power
        # would cost the quiet bands their resolution.
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.bands = bands
        self.floor = floor
        self.fourier = _fourier_kernel()
        self.mel = librosa.filters.mel(
            sr=SAMPLE_RATE_HZ,
            n_fft=_FFT,
            n_mels=bands,
            fmin=20.0,
            fmax=7600.0,
            htk=False,
            norm="slaney",
            dtype=np.float32,
        ).T

    def call(self, waveform: keras.KerasTensor) -> keras.KerasTensor:
        scale = ops.rsqrt(ops.mean(ops.square(waveform), axis=1, keepdims=True) + 1e-10)
        steps = ops.shape(waveform)[1] // _STEP
        x = (waveform * scale)[:, : steps * _STEP]
        x = ops.reshape(x, (-1, steps, _STEP))
        x = ops.conv(x, ops.convert_to_tensor(self.fourier), strides=HOP // _STEP, padding="valid")
        bins = _FFT // 2 + 1
        power = ops.square(x[:, :, :bins]) + ops.square(x[:, :, bins:])
        energy = ops.matmul(power, ops.convert_to_tensor(self.mel))
        x = ops.log(energy + self.floor)
        return x - ops.mean(x, axis=1, keepdims=True)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        samples = input_shape[1]
        frames = None if samples is None else 1 + (samples // _STEP - WINDOW // _STEP) // (HOP // _STEP)
        return (input_shape[0], frames, self.bands)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bands": self.bands, "floor": self.floor}


@keras.saving.register_keras_serializable("timbre")
class SpecAugment(keras.layers.Layer):
    """Zeroes one random band of frequencies and one of time, in training only.

    Args:
        bands: Most mel bands masked at once.
        frames: Most frames masked at once.

    Source: Park et al., SpecAugment, 2019.
    """

    def __init__(self, bands: int = 10, frames: int = 12, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bands, self.frames, self.seed = bands, frames, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, x: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        if not training:
            return x
        for axis, most in ((1, self.frames), (2, self.bands)):
            x = x * self._mask(x, axis, most)
        return x

    def _mask(self, x: keras.KerasTensor, axis: int, most: int) -> keras.KerasTensor:
        batch, length = ops.shape(x)[0], ops.shape(x)[axis]
        width = ops.floor(keras.random.uniform((batch, 1), 0, most + 1, seed=self.generator))
        start = keras.random.uniform((batch, 1), seed=self.generator) * (ops.cast(length, "float32") - width)
        place = ops.cast(ops.arange(length), "float32")[None, :]
        keep = ops.logical_or(place < start, place >= start + width)
        return ops.expand_dims(ops.cast(keep, x.dtype), 3 - axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bands": self.bands, "frames": self.frames, "seed": self.seed}

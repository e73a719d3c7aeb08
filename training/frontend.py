"""The front end, inside the graph: waveform → what the network hears, mean-normalised over time."""

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import ops

from app.arrays import SAMPLE_RATE_HZ
from training.cepstra import Mfcc, Plp
from training.spectra import HOP, WINDOW, LogMel, Spectra, Spectrogram

__all__ = ["HOP", "LOG_MEL", "WINDOW", "FrontEnd", "SpecAugment", "front_end"]


@dataclass(frozen=True)
class FrontEnd:
    """What a network hears; a recipe names it in its section [front_end]."""

    kind: Literal["log_mel", "spectrogram", "mfcc", "plp"] = "log_mel"
    """Log-mel spectrogram, log power spectrogram of linear frequency, or cepstra of either sort."""
    bands: int = 80
    """Mel bands, of log_mel and mfcc."""
    coefficients: int = 13
    """Cepstral coefficients of mfcc and plp, the zeroth included."""
    deltas: int = 0
    """Their derivatives over time beside them: none, the first, or the first and the second."""
    rate_hz: int = SAMPLE_RATE_HZ
    """Rate at which frames are taken, 16000 or 22050; the waveform is always of 16000."""


LOG_MEL = FrontEnd()
"""What the shipped model hears."""


def front_end(config: FrontEnd) -> Spectra:
    """The layer of a front end: waveform (batch, samples) → (batch, frames, features), named by its kind.

    Raises:
        ValueError: The kind or the rate is unknown.
    """
    shared: dict[str, Any] = {"rate_hz": config.rate_hz, "name": config.kind}
    match config.kind:
        case "log_mel":
            return LogMel(config.bands, **shared)
        case "spectrogram":
            return Spectrogram(**shared)
        case "mfcc":
            return Mfcc(config.bands, config.coefficients, config.deltas, **shared)
        case "plp":
            return Plp(config.coefficients, config.deltas, **shared)
    raise ValueError(f"unknown front end {config.kind!r}")


@keras.saving.register_keras_serializable("timbre")
class SpecAugment(keras.layers.Layer):
    """Zeroes one random band of frequencies and one of time, in training only.

    Args:
        bands: Most mel bands, or other features, masked at once; never more than a quarter of them.
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
        for axis, most in ((1, self.frames), (2, min(self.bands, x.shape[2] // 4))):
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

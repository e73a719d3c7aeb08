"""Cepstra inside the graph: mel-frequency cepstral coefficients and perceptual linear prediction."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops
from scipy.fft import dct
from scipy.signal import savgol_coeffs

from training.spectra import FRAMINGS, Matrix, Spectra, mel_filters

_DELTA_WIDTH = 9
"""Frames that a delta is fitted to."""
_LOUDNESS_POWER = 0.33
"""Perceived loudness as a power of intensity."""


def bark(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequency in hertz → critical-band rate in Bark.

    Source: Schroeder, 1977; equation 3 of Hermansky, 1990.
    """
    return np.asarray(6 * np.arcsinh(np.asarray(frequency_hz, np.float64) / 600))


def equal_loudness(frequency_hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Sensitivity of hearing to power at about 40 dB, to a constant factor; beyond 5 kHz too.

    Source: Hermansky, 1990, equation 8.
    """
    square = (2 * np.pi * np.asarray(frequency_hz, np.float64)) ** 2
    below = (square + 56.8e6) * square**2 / ((square + 6.3e6) ** 2 * (square + 0.38e9))
    return np.asarray(below / (square**3 + 9.58e26))


def critical_bands(rate_hz: int) -> Matrix:
    """Critical bands with equal-loudness pre-emphasis: float32 (bins, bands), a Bark or less apart.

    The first band stands at zero and the last at half the rate, where hearing's sensitivity says nothing of
    use; both are made equal to their neighbours. The most sensitive band has weight 1.

    Source: Hermansky, 1990, equations 4 to 8.
    """
    highest = bark(rate_hz / 2)
    centres = np.linspace(0, highest, int(np.ceil(highest)) + 1)
    frequencies = np.arange(FRAMINGS[rate_hz].bins) * rate_hz / FRAMINGS[rate_hz].fft
    # A convolution: what a band hears of the frequencies below it falls off slowly, as masking does.
    away = centres[None, :] - bark(frequencies)[:, None]
    slopes = np.minimum(10 ** (2.5 * (away + 0.5)), 10 ** (0.5 - away))
    masking = np.where((away < -1.3) | (away > 2.5), 0.0, np.minimum(slopes, 1.0))
    loudness = equal_loudness(600 * np.sinh(centres / 6))
    weighted = masking * (loudness / loudness.max())
    weighted[:, 0], weighted[:, -1] = weighted[:, 1], weighted[:, -2]
    return np.asarray(weighted, np.float32)


def _delta_kernel(features: int, orders: int) -> Matrix:
    """Features beside their derivatives over time, as a kernel: float32 (9, features, …)."""
    moment = np.eye(_DELTA_WIDTH)[_DELTA_WIDTH // 2]
    # Keras correlates: SciPy's coefficients stand in the order of the frames only when it is told so.
    fits = [savgol_coeffs(_DELTA_WIDTH, n, deriv=n, use="dot") for n in range(1, orders + 1)]
    kernel = [fit[:, None, None] * np.eye(features) for fit in (moment, *fits)]
    return np.concatenate(kernel, axis=-1).astype(np.float32)


class Cepstra(Spectra):
    """Cepstral coefficients, with their derivatives over time where asked for.

    A derivative is that of a polynomial fitted to nine frames; before the first and behind the last frame
    stand copies of them, as in `librosa.feature.delta` with mode `nearest`.

    Args:
        coefficients: Cepstral coefficients of a frame, the zeroth included.
        deltas: Derivatives beside them: none, the first, or the first and the second.
        floor: As in `Spectra`.
    """

    def __init__(self, coefficients: int, deltas: int, floor: float, **kwargs: Any) -> None:
        super().__init__(floor=floor, **kwargs)
        self.coefficients, self.deltas = coefficients, deltas
        self.delta_kernel = _delta_kernel(coefficients, deltas) if deltas else None

    @property
    def features(self) -> int:
        return self.coefficients * (1 + self.deltas)

    def with_deltas(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """(batch, frames, coefficients) → (batch, frames, features)."""
        if self.delta_kernel is None:
            return x
        first, last = (ops.repeat(edge, _DELTA_WIDTH // 2, axis=1) for edge in (x[:, :1], x[:, -1:]))
        x = ops.concatenate([first, x, last], axis=1)
        return ops.conv(x, ops.convert_to_tensor(self.delta_kernel), strides=1, padding="valid")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "coefficients": self.coefficients, "deltas": self.deltas}


@keras.saving.register_keras_serializable("timbre")
class Mfcc(Cepstra):
    """Mel-frequency cepstral coefficients: orthonormal cosine transform (DCT-II) of the log-mel spectrogram.

    Args:
        bands: Number of mel bands.
        coefficients: How many are kept, from the zeroth on; at most `bands`.
        deltas: As in `Cepstra`.
        floor: As in `Spectra`.

    Source: Davis and Mermelstein, 1980; orthonormal as in librosa.
    """

    def __init__(
        self, bands: int = 80, coefficients: int = 13, deltas: int = 0, floor: float = 1e-4, **kwargs: Any
    ) -> None:
        super().__init__(coefficients=coefficients, deltas=deltas, floor=floor, **kwargs)
        if coefficients > bands:
            raise ValueError(f"{bands} mel bands give no {coefficients} coefficients")
        self.bands = bands
        self.mel = mel_filters(bands, self.rate_hz)
        self.cosines = dct(np.eye(bands), norm="ortho")[:, :coefficients].astype(np.float32)

    def heard(self, power: keras.KerasTensor) -> keras.KerasTensor:
        # In units of the floor, which the mean takes away again: silence is then nothing, to the last digit.
        x = ops.log(ops.matmul(power, ops.convert_to_tensor(self.mel)) / self.floor + 1)
        return self.with_deltas(ops.matmul(x, ops.convert_to_tensor(self.cosines)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bands": self.bands}


@keras.saving.register_keras_serializable("timbre")
class Plp(Cepstra):
    """Perceptual linear prediction: cepstra of the all-pole model of the loudness spectrum.

    Critical bands a Bark apart, equal-loudness pre-emphasis, power 0.33, autocorrelation by inverse Fourier
    transform, Levinson-Durbin recursion, cepstrum of the model; the zeroth coefficient is the logarithm of
    the model's gain. The window is Hann where the paper's is Hamming, and a floor stands under the bands so
    that silence has a model.

    Args:
        coefficients: How many there are, from the zeroth on; the model has one pole less.
        deltas: As in `Cepstra`.
        floor: Power in a critical band under which it counts as silent, relative to unit RMS.

    Source: Hermansky, Perceptual linear predictive (PLP) analysis of speech, 1990.
    """

    def __init__(self, coefficients: int = 13, deltas: int = 0, floor: float = 1e-2, **kwargs: Any) -> None:
        super().__init__(coefficients=coefficients, deltas=deltas, floor=floor, **kwargs)
        self.bands = critical_bands(self.rate_hz)
        count = self.bands.shape[1]
        if coefficients > count:
            raise ValueError(f"{count} critical bands give no {coefficients} coefficients")
        # The inverse transform of a spectrum that is known at `count` places from zero to half the rate.
        self.to_lags = np.fft.irfft(np.eye(count))[:, :coefficients].astype(np.float32)

    def heard(self, power: keras.KerasTensor) -> keras.KerasTensor:
        loudness = (ops.matmul(power, ops.convert_to_tensor(self.bands)) + self.floor) ** _LOUDNESS_POWER
        lags = ops.matmul(loudness, ops.convert_to_tensor(self.to_lags))
        return self.with_deltas(cepstrum(*levinson_durbin(lags)))


def levinson_durbin(lags: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Linear prediction from the autocorrelation, one unrolled step a pole.

    Args:
        lags: Autocorrelation at lags 0 to p, float32 (..., p + 1); positive definite.

    Returns:
        Coefficients a1 to ap of the inverse filter 1 + a1/z + …, (..., p), and the power of the prediction
        error, (..., 1).

    Source: Makhoul, Linear prediction, 1975.
    """
    a = -lags[..., 1:2] / lags[..., :1]
    error = lags[..., :1] * (1 - ops.square(a))
    for order in range(2, lags.shape[-1]):
        # Gathered, because a reversal is a loop in ONNX.
        backwards = ops.take(lags, list(range(order - 1, 0, -1)), axis=-1)
        unexplained = lags[..., order : order + 1] + ops.sum(a * backwards, axis=-1, keepdims=True)
        reflection = -unexplained / error
        mirrored = ops.take(a, list(range(order - 2, -1, -1)), axis=-1)
        a = ops.concatenate([a + reflection * mirrored, reflection], axis=-1)
        error = error * (1 - ops.square(reflection))
    return a, error


def cepstrum(a: keras.KerasTensor, error: keras.KerasTensor) -> keras.KerasTensor:
    """Cepstrum of the all-pole model: (..., p), (..., 1) → (..., p + 1).

    The zeroth is the logarithm of the gain; n c_n = -n a_n - the sum over k < n of k c_k a_(n-k).

    Source: Atal, 1974; Markel and Gray, 1976.
    """
    weighted: list[keras.KerasTensor] = []  # n c_n
    for n in range(1, a.shape[-1] + 1):
        earlier = (weighted[k - 1] * a[..., n - k - 1 : n - k] for k in range(1, n))
        weighted.append(sum(((-x) for x in earlier), -n * a[..., n - 1 : n]))
    return ops.concatenate([ops.log(error), *(w / n for n, w in enumerate(weighted, 1))], axis=-1)

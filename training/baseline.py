"""The baseline that a trained model must beat: statistics of MFCC, compared by cosine."""

import librosa
import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Embeddings, Waveform

_COEFFICIENTS = 20


def mfcc_statistics(waveform: Waveform) -> npt.NDArray[np.float64]:
    """Mean and standard deviation over time of MFCC and their slopes: (80,)."""
    mfcc = librosa.feature.mfcc(
        y=waveform, sr=SAMPLE_RATE_HZ, n_mfcc=_COEFFICIENTS, n_fft=512, hop_length=160, n_mels=40
    )
    slopes = librosa.feature.delta(mfcc, mode="nearest") if mfcc.shape[1] >= 9 else np.zeros_like(mfcc)
    both = np.concatenate([mfcc, slopes])
    return np.concatenate([both.mean(axis=1), both.std(axis=1)])


def standardised(statistics: npt.NDArray[np.float64]) -> Embeddings:
    """Brings each statistic to mean 0 and deviation 1 over one set, then each clip to unit length.

    Without it the first coefficient, the level, would decide alone. Doing so per set is kind to the
    baseline: it removes what the set's microphones have in common.
    """
    scaled = (statistics - statistics.mean(axis=0)) / (statistics.std(axis=0) + 1e-9)
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float32)

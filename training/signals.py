"""Speech-like waveforms made of nothing but numbers: for golden vectors and tests that need no recording."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Waveform

Numbers: TypeAlias = npt.NDArray[np.float64]

_VOWELS_HZ = np.array(
    [
        [700.0, 1220.0, 2600.0],
        [530.0, 1840.0, 2480.0],
        [270.0, 2290.0, 3010.0],
        [570.0, 840.0, 2410.0],
        [300.0, 870.0, 2240.0],
        [490.0, 1350.0, 1690.0],
    ]
)
"""First three formants of six vowels of a grown man, in hertz, rounded."""
_FOURTH_HZ = 3500.0


def speech_like(seconds: float, *, speaker: int = 0, take: int = 0) -> Waveform:
    """Synthesise voiced syllables with pauses, always the same for the same arguments.

    A speaker is a pitch, a vocal tract length, a spectral tilt and a breathiness; a take is the order
    and the melody of the syllables. It is no speech, but what a front end sees of it is similar.

    Args:
        seconds: Duration in seconds; rounded to a whole number of samples.
        speaker: Number of the voice, 0 or more.
        take: Number of the recording of that voice, 0 or more.

    Returns:
        Waveform, float32, shape (round(seconds * 16000),), 16 kHz, peak near 0.5, on the 16-bit grid.
    """
    count = round(seconds * SAMPLE_RATE_HZ)
    voice, chance = np.random.default_rng([7, speaker]), np.random.default_rng([11, speaker, take])
    pitch_hz, tract = voice.uniform(85, 260), voice.uniform(0.82, 1.22)
    tilt, breath = voice.uniform(0.4, 1.4), voice.uniform(0.005, 0.05)
    pieces, made = [], 0
    while made < count:
        syllable = _syllable(chance, pitch_hz, tract, tilt, breath)
        pieces.append(syllable)
        made += len(syllable)
    signal = np.concatenate(pieces)[:count] if pieces else np.zeros(0)
    signal = signal + chance.normal(0.0, 3e-4, count)
    peak = max(float(np.max(np.abs(signal), initial=0.0)), 1e-9)
    grid = np.round(signal * (0.5 / peak) * 32768.0) / 32768.0
    return grid.astype(np.float32)


def _syllable(
    chance: np.random.Generator, pitch_hz: float, tract: float, tilt: float, breath: float
) -> Numbers:
    """One vowel with a rising and falling level, now and then a pause behind it."""
    length = int(chance.uniform(0.12, 0.30) * SAMPLE_RATE_HZ)
    melody = pitch_hz * chance.uniform(0.88, 1.12) * np.linspace(1.0, chance.uniform(0.9, 1.1), length)
    phase = 2 * np.pi * np.cumsum(melody) / SAMPLE_RATE_HZ
    number = np.arange(1, int(7200 / melody.max()) + 1)
    formants = np.append(_VOWELS_HZ[chance.integers(len(_VOWELS_HZ))], _FOURTH_HZ) * tract
    gains = _formant_gain(number * melody.mean(), formants) / number**tilt
    voiced = gains @ np.sin(np.outer(number, phase))
    voiced /= np.sqrt(np.mean(voiced**2))
    noise = chance.normal(0.0, breath, length)
    level = np.sin(np.linspace(0.05, np.pi - 0.05, length)) ** 0.6 * chance.uniform(0.5, 1.0)
    pause = np.zeros(int(chance.uniform(0.08, 0.25) * SAMPLE_RATE_HZ) if chance.random() < 0.2 else 160)
    return np.concatenate([(voiced + noise) * level, pause])


def _formant_gain(frequency_hz: Numbers, formants: Numbers) -> Numbers:
    """Sum of resonances 60 Hz wide and wider upwards, shape of `frequency_hz`."""
    width = 60.0 + 0.04 * formants
    distance = (frequency_hz[:, None] - formants[None, :]) / width[None, :]
    gain: Numbers = (1.0 / (1.0 + distance**2)).sum(axis=1) + 0.01
    return gain

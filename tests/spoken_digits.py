"""Recordings of any digits, put together from clips of two synthetic voices (tests/data/make_digits.py)."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.decode import decode
from app.audio.windows import speech_only

VOICES: Final = ("ada", "gus")
_DATA: Final = Path(__file__).parent / "data"
_PAUSE: Final = np.zeros(SAMPLE_RATE_HZ // 20, np.float32)


@cache
def _digits(voice: str) -> list[Waveform]:
    samples = decode((_DATA / f"digits-{voice}.opus").read_bytes(), max_duration_s=20).waveform
    samples = samples[: 10 * SAMPLE_RATE_HZ]
    return [speech_only(second) for second in np.array_split(samples, 10)]


def spoken(digits: Iterable[int] | str, voice: str = "ada") -> Waveform:
    """The digits one after the other, with short pauses: float32 (samples,), 16 kHz."""
    wanted = [int(digit) for digit in digits if digit != " "]
    return np.concatenate([part for digit in wanted for part in (_digits(voice)[digit], _PAUSE)])

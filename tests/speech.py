"""Spoken test material: ten synthetic voices, four sentences each, committed under tests/data.

`clip()` gives a committed file as it is, `say()` a waveform; only a text without a clip needs espeak-ng.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest

from app.arrays import Waveform
from app.audio.decode import decode

DATA = Path(__file__).parent / "data"


@cache
def _index() -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = json.loads((DATA / "clips.json").read_text())
    return found


def voices() -> tuple[str, ...]:
    """Names of the ten voices."""
    return tuple(_index())


def texts(voice: str) -> tuple[str, ...]:
    """The four sentences that a voice has as committed clips."""
    return tuple(take["text"] for take in _index()[voice])


def clip(voice: str, take: int = 0) -> bytes:
    """The committed Ogg Opus file of a voice, take 0 to 3: 2.5 to 4.5 s, 16 kHz mono."""
    return (DATA / _index()[voice][take]["file"]).read_bytes()


def say(text: str | int = 0, voice: str = "ada") -> Waveform:
    """Speak a text, or the voice's committed sentence with this number (0 to 3).

    Returns:
        float32 (samples,), 16 kHz, peak about -6 dBFS, 0.2 s of a quiet room on both sides.
    """
    if isinstance(text, int):
        return decode(clip(voice, text), max_duration_s=60.0).waveform
    if text in texts(voice):
        return say(texts(voice).index(text), voice)
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed and this text is not among the committed clips")
    from tests.data.make_clips import synthesise

    return synthesise(text, voice)

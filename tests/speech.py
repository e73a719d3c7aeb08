"""Spoken test material: ten synthetic voices, four sentences each, committed under tests/data.

`clip()` gives a committed file as it is, `say()` a waveform.
"""

import json
from functools import cache
from pathlib import Path

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


def clip(voice: str, take: int = 0) -> bytes:
    """The committed Ogg Opus file of a voice, take 0 to 3: 2.5 to 4.5 s, 16 kHz mono."""
    return (DATA / _index()[voice][take]["file"]).read_bytes()


def say(take: int = 0, voice: str = "ada") -> Waveform:
    """The voice's committed sentence with this number, 0 to 3.

    Returns:
        float32 (samples,), 16 kHz, peak about -6 dBFS, 0.2 s of a quiet room on both sides.
    """
    return decode(clip(voice, take), max_duration_s=60.0).waveform

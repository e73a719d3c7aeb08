"""Real speech out of a plain folder, by the service's own path from bytes to waveform."""

from pathlib import Path

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio import prepare
from app.errors import TimbreError
from training.corpus import AUDIO_SUFFIXES

_LONGEST_FILE_S = 300.0


def read_speech(folder: Path, count: int, longest_s: float = 6.0) -> list[Waveform]:
    """Read the speech of recordings that are spread evenly over all in a folder and below it.

    Args:
        folder: Folder of recordings in any format that the service takes; it may be missing.
        count: How many are wanted; what the service refuses is passed over, so there may be fewer.
        longest_s: Seconds after which a recording is cut.

    Returns:
        Waveforms, float32, 16 kHz.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    clips = []
    for place in np.unique(np.linspace(0, len(paths) - 1, count).astype(int)) if paths else ():
        try:
            waveform = prepare(paths[place].read_bytes(), max_duration_s=_LONGEST_FILE_S).waveform
        except TimbreError:
            continue
        clips.append(waveform[: int(longest_s * SAMPLE_RATE_HZ)])
    return clips

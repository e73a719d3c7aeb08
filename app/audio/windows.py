"""Cutting the speech out of a waveform, which is all that the embedder hears."""

from typing import Final

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.speech import HOP, Mask, runs, speech_mask

_CONTEXT: Final = int(0.10 * SAMPLE_RATE_HZ)
"""Samples that stay on both sides of the speech, beyond what the detector already adds to it."""
_LONGEST_PAUSE: Final = int(0.30 * SAMPLE_RATE_HZ)
"""A pause up to this length, in samples, is part of speaking and stays."""


def speech_only(waveform: Waveform, mask: Mask | None = None) -> Waveform:
    """Drop the silence before and after the speech and the pauses in it.

    Each stretch of speech keeps 0.1 s of what surrounds it. What is cut is cut at frames of 10 ms without
    fading: both ends lie in the background.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1].
        mask: bool (frames,), the speech in it, where a caller has it already.

    Returns:
        float32 (samples' <= samples,), 16 kHz. The waveform as it is where no speech was found, so never
        empty unless the waveform is.
    """
    spoken = runs(speech_mask(waveform) if mask is None else mask)
    if not spoken:
        return waveform
    keep: list[list[int]] = []
    for first, last in spoken:
        start, stop = max(0, first * HOP - _CONTEXT), min(len(waveform), last * HOP + _CONTEXT)
        if keep and start - keep[-1][1] <= _LONGEST_PAUSE - 2 * _CONTEXT:
            keep[-1][1] = stop
        elif stop > start:
            keep.append([start, stop])
    pieces = [waveform[start:stop] for start, stop in keep]
    return np.ascontiguousarray(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))

"""Cutting the speech out of a waveform, which is all that the embedder hears, and the speech into windows."""

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.speech import HOP, Mask, runs, speech_mask

_CONTEXT: Final = int(0.10 * SAMPLE_RATE_HZ)
"""Samples that stay on both sides of the speech, beyond what the detector already adds to it."""
_LONGEST_PAUSE: Final = int(0.30 * SAMPLE_RATE_HZ)
"""A pause up to this length, in samples, is part of speaking and stays."""

Pieces: TypeAlias = tuple[tuple[int, int], ...]
"""Stretches of a recording in their order: first sample and the one after the last, at 16 kHz."""


@dataclass(frozen=True)
class Windows:
    """The speech of a recording in windows, which overlap, and the cells for which they stand, which do not.

    Attributes:
        cuts: int64 (windows, 2): first sample and the one after the last, in the joined speech.
        cells: float64 (windows, 2): beginning and end in the recording, in seconds. Inside a piece of speech
            one cell ends where the next begins, half-way between the middles of their windows.
    """

    cuts: npt.NDArray[np.int64]
    cells: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.cuts)


def speech_pieces(mask: Mask, samples: int) -> Pieces:
    """Where the speech is, with short pauses in it and 0.1 s of what surrounds it.

    Args:
        mask: bool (frames,), the speech, one verdict for each 10 ms.
        samples: Length of the recording at 16 kHz.

    Returns:
        The pieces; the whole recording as one where no speech was found.
    """
    keep: list[tuple[int, int]] = []
    for first, last in runs(mask):
        start, stop = max(0, first * HOP - _CONTEXT), min(samples, last * HOP + _CONTEXT)
        if keep and start - keep[-1][1] <= _LONGEST_PAUSE - 2 * _CONTEXT:
            keep[-1] = (keep[-1][0], stop)
        elif stop > start:
            keep.append((start, stop))
    return tuple(keep) or ((0, samples),)


def join(waveform: Waveform, pieces: Pieces) -> Waveform:
    """The pieces of a recording, one behind the other; what is cut is cut without fading.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1].
        pieces: At least one; both ends of each lie in the background.

    Returns:
        float32 (samples' <= samples,), 16 kHz; the waveform itself where it is one piece.
    """
    cut = [waveform[start:stop] for start, stop in pieces]
    return np.ascontiguousarray(cut[0] if len(cut) == 1 else np.concatenate(cut))


def speech_only(waveform: Waveform, mask: Mask | None = None) -> Waveform:
    """Drop the silence before and after the speech and the pauses in it.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1].
        mask: bool (frames,), the speech in it, where a caller has it already.

    Returns:
        float32 (samples' <= samples,), 16 kHz. The waveform as it is where no speech was found, so never
        empty unless the waveform is.
    """
    return join(waveform, speech_pieces(speech_mask(waveform) if mask is None else mask, len(waveform)))


def windows(pieces: Pieces, window_s: float, hop_s: float) -> Windows:
    """Cut the speech into windows of one length; none reaches from one piece of speech into the next.

    The windows of a piece are spread evenly over it, the first at its beginning and the last at its end. A
    piece that is shorter than a window is a window by itself.

    Args:
        pieces: Where the speech is, none of them empty.
        window_s: Length of a window, in seconds.
        hop_s: Longest way from one window to the next, in seconds.
    """
    length, hop = round(window_s * SAMPLE_RATE_HZ), round(hop_s * SAMPLE_RATE_HZ)
    cuts, cells, joined = [], [], 0
    for start, stop in pieces:
        room = max(0, stop - start - length)
        firsts = np.linspace(0, room, 1 + math.ceil(room / hop)).round().astype(np.int64)
        lasts = np.minimum(firsts + length, stop - start)
        middles = (firsts + lasts) / 2
        edges = np.concatenate([[0], (middles[1:] + middles[:-1]) / 2, [stop - start]])
        cuts.append(joined + np.stack([firsts, lasts], axis=1))
        cells.append((start + np.stack([edges[:-1], edges[1:]], axis=1)) / SAMPLE_RATE_HZ)
        joined += stop - start
    return Windows(np.concatenate(cuts), np.concatenate(cells))

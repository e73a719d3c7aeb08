"""The fingerprint of a sound: enough to know a recording again in another coding, too little to hear it.

A bit for each frame and pair of neighbouring bands says whether the energy moves from the lower band to the
upper one. Coding, level, a line or a room change few of these bits, and saying the same words again changes
almost half of them. Speech, unlike music, is full of pauses and of bands where nothing happens: bits that a
breath of noise would turn are left open, which a second bit says.

Source: J. Haitsma and T. Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, for the bits;
frames, bands and what is left open were chosen on the corpus (docs/threats.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.fft

from app.arrays import SAMPLE_RATE_HZ, Waveform

Fingerprint: TypeAlias = npt.NDArray[np.uint8]
"""uint8, shape (frames, 8): 32 bits, then for each of them whether it is known. A frame lasts 32 ms."""
ROW: Final = 8
"""Bytes of a frame."""
_Words: TypeAlias = npt.NDArray[np.uint64]
FRAME_S: Final = 0.032
COPY: Final = 0.5
"""Similarity from which a recording is taken for a copy; how often wrongly is in docs/threats.md."""
FORMAT: Final = 1
"""Grows with every change of what the bits mean; fingerprints of another format are not compared."""
LONGEST_S: Final = 60.0
"""So much of a recording has a fingerprint, from its beginning."""

_HOP: Final = round(FRAME_S * SAMPLE_RATE_HZ)
_WINDOW: Final = 6 * _HOP
"""192 ms: long, so that a room's echoes stay inside."""
_BANDS: Final = 33
_RANGE_HZ: Final = (250.0, 3400.0)
"""What a telephone line lets through."""
_LAG: Final = 4
"""Frames between which a change is looked for."""
_FLOOR: Final = 30.0 / 10.0 * np.log(10.0)
"""Frames so much weaker than the loudest ones are pauses: 30 dB, as natural logarithm."""
_OPEN: Final = 0.3
"""Share of the bits that are left open, those of the smallest differences."""
_CHUNK: Final = 12
"""Frames transformed at once: matrix products so small that BLAS does not wake its threads for them."""

_BLOCK: Final = round(3.0 / FRAME_S)
"""Frames that are looked for as one piece: over more, a deviating clock drifts too far."""
_MOST_BLOCKS: Final = 8
"""Pieces of a recording that are looked for, evenly spread: all of it up to some 12 s."""
_PRIOR_BITS: Final = 400
"""Bits that are counted as half right and half wrong beside those seen, which takes a high similarity more
than a word or two."""


@dataclass(frozen=True)
class Likeness:
    """The best place of a recording, or of a part of it, in recordings that are known.

    Attributes:
        place: Which of them.
        similarity: In [-1, 1]: share of equal bits minus share of others, drawn towards 0 where there are
            few. About 0 for other recordings.
        seconds: How much was compared there.
    """

    place: int
    similarity: float
    seconds: float


def fingerprint(waveform: Waveform) -> Fingerprint:
    """Take the fingerprint of a recording; its first LONGEST_S seconds.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1].

    Returns:
        uint8 (frames, 8); without rows for less than a third of a second.
    """
    energy = _band_energies(waveform[: round(LONGEST_S * SAMPLE_RATE_HZ)])
    if len(energy) <= _LAG:
        return np.zeros((0, ROW), np.uint8)
    slopes = np.diff(energy, axis=1)
    change = slopes[_LAG:] - slopes[:-_LAG]
    level = np.logaddexp.reduce(energy, axis=1)
    loud = np.maximum(level[_LAG:], level[:-_LAG]) > np.percentile(level, 95) - _FLOOR
    strength = np.abs(change)
    known = (strength > np.quantile(strength[loud], _OPEN)) & loud[:, None]
    return np.packbits(np.concatenate([change > 0, known], axis=1), axis=1)


def find_copy(heard: Fingerprint, known: Sequence[Fingerprint]) -> Likeness | None:
    """Look for a recording, or a part of it, in recordings that are known.

    Args:
        heard: The recording.
        known: Those that it may be a copy of.

    Returns:
        Where it fits best; None where there is nothing to compare.
    """
    lengths = [_BLOCK + len(each) for each in known]
    # Nothing before each one, since a piece may begin earlier than the recording that it is a part of.
    padded = [np.pad(each, ((_BLOCK, 0), (0, 0))) for each in known] + [np.zeros((_BLOCK, ROW), np.uint8)]
    if not len(heard) or sum(lengths) == _BLOCK * len(known):
        return None
    signs, masks = (_pairs(half) for half in np.hsplit(np.concatenate(padded), 2))
    places = np.repeat(np.arange(len(known)), lengths)
    return max((_best_fit(block, signs, masks, places) for block in _blocks(heard)), key=_similarity)


def _similarity(likeness: Likeness) -> float:
    return likeness.similarity


def _best_fit(block: Fingerprint, signs: _Words, masks: _Words, places: npt.NDArray[np.int64]) -> Likeness:
    """Slide one piece along everything that is known and keep the best place."""
    own_signs, own_masks = (_pairs(half)[::2] for half in np.hsplit(block, 2))
    at_signs, at_masks = (_windows(words, len(block))[: len(places)] for words in (signs, masks))
    both = at_masks & own_masks
    seen = np.bitwise_count(both).sum(axis=1, dtype=np.int32)
    wrong = np.bitwise_count((at_signs ^ own_signs) & both).sum(axis=1, dtype=np.int32)
    similarity = (seen - 2 * wrong) / (seen + _PRIOR_BITS)
    best = int(np.argmax(similarity))
    seconds = float(np.count_nonzero(both[best]) * 2 * FRAME_S)
    return Likeness(int(places[best]), float(similarity[best]), seconds)


def _blocks(heard: Fingerprint) -> list[Fingerprint]:
    """The pieces of a recording that are looked for, of an even number of frames each."""
    heard = np.pad(heard, ((0, len(heard) % 2), (0, 0)))
    room = max(0, len(heard) - _BLOCK)
    count = min(_MOST_BLOCKS, 1 + -(-2 * room // _BLOCK))
    return [heard[start : start + _BLOCK] for start in np.linspace(0, room, count).round().astype(int)]


def _pairs(half: Fingerprint) -> _Words:
    """Four bytes of each frame, with the four of the next frame behind them: uint64 (frames - 1,)."""
    words = np.ascontiguousarray(half).view("<u4")[:, 0].astype(np.uint64)
    return words[:-1] | words[1:] << np.uint64(32)


def _windows(words: _Words, frames: int) -> _Words:
    """Stretches of this many frames, from every frame on, two frames a word."""
    return np.lib.stride_tricks.sliding_window_view(words, frames - 1)[:, ::2]


def _band_energies(waveform: Waveform) -> npt.NDArray[np.float32]:
    """Natural logarithm of the energy in each band, float32 (frames, 33)."""
    if len(waveform) < _WINDOW:
        return np.zeros((0, _BANDS), np.float32)
    first, weights = _bands()
    frames = np.lib.stride_tricks.sliding_window_view(waveform, _WINDOW)[::_HOP]
    energy = np.empty((len(frames), _BANDS), np.float32)
    for start in range(0, len(frames), _CHUNK):
        spectrum = scipy.fft.rfft(frames[start : start + _CHUNK] * _hann(), axis=1)
        spectrum = spectrum[:, first : first + len(weights)]
        energy[start : start + _CHUNK] = (spectrum.real**2 + spectrum.imag**2) @ weights
    np.log(energy + np.float32(1e-9), out=energy)
    return energy


@cache
def _hann() -> Waveform:
    return np.hanning(_WINDOW).astype(np.float32)


@cache
def _bands() -> tuple[int, npt.NDArray[np.float32]]:
    """First bin of the spectrum that counts, and the weights (bins, 33) of triangles between equal ratios."""
    edges = np.geomspace(*_RANGE_HZ, _BANDS + 2)
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE_HZ)
    first, last = np.searchsorted(bins, _RANGE_HZ)
    low, middle, high, bins = edges[:-2], edges[1:-1], edges[2:], bins[first:last, None]
    weights = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
    return int(first), np.clip(weights, 0, None).astype(np.float32)

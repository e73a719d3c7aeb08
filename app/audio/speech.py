"""Where the speech is: an energy detector with a noise floor for each band of hearing.

Steady noise, of any colour and level, stays near its own floor in every band; a voice rises far above it in
many bands at once. A floor for each band is what makes this work on a word that fills its recording: even
then every band is at rest now and then, a vowel has no hiss and a hiss no vowel.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import librosa
import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Waveform

HOP: Final = SAMPLE_RATE_HZ // 100
"""Samples from one frame to the next: 10 ms."""
FFT: Final = 512
_WINDOW: Final = 400
_BANDS: Final = 20
_LOW_HZ: Final = 150.0
_HIGH_HZ: Final = 4_000.0
"""Upper end of the detector's bands: what a telephone line still carries."""
_FLOOR_PERCENTILE: Final = 10.0
_FLOOR_FRAMES: Final = 400
"""Time over which the noise counts as steady: 4 s. The floor between two stretches is interpolated."""
_REST_PERCENTILE: Final = 5.0
_REST_RISE_DB: Final = 15.0
"""The floor of a stretch lies at most this far above the recording at rest: a fan that starts raises it,
a vowel that is held for seconds does not become it."""
SILENT_POWER: Final = 1e-9
"""-90 dBFS: a frame below it is a gap (a muted line, a noise gate), no sample of the background."""
_EXCESS_CAP_DB: Final = 20.0
"""One band counts no more than this, so that a whistle is not speech, however loud."""
_LEAKAGE_DB: Final = 40.0
"""Bands this far below the strongest of their frame may be its leakage through the window."""
_SMOOTH_FRAMES: Final = 5
_SURE_DB: Final = 7.5
"""Mean rise over the floor that only speech reaches: steady noise peaks at 6.1 dB in 10 s of brown noise, the
faintest of 600 development clips at 9.3 dB."""
_MAYBE_DB: Final = 5.0
"""A stretch above this belongs to the speech when it reaches _SURE_DB somewhere."""
_RANGE_DB: Final = 45.0
"""Frames this far below the loud speech are breath and room, however quiet the background is."""
_LEAST_FRAMES: Final = 5
_HANGOVER: Final = 8
"""Frames that are added at both ends of a stretch: soft onsets, and releases that sink into the floor."""

_BLOCK_FRAMES: Final = 30_000
"""Spectra held at once, 5 min or 31 MB: an hour of them would be 370 MB, and only their sums are kept."""

Mask = npt.NDArray[np.bool_]
Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Analysis:
    """One look at a waveform, for everything that is measured on it.

    Attributes:
        mask: bool (frames,), True where there is speech.
        power: float32 (frames,), mean square of each frame; a full-scale sine has 0.5.
        band_power: float32 (frames,), the same in the detector's bands, 150 Hz to 4 kHz.
        speech_spectrum: float32 (257,), mean power spectrum of the speech; None without speech.
    """

    mask: Mask
    power: Frames
    band_power: Frames
    speech_spectrum: Frames | None


def analyse(waveform: Waveform) -> Analysis:
    """Find the speech, one verdict for each 10 ms.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1]; any length, 0 included.
    """
    blocks = _Blocks(waveform)
    bands = blocks.bands
    band_power = np.asarray(bands.sum(axis=0), dtype=np.float32)
    mask = _speech(bands, band_power)
    return Analysis(mask, blocks.power, band_power, blocks.mean_spectrum(mask) if mask.any() else None)


class _Blocks:
    """The power spectra of a waveform, some minutes at a time."""

    def __init__(self, waveform: Waveform) -> None:
        self._waveform = waveform
        self._frames = 1 + len(waveform) // HOP
        self._last: tuple[int, Frames] | None = None
        found = [(_bands(each), each.sum(axis=0)) for each in map(self._block, self._starts())]
        self.bands = np.concatenate([bands for bands, _ in found], axis=1)
        self.power = np.concatenate([power for _, power in found])

    def _starts(self) -> range:
        return range(0, self._frames, _BLOCK_FRAMES)

    def _block(self, start: int) -> Frames:
        """float32 (257, frames up to _BLOCK_FRAMES), from frame `start` on; the last one made is kept."""
        if self._last is None or self._last[0] != start:
            stop = min(start + _BLOCK_FRAMES, self._frames)
            self._last = (start, _power(self._waveform, start, stop))
        return self._last[1]

    def mean_spectrum(self, mask: Mask) -> Frames:
        """float32 (257,), over the frames of the mask, of which there is at least one."""
        means, counts = [], []
        for start in self._starts():
            chosen = mask[start : start + _BLOCK_FRAMES]
            if chosen.any():
                means.append(self._block(start)[:, chosen].mean(axis=1))
                counts.append(np.count_nonzero(chosen))
        return np.asarray(np.average(means, axis=0, weights=counts), dtype=np.float32)


def _speech(bands: Frames, band_power: Frames) -> Mask:
    live = band_power > SILENT_POWER
    if np.count_nonzero(live) < _LEAST_FRAMES:
        return np.zeros(len(live), dtype=np.bool_)
    level_db = 10 * np.log10(bands + 1e-12)
    floor_db = _floor(level_db, live)
    audible = level_db > level_db.max(axis=0) - _LEAKAGE_DB
    rise_db = (np.clip(level_db - floor_db, 0.0, _EXCESS_CAP_DB) * audible).mean(axis=0)
    rise_db = np.convolve(rise_db, np.full(_SMOOTH_FRAMES, 1 / _SMOOTH_FRAMES), mode="full")
    rise_db = rise_db[_SMOOTH_FRAMES // 2 :][: len(live)]
    return _stretches(rise_db, 10 * np.log10(band_power + 1e-12))


def speech_mask(waveform: Waveform) -> Mask:
    """Tell speech from background.

    Args:
        waveform: float32 (samples,), 16 kHz, [-1, 1].

    Returns:
        bool (frames,), one for each 10 ms, frame i around sample 160 i; 1 + samples // 160 frames.
    """
    return analyse(waveform).mask


def _power(waveform: Waveform, start: int, stop: int) -> Frames:
    """float32 (257, stop - start), power spectrum of these frames; frame i lies around sample 160 i."""
    # Zeros on both sides keep librosa quiet about waveforms shorter than one window.
    first, last = start * HOP - FFT // 2, (stop - 1) * HOP + FFT // 2
    inside = waveform[max(0, first) : max(0, last)]
    padded = np.pad(inside, (max(0, -first), max(0, last - max(0, first) - len(inside))))
    spectrum = librosa.stft(
        padded, n_fft=FFT, hop_length=HOP, win_length=_WINDOW, window="hann", center=False
    )
    scale = 2.0 / (FFT * 0.375 * _WINDOW)  # Parseval: the bins of a frame add up to its mean square
    return np.asarray(np.square(np.abs(spectrum)) * np.float32(scale), dtype=np.float32)


@cache
def _band_edges() -> npt.NDArray[np.intp]:
    """First FFT bin of each band, and the first one above the last: bands of equal width in mel."""
    hertz = librosa.mel_frequencies(n_mels=_BANDS + 1, fmin=_LOW_HZ, fmax=_HIGH_HZ, htk=True)
    return np.round(hertz * FFT / SAMPLE_RATE_HZ).astype(np.intp)


def _bands(power: Frames) -> Frames:
    # Sums, not a matrix product: BLAS would wake its threads for this, which costs more than the sums.
    edges = _band_edges()
    return np.asarray(np.add.reduceat(power[: edges[-1]], edges[:-1], axis=0), dtype=np.float32)


def _floor(level_db: Frames, live: Mask) -> Frames:
    """Low percentile of each band over each few seconds, interpolated between them; (bands, frames)."""
    frames = level_db.shape[1]
    rest = np.percentile(level_db[:, live], _REST_PERCENTILE, axis=1)
    middles, floors = [], []
    for stretch in np.array_split(np.arange(frames), max(1, round(frames / _FLOOR_FRAMES))):
        alive = stretch[live[stretch]]
        if len(alive) >= _LEAST_FRAMES:
            middles.append(float(stretch.mean()))
            floor = np.percentile(level_db[:, alive], _FLOOR_PERCENTILE, axis=1)
            floors.append(np.minimum(floor, rest + _REST_RISE_DB))
    if not floors:  # fewer than five live frames in every stretch, but more in all
        return rest[:, None].astype(np.float32)
    per_band = [np.interp(np.arange(frames), middles, band) for band in np.stack(floors, axis=1)]
    return np.asarray(per_band, dtype=np.float32)


def _stretches(rise_db: Frames, level_db: Frames) -> Mask:
    """Join frames to stretches of speech: hysteresis, least length, range, hangover."""
    candidates = rise_db > _MAYBE_DB
    sure = rise_db > _SURE_DB
    if not sure.any():
        return np.zeros(len(rise_db), dtype=np.bool_)
    candidates &= level_db > np.percentile(level_db[sure], 90) - _RANGE_DB
    mask = np.zeros(len(rise_db), dtype=np.bool_)
    for start, stop in runs(candidates):
        if stop - start >= _LEAST_FRAMES and sure[start:stop].any():
            mask[max(0, start - _HANGOVER) : stop + _HANGOVER] = True
    return mask


def runs(mask: Mask) -> list[tuple[int, int]]:
    """List the stretches of True as (start, stop), stop exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]

"""Recording → what can be said of it, and whether it can be used."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from app.arrays import SAMPLE_RATE_HZ
from app.audio.decode import Recording
from app.audio.speech import FFT, HOP, SILENT_POWER, Analysis, analyse, speech_mask
from app.errors import AudioRefused, AudioTooShort, Clipped, InsufficientSpeech, NoSpeech, TooNoisy, TooQuiet

__all__ = ["AudioReport", "QualityLimits", "measure", "refuse", "speech_mask"]

_MAX_SNR_DB: Final = 60.0
"""A background of digital silence would give infinity; no microphone does better than this."""
_MIN_SNR_DB: Final = -20.0
_QUIETEST_PERCENTILE: Final = 5.0
_LEAST_BACKGROUND: Final = 10
"""Frames between the words from which the background can be measured."""
_BANDWIDTH_DROP_DB: Final = 60.0
"""Energy this far below the strongest part of the voice is no part of it."""
_BANDWIDTH_STEP: Final = 4
"""FFT bins that are looked at together: 125 Hz."""

NARROWBAND_HZ: Final = 4_300.0
SHORT_SPEECH_S: Final = 1.5
NOISY_DB: Final = 10.0
CLIPPED_RATIO: Final = 0.003
QUIET_DBFS: Final = -45.0


@dataclass(frozen=True)
class AudioReport:
    """What was measured of one recording; every number is finite, None where it is undefined.

    Attributes:
        duration_s: length of the recording, in seconds.
        speech_s: speech in it, in seconds.
        sample_rate_hz: sample rate of the source.
        channels: channels of the source.
        codec: how the source is coded.
        bandwidth_hz: highest frequency up to 8000 at which the speech has energy; None without speech.
        snr_db: power of the speech over that of the background, 150 Hz to 4 kHz, in [-20, 60]; None
            without speech.
        peak_dbfs: largest source sample, in dB relative to full scale; None for digital silence.
        rms_dbfs: level of the speech, or of everything where there is no speech; None for digital silence.
        clipped_ratio: share of the source samples at full scale, in [0, 1].
        quality: how well the recording serves to know a voice, in [0, 1]; comparable between recordings of
            this service, a share of nothing.
        warnings: any of narrowband, short_speech, noisy, clipped, quiet, truncated.
    """

    duration_s: float
    speech_s: float
    sample_rate_hz: int
    channels: int
    codec: str
    bandwidth_hz: float | None
    snr_db: float | None
    peak_dbfs: float | None
    rms_dbfs: float | None
    clipped_ratio: float
    quality: float
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report with plain values, as JSON takes them."""
        return asdict(self) | {"warnings": list(self.warnings)}


@dataclass(frozen=True)
class QualityLimits:
    """What a recording must reach to be used.

    Attributes:
        min_speech_s: least speech, in seconds.
        min_snr_db: least signal-to-noise ratio, in dB.
        max_clipped_ratio: largest share of clipped samples, in [0, 1].
        min_level_dbfs: least level of the speech, in dB relative to full scale.
        min_duration_s: shortest recording that is looked at, in seconds.
    """

    min_speech_s: float
    min_snr_db: float
    max_clipped_ratio: float
    min_level_dbfs: float
    min_duration_s: float = 0.2


def measure(recording: Recording, analysis: Analysis | None = None) -> AudioReport:
    """Measure a recording; nothing is refused here.

    Args:
        recording: what decode() returned.
        analysis: analyse(recording.waveform), where a caller has it already.
    """
    seen = analyse(recording.waveform) if analysis is None else analysis
    speech_s = min(float(np.count_nonzero(seen.mask)) * HOP / SAMPLE_RATE_HZ, recording.duration_s)
    bandwidth_hz, snr_db = _bandwidth_hz(seen), _snr_db(seen)
    rms_dbfs = _rms_dbfs(recording, seen)
    warnings = {
        "narrowband": bandwidth_hz is not None and bandwidth_hz < NARROWBAND_HZ,
        "short_speech": speech_s < SHORT_SPEECH_S,
        "noisy": snr_db is not None and snr_db < NOISY_DB,
        "clipped": recording.clipped_ratio > CLIPPED_RATIO,
        "quiet": rms_dbfs is None or rms_dbfs < QUIET_DBFS,
        "truncated": recording.truncated,
    }
    return AudioReport(
        duration_s=round(recording.duration_s, 3),
        speech_s=round(speech_s, 2),
        sample_rate_hz=recording.sample_rate_hz,
        channels=recording.channels,
        codec=recording.codec,
        bandwidth_hz=bandwidth_hz,
        snr_db=None if snr_db is None else round(snr_db, 1),
        peak_dbfs=round(recording.peak_dbfs, 1) if math.isfinite(recording.peak_dbfs) else None,
        rms_dbfs=None if rms_dbfs is None else round(rms_dbfs, 1),
        clipped_ratio=round(recording.clipped_ratio, 5),
        quality=round(_quality(speech_s, snr_db, bandwidth_hz, recording.clipped_ratio), 2),
        warnings=tuple(name for name, given in warnings.items() if given),
    )


def refuse(report: AudioReport, limits: QualityLimits, *, required_speech_s: float | None = None) -> None:
    """Refuse a recording that cannot be used, with the first reason that its speaker can do something about.

    Args:
        report: what measure() returned.
        limits: what the recording must reach.
        required_speech_s: least speech in this call, in seconds, instead of the limits' own.

    Raises:
        AudioRefused: AudioTooShort, Clipped, NoSpeech, TooQuiet, TooNoisy or InsufficientSpeech, with the
            report in its `audio`.
    """
    required_s = limits.min_speech_s if required_speech_s is None else required_speech_s
    refusal: AudioRefused | None = None
    if report.duration_s < limits.min_duration_s:
        refusal = AudioTooShort(report.duration_s, limits.min_duration_s)
    elif report.clipped_ratio > limits.max_clipped_ratio:
        refusal = Clipped(report.clipped_ratio, limits.max_clipped_ratio)
    elif report.speech_s <= 0 or report.rms_dbfs is None or report.snr_db is None:
        refusal = NoSpeech(report.duration_s)
    elif report.rms_dbfs < limits.min_level_dbfs:
        refusal = TooQuiet(report.rms_dbfs, limits.min_level_dbfs)
    elif report.snr_db < limits.min_snr_db:
        refusal = TooNoisy(report.snr_db, limits.min_snr_db)
    elif report.speech_s < required_s:
        refusal = InsufficientSpeech(report.speech_s, required_s)
    if refusal is not None:
        refusal.audio = report.as_dict()
        raise refusal


def _snr_db(seen: Analysis) -> float | None:
    """Speech over background, the background being taken out of the speech first."""
    if not seen.mask.any():
        return None
    power = seen.band_power
    live = power > SILENT_POWER
    background = power[live & ~seen.mask]
    if not live.any():
        return None
    noise = float(np.percentile(power[live], _QUIETEST_PERCENTILE))
    if len(background) >= _LEAST_BACKGROUND:
        # The median: a click or a missed syllable between the words is no background.
        noise = min(noise, float(np.median(background)))
    speech = float(power[seen.mask].mean()) - noise
    if speech <= 0:
        return _MIN_SNR_DB
    return min(max(10 * math.log10(speech / noise), _MIN_SNR_DB), _MAX_SNR_DB)


def _rms_dbfs(recording: Recording, seen: Analysis) -> float | None:
    per_frame = seen.power[seen.mask] if seen.mask.any() else np.square(recording.waveform)
    mean = float(per_frame.mean(dtype=np.float64)) if per_frame.size else 0.0
    return 10 * math.log10(mean) if mean > 0 else None


def _bandwidth_hz(seen: Analysis) -> float | None:
    """Upper edge of the highest band in which the speech is within 60 dB of its strongest band."""
    if seen.speech_spectrum is None:
        return None
    spectrum = seen.speech_spectrum[: FFT // 2]
    steps = spectrum.reshape(-1, _BANDWIDTH_STEP).mean(axis=1)
    present = np.flatnonzero(steps > steps.max() * 10 ** (-_BANDWIDTH_DROP_DB / 10))
    return float((present[-1] + 1) * _BANDWIDTH_STEP * SAMPLE_RATE_HZ / FFT)


def _quality(
    speech_s: float, snr_db: float | None, bandwidth_hz: float | None, clipped_ratio: float
) -> float:
    """One number out of four, each in [0, 1]: they multiply, since one bad thing is enough."""
    if snr_db is None or bandwidth_hz is None:
        return 0.0
    amount = 1 - math.exp(-speech_s / 1.5)
    clean = 1 / (1 + math.exp(-(snr_db - 6) / 5))
    wide = min(1.0, 0.6 + 0.4 * bandwidth_hz / 7_000)
    whole = max(0.0, 1 - clipped_ratio / 0.1)
    return amount * clean * wide * whole

"""What may happen to a recording on its way: clean waveform → the file that a caller sends instead."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import av
import librosa
import numpy as np
import numpy.typing as npt
import scipy.fft
import soundfile

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.speech import HOP, speech_mask
from app.audio.windows import speech_only
from training.augment import AugmentConfig, Augmenter, mix

SPEECH_S: Final = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Seconds of speech to which recordings are cut."""
SNR_DB: Final = (20.0, 10.0, 5.0, 0.0)
"""Power of the speech over that of the noise which is added, in dB."""
_SPEECH_SHAPE_HZ: Final = 500.0

Family: TypeAlias = Literal["speech", "noise", "codec"]
Change: TypeAlias = Callable[[Waveform, np.random.Generator], bytes | None]
"""Waveform → bytes of a file; None when the recording does not have what the change needs."""
Noise: TypeAlias = Callable[[int, np.random.Generator], Waveform]
"""Number of samples → noise of that length."""


@dataclass(frozen=True)
class Condition:
    """A change of the tested recording, with the name under which it is reported."""

    family: Family
    name: str
    change: Change


def conditions(noise: Noise) -> list[Condition]:
    """Every condition that is measured, from mild to hard inside its family.

    Args:
        noise: Where the noise comes from.
    """
    lengths = [Condition("speech", f"{s:g} s", partial(cut_to, speech_s=s)) for s in SPEECH_S]
    noises = [
        Condition("noise", f"{snr:g} dB", partial(with_noise, noise=noise, snr_db=snr)) for snr in SNR_DB
    ]
    codecs = {
        "Opus, 16 kbit/s": partial(compressed, muxer="ogg", codec="libopus", bit_rate=16_000),
        "MP3, 16 kbit/s": partial(compressed, muxer="mp3", codec="libmp3lame", bit_rate=16_000),
        "8 kHz, 16 bit": partial(telephone, subtype="PCM_16"),
        "8 kHz, µ-law (G.711)": partial(telephone, subtype="ULAW"),
        "8 kHz, GSM 06.10": partial(telephone, subtype="GSM610"),
    }
    return [*lengths, *noises, *(Condition("codec", name, change) for name, change in codecs.items())]


def cut_to(waveform: Waveform, _: np.random.Generator, *, speech_s: float) -> bytes | None:
    """The beginning of a recording up to so much speech, or None when there is less in it."""
    spoken = np.flatnonzero(speech_mask(waveform))
    wanted = round(speech_s * SAMPLE_RATE_HZ / HOP)
    if len(spoken) < wanted:
        return None
    return wav(waveform[: (int(spoken[wanted - 1]) + 1) * HOP])


def with_noise(waveform: Waveform, rng: np.random.Generator, *, noise: Noise, snr_db: float) -> bytes:
    """A recording with noise, `snr_db` below the power of its speech (not of the pauses beside it)."""
    surplus_db = 10 * np.log10(np.mean(speech_only(waveform) ** 2) / (np.mean(waveform**2) + 1e-20) + 1e-20)
    return wav(mix(waveform, noise(len(waveform), rng), snr_db - surplus_db))


def telephone(waveform: Waveform, _: np.random.Generator, *, subtype: str) -> bytes:
    """A recording in the telephone's band and coding (a subtype of soundfile's WAV)."""
    narrow = librosa.resample(waveform, orig_sr=SAMPLE_RATE_HZ, target_sr=8000, res_type="soxr_mq")
    return wav(narrow, 8000, subtype)


def compressed(waveform: Waveform, _: np.random.Generator, *, muxer: str, codec: str, bit_rate: int) -> bytes:
    """A recording as FFmpeg's encoders write it at a bit rate, in bit/s.

    libsndfile has these codecs too, but takes a fifth of a second for one of Opus.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream: Any = container.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(_below_full_scale(waveform)[None], format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        context = stream.codec_context
        convert = av.AudioResampler(context.format, "mono", context.sample_rate, context.frame_size)
        for piece in (*convert.resample(frame), *convert.resample(None), None):
            container.mux(stream.encode(piece))
    return file.getvalue()


def wav(waveform: Waveform, rate_hz: int = SAMPLE_RATE_HZ, subtype: str = "FLOAT") -> bytes:
    """A WAV file; what exceeds full scale is turned down as a whole, so that nothing clips."""
    file = io.BytesIO()
    soundfile.write(file, _below_full_scale(waveform), rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def _below_full_scale(waveform: Waveform) -> Waveform:
    return np.ascontiguousarray(waveform / max(1.0, float(np.max(np.abs(waveform), initial=0.0))), np.float32)


def speech_shaped_noise(samples: int, rng: np.random.Generator) -> Waveform:
    """Noise with about the long-term spectrum of speech: flat to 500 Hz, then 9 dB less each octave.

    Source: D. Byrne et al., "An international comparison of long-term average speech spectra", JASA 96, 1994.
    """
    white: npt.NDArray[np.complex128] = scipy.fft.rfft(rng.standard_normal(samples))
    hertz = scipy.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    shaped = scipy.fft.irfft(white / np.maximum(hertz / _SPEECH_SHAPE_HZ, 1.0) ** 1.5, samples)
    return np.asarray(shaped, np.float32)


def noise_source(manifest: Path | None) -> tuple[Noise, str]:
    """Where the noise of the measurement comes from, and that in words.

    Args:
        manifest: CSV of noises as for training, or None for generated noise.

    Raises:
        ValueError: The manifest has no noises.
    """
    if manifest is None:
        return speech_shaped_noise, "generated noise with the long-term spectrum of speech"
    augmenter = Augmenter(AugmentConfig(simulated_rooms=0), manifest, _no_voices)
    if not augmenter.noises:
        raise ValueError(f"{manifest} lists no noises: their paths begin with noise/")
    return augmenter.noise, f"{len(augmenter.noises)} recorded noises of {manifest.name}"


def _no_voices(samples: int, _: np.random.Generator) -> Waveform:
    return np.zeros(samples, np.float32)


def spread(items: Sequence[str], most: int) -> list[str]:
    """At most `most` items, evenly spread over all."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).astype(int))]

"""Augmentation on waveforms: clean crop → the same voice somewhere else."""

import copy
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import scipy.fft
import scipy.signal
import soundfile
from tqdm import tqdm

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.decode import decode

# Opus and G.721 are left out: libsndfile takes 79 and 18 ms for 1.4 s of audio, the network less than 10.
_CODECS = (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"))
_TELEPHONE = ("GSM610", "ULAW", "ALAW")


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly a crop is changed; every probability is of its own."""

    noise: float = 0.45
    """Probability of additive noise."""
    babble: float = 0.15
    """Probability of other voices in the background."""
    room: float = 0.3
    """Probability of a room (measured or simulated) response."""
    device: float = 0.15
    """Probability of a device or microphone response."""
    telephone: float = 0.15
    """Probability of the telephone band with a telephone codec."""
    codec: float = 0.05
    """Probability of a lossy music or voice codec."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Range of the signal-to-noise ratio of noise; babble is drawn 5 dB higher."""
    gain_db: tuple[float, float] = (-20.0, 6.0)
    """Range of the level."""
    simulated_rooms: int = 60
    """Rooms simulated with pyroomacoustics beside the measured ones."""


def speed(waveform: Waveform, factor: float, length: int) -> Waveform:
    """Plays a crop `factor` times as fast, pitch and all, and fits it to `length` samples."""
    if factor != 1.0:
        rate = round(SAMPLE_RATE_HZ * factor)
        waveform = librosa.resample(waveform, orig_sr=rate, target_sr=SAMPLE_RATE_HZ, res_type="soxr_mq")
    return np.resize(waveform, length) if len(waveform) < length else waveform[:length]


def mix(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Adds noise (same length) at a signal-to-noise ratio in dB."""
    power, noise_power = np.mean(waveform**2), np.mean(noise**2)
    if noise_power < 1e-12:
        return waveform
    return waveform + noise * np.float32(np.sqrt(power / noise_power * 10 ** (-snr_db / 10)))


def convolve(waveform: Waveform, response: Waveform) -> Waveform:
    """Applies an impulse response; the direct sound stays where it was and the length is kept."""
    size = scipy.fft.next_fast_len(len(waveform) + len(response) - 1, real=True)
    spectrum = scipy.fft.rfft(waveform, size) * scipy.fft.rfft(response, size)
    wet = scipy.fft.irfft(spectrum, size)
    start = int(np.argmax(np.abs(response)))
    return np.asarray(wet[start : start + len(waveform)], np.float32)


def through_codec(waveform: Waveform, container: str, subtype: str, rate_hz: int) -> Waveform:
    """Encodes and decodes a crop with libsndfile at `rate_hz`; length and alignment are kept."""
    peak = max(1.0, float(np.max(np.abs(waveform))))
    narrow = librosa.resample(waveform / peak, orig_sr=SAMPLE_RATE_HZ, target_sr=rate_hz, res_type="soxr_mq")
    file = io.BytesIO()
    soundfile.write(file, narrow, rate_hz, format=container, subtype=subtype)
    file.seek(0)
    back, _ = soundfile.read(file, dtype="float32")
    wide = librosa.resample(back, orig_sr=rate_hz, target_sr=SAMPLE_RATE_HZ, res_type="soxr_mq") * peak
    return np.resize(wide, len(waveform)).astype(np.float32)


def simulate_rooms(count: int, rng: np.random.Generator) -> list[Waveform]:
    """Impulse responses of shoebox rooms of random size, damping and places (pyroomacoustics)."""
    import pyroomacoustics

    responses = []
    for _ in tqdm(range(count), desc="simulating rooms", unit="room", leave=False):
        size = rng.uniform([2.5, 2.5, 2.2], [9.0, 7.0, 3.5])
        room = pyroomacoustics.ShoeBox(
            size,
            fs=SAMPLE_RATE_HZ,
            max_order=12,
            materials=pyroomacoustics.Material(float(rng.uniform(0.15, 0.6))),
        )
        places = rng.uniform(0.4, size - 0.4, (2, 3))
        room.add_source(places[0])
        room.add_microphone(places[1])
        room.compute_rir()
        response = np.asarray(room.rir[0][0], np.float32)[: SAMPLE_RATE_HZ // 2]
        responses.append(response / np.max(np.abs(response)))
    return responses


def _read(paths: Sequence[Path], what: str) -> list[Waveform]:
    bar = tqdm(paths, desc=f"reading {what}", unit="file", leave=False)
    return [decode(path.read_bytes(), max_duration_s=600).waveform for path in bar]


class Augmenter:
    """Draws a change for each crop from the noises and responses at hand.

    Args:
        config: Probabilities and ranges.
        manifest: CSV of noises and responses with columns path and kind (kind starting with
            `room`, `device` or `microphone` for a response), or None for simulated rooms and
            codecs alone.
        voices: Returns a random crop of speech of a given length, for babble; none without it.
        seed: Seed of the simulated rooms.
    """

    def __init__(
        self,
        config: AugmentConfig,
        manifest: Path | None,
        voices: Callable[[int, np.random.Generator], Waveform] | None,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.voices = voices
        rows = []
        if manifest is not None:
            with manifest.open(newline="", encoding="utf-8") as file:
                rows = [(row["path"], row["kind"]) for row in csv.DictReader(file)]
        place = manifest.parent if manifest else Path()
        # The folder says what a response is of; `kind` names the room or the device itself.
        pick = {name: [place / p for p, _ in rows if p.startswith(name)] for name in
                ("noise", "responses/room", "responses/device", "responses/microphone")}  # fmt: skip
        self.noises = _read(pick["noise"], "noises")
        self.rooms = _read(pick["responses/room"], "rooms")
        self.rooms += simulate_rooms(config.simulated_rooms, np.random.default_rng(seed))
        self.devices = _read(pick["responses/device"] + pick["responses/microphone"], "devices")

    def among(self, voices: Callable[[int, np.random.Generator], Waveform]) -> "Augmenter":
        """The same augmenter, noises and responses shared, among other voices."""
        other = copy.copy(self)
        other.voices = voices
        return other

    def __call__(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """Changes one crop, float32 (samples,), [-1, 1]; the length stays."""
        config, chance = self.config, rng.random(6)
        if chance[0] < config.room and self.rooms:
            waveform = convolve(waveform, self.rooms[rng.integers(len(self.rooms))])
        if chance[1] < config.device and self.devices:
            waveform = convolve(
                waveform, self.devices[rng.integers(len(self.devices))][: SAMPLE_RATE_HZ // 2]
            )
        if chance[2] < config.noise and self.noises:
            waveform = mix(waveform, self.noise(len(waveform), rng), rng.uniform(*config.snr_db))
        if chance[3] < config.babble and self.voices is not None:
            others = np.sum([self.voices(len(waveform), rng) for _ in range(rng.integers(1, 5))], axis=0)
            waveform = mix(waveform, others, rng.uniform(*config.snr_db) + 5)
        if chance[4] < config.telephone:
            waveform = through_codec(waveform, "WAV", str(rng.choice(_TELEPHONE)), 8000)
        elif chance[5] < config.codec:
            container, subtype = _CODECS[rng.integers(len(_CODECS))]
            waveform = through_codec(waveform, container, subtype, 16000)
        return self._level(waveform, rng)

    def noise(self, length: int, rng: np.random.Generator) -> Waveform:
        """A random stretch of a random noise, repeated where it is shorter: float32 (length,)."""
        noise = self.noises[rng.integers(len(self.noises))]
        if len(noise) <= length:
            return np.resize(noise, length)
        start = int(rng.integers(len(noise) - length))
        return noise[start : start + length]

    def _level(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        peak = float(np.max(np.abs(waveform))) + 1e-9
        # Above full scale the crop clips, as a recording with too high a level does.
        gain = 10 ** (rng.uniform(*self.config.gain_db) / 20) / peak
        return np.asarray(np.clip(waveform * np.float32(gain), -1, 1), np.float32)

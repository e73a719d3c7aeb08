"""Meetings made of clips: several voices by turns in one recording, and who spoke when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.arrays import SAMPLE_RATE_HZ, Waveform
from training.diarisation import Spoken

TURN_S: Final = (2.0, 8.0)
"""Shortest and longest turn, in seconds."""
_GAPLESS: Final = 0.3
"""Share of turns that follow the one before without a pause."""
_LONGEST_GAP_S: Final = 0.8
_LEVEL_DB: Final = 6.0
"""Voices lie up to this far above and below the mean: not everybody sits at the microphone."""
_SPEECH_RMS: Final = 0.05
_ROOM_RMS: Final = 5e-4
"""Noise under the whole meeting, 40 dB below the speech."""


@dataclass(frozen=True)
class Meeting:
    """A recording with several voices.

    Attributes:
        waveform: float32 (samples,), 16 kHz, [-1, 1].
        truth: Who spoke when, in the order of time; nobody speaks at the same time as another.
    """

    waveform: Waveform
    truth: tuple[Spoken, ...]


def make_meeting(
    voices: Mapping[str, Sequence[Waveform]], rng: np.random.Generator, turn_s: tuple[float, float] = TURN_S
) -> Meeting:
    """Let voices take turns until one of them has no speech left for another turn.

    Args:
        voices: The speech of each, float32 clips at 16 kHz, at least two voices.
        rng: Who speaks next and for how long, pauses, levels and noise come from it.
        turn_s: Shortest and longest turn, in seconds.
    """
    speech = {voice: np.concatenate(clips) for voice, clips in voices.items()}
    gain = {voice: _gain(speech[voice], rng) for voice in voices}
    place = dict.fromkeys(voices, 0)
    pieces, truth, length, last = [np.zeros(SAMPLE_RATE_HZ // 2, np.float32)], [], SAMPLE_RATE_HZ // 2, ""
    while True:
        voice = str(rng.choice([name for name in voices if name != last]))
        samples = round(rng.uniform(*turn_s) * SAMPLE_RATE_HZ)
        said = gain[voice] * speech[voice][place[voice] : place[voice] + samples]
        if len(said) < turn_s[0] * SAMPLE_RATE_HZ:
            break
        truth.append(Spoken(length / SAMPLE_RATE_HZ, (length + len(said)) / SAMPLE_RATE_HZ, voice))
        gap = 0.0 if rng.random() < _GAPLESS else rng.uniform(0.1, _LONGEST_GAP_S)
        pieces += [said, np.zeros(round(gap * SAMPLE_RATE_HZ), np.float32)]
        length, last = length + len(said) + len(pieces[-1]), voice
        place[voice] += samples
    joined = np.concatenate(pieces)
    waveform = joined + rng.normal(0.0, _ROOM_RMS, len(joined))
    return Meeting(np.clip(waveform, -1.0, 1.0).astype(np.float32), tuple(truth))


def _gain(speech: Waveform, rng: np.random.Generator) -> np.float32:
    level = _SPEECH_RMS * 10 ** (rng.uniform(-_LEVEL_DB, _LEVEL_DB) / 20)
    return np.float32(level / (np.sqrt(np.mean(np.square(speech))) + 1e-9))

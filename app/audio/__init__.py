"""From the bytes of an upload to the utterance that is embedded."""

import hashlib
from dataclasses import dataclass

from app.arrays import Waveform
from app.audio.decode import decode
from app.audio.quality import AudioReport, measure
from app.audio.speech import analyse
from app.audio.windows import speech_only

__all__ = ["AudioReport", "Utterance", "prepare"]


@dataclass(frozen=True)
class Utterance:
    """A recording ready for the embedder.

    Attributes:
        waveform: float32 (samples,), 16 kHz, [-1, 1]: the speech only.
        report: what was measured of the whole recording.
        sha256: hash of the uploaded bytes, 64 hexadecimal digits: the same clip again has the same.
    """

    waveform: Waveform
    report: AudioReport
    sha256: str


def prepare(data: bytes, *, max_duration_s: float) -> Utterance:
    """Decode, measure and cut: the one path from bytes to utterance, in the service, CLI and evaluation.

    Args:
        data: the bytes of the file.
        max_duration_s: longest recording that is read, in seconds.

    Raises:
        AudioRefused: the bytes cannot be decoded; see decode(). Whether the recording is good enough is
            asked afterwards, with app.audio.quality.refuse.
    """
    recording = decode(data, max_duration_s=max_duration_s)
    seen = analyse(recording.waveform)
    return Utterance(
        waveform=speech_only(recording.waveform, seen.mask),
        report=measure(recording, seen),
        sha256=hashlib.sha256(data).hexdigest(),
    )

"""From the bytes of an upload to the utterance that is embedded."""

import hashlib
from dataclasses import dataclass

from app.arrays import Waveform
from app.audio.decode import decode
from app.audio.fingerprint import Fingerprint, fingerprint
from app.audio.quality import AudioReport, measure
from app.audio.speech import analyse
from app.audio.windows import Pieces, join, speech_pieces

__all__ = ["AudioReport", "Utterance", "prepare"]


@dataclass(frozen=True)
class Utterance:
    """A recording ready for the embedder.

    Attributes:
        waveform: float32 (samples,), 16 kHz, [-1, 1]: the speech only, its pieces joined.
        report: what was measured of the whole recording.
        sha256: hash of the uploaded bytes, 64 hexadecimal digits: the same clip again has the same.
        pieces: where each piece of the waveform lay in the recording: first sample and the one after the
            last, at 16 kHz.
        fingerprint: by which the whole recording is known again in another coding.
    """

    waveform: Waveform
    report: AudioReport
    sha256: str
    pieces: Pieces
    fingerprint: Fingerprint


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
    pieces = speech_pieces(seen.mask, len(recording.waveform))
    return Utterance(
        waveform=join(recording.waveform, pieces),
        report=measure(recording, seen),
        sha256=hashlib.sha256(data).hexdigest(),
        pieces=pieces,
        fingerprint=fingerprint(recording.waveform),
    )

"""Words, sentences and moods made of numbers: a letter is a vowel, a speaker a pitch, a mood a melody."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from app.arrays import SAMPLE_RATE_HZ, Waveform

_VOWELS_HZ = {"a": (700, 1220), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870)}


def said(text: str, speaker: int, take: int, rising: bool = False) -> Waveform:
    """Each letter 0.16 s of a vowel, each space as much of near silence."""
    chance = np.random.default_rng([speaker, take])
    pitch_hz, length = 90 + 25 * speaker + chance.uniform(-5, 5), int(0.16 * SAMPLE_RATE_HZ)
    seconds = np.arange(length) / SAMPLE_RATE_HZ
    pieces = []
    for place, letter in enumerate(text):
        if letter == " ":
            pieces.append(np.zeros(length))
            continue
        heard_hz = pitch_hz * (1 + 0.15 * place) if rising else pitch_hz
        harmonics = heard_hz * np.arange(1, int(4000 / heard_hz))
        gains = sum(1 / (1 + ((harmonics - formant) / 90) ** 2) for formant in _VOWELS_HZ[letter])
        tones = np.sin(2 * np.pi * np.outer(harmonics, seconds)) * np.asarray(gains)[:, None]
        pieces.append(tones.sum(axis=0) * np.sin(np.pi * np.arange(length) / length) ** 0.5)
    sound = np.concatenate(pieces) + chance.normal(0, 1e-3, length * len(text))
    return np.asarray(0.5 * sound / np.abs(sound).max(), np.float32)


@dataclass(frozen=True)
class Row:
    """One recording of a manifest."""

    text: str
    speaker: int
    take: int
    emotion: str = ""
    written: str | None = None
    """What the manifest says of the text, where that is something else."""


def write_manifest(root: Path, rows: list[Row]) -> Path:
    """Writes the recordings and their manifest; the last third of the speakers is the split `dev`."""
    last = max(row.speaker for row in rows) * 2 // 3
    (root / "audio").mkdir(parents=True)
    lines = []
    for number, row in enumerate(rows):
        sound = said(row.text, row.speaker, row.take, rising=row.emotion == "glad")
        soundfile.write(root / f"audio/{number}.flac", sound, SAMPLE_RATE_HZ)
        lines.append(
            {
                "utterance_id": f"u{number}",
                "speaker_id": f"v{row.speaker}",
                "path": f"audio/{number}.flac",
                "set": "made",
                "split": "train" if row.speaker <= last else "dev",
                "text": row.text if row.written is None else row.written,
                "emotion": row.emotion,
            }
        )
    with (root / "spoken.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return root / "spoken.csv"

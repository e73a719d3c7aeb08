"""Speech for the digit model: what was said of it as digits and as phones, and strings made of single digits.

Three kinds: recordings of a manifest with their words (column `text`), strings put together from recordings
of single words, and synthetic voices (espeak-ng, and flite where it is installed), which speak whole strings.
Every waveform is cut to its speech as the service cuts it.
"""

import csv
import io
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import librosa
import numpy as np
import soundfile
from tqdm import tqdm

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio.decode import decode
from app.audio.windows import speech_only
from app.digits.alignment import FIRST, OTHER
from training.corpus import place_of
from training.transcripts import spoken_characters

WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NUMBER: Final = {word: number for number, word in enumerate(WORDS)}
ALIKE: Final = frozenset({"to", "too", "for", "fore", "won", "ate", "oh", "o"})
"""Words that sound like digits, and another name of a digit: no digits are learnt from texts with them."""
_ASIDE: Final = 0.12
"""Share of the training speakers who are kept aside, for the threshold."""

Part: TypeAlias = Literal["train", "aside", "test"]


@dataclass(frozen=True, eq=False)
class Said:
    """A waveform and what is said in it.

    Attributes:
        waveform: float32 (samples,), 16 kHz, its speech only.
        words: In lower case; empty where they are not known.
        speaker_id: Who says it; empty where it is several.
        set_name: The set of the manifest, or how it was made.
    """

    waveform: Waveform
    words: tuple[str, ...]
    speaker_id: str
    set_name: str

    @property
    def digits(self) -> tuple[int, ...] | None:
        """The digits, where nothing else is said; else None."""
        found = tuple(_NUMBER.get(word, -1) for word in self.words)
        return found if found and min(found) >= 0 else None

    @property
    def tokens(self) -> tuple[int, ...]:
        """The digits, and `OTHER` for each run of other words; empty where a word may be mistaken for one."""
        if not ALIKE.isdisjoint(self.words):
            return ()
        found = [FIRST + _NUMBER[word] if word in _NUMBER else OTHER for word in self.words]
        pairs = zip(found, [0, *found], strict=False)
        return tuple(token for token, before in pairs if token != OTHER or before != OTHER)


def read_said(manifest: Path, sets: Sequence[str], part: Part, longest_s: float) -> list[Said]:
    """Reads the recordings of some sets that have a text.

    Args:
        manifest: The CSV, with utterance_id, speaker_id, path, set, split, seconds and text.
        sets: Their names.
        part: `test` is the split `dev`, and the last two speakers of a set that has none.
        longest_s: Longer ones are left out.
    """
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in sets]
    part_of = _parts(rows)
    rows = [r for r in rows if part_of[r["speaker_id"]] == part and float(r["seconds"]) <= longest_s]
    found = []
    for row in tqdm(rows, desc=f"reading {part}", unit="clip", leave=False):
        words = tuple(spoken_characters(row["text"]).split())
        if not words or any(c.isdigit() for c in "".join(words)):
            continue
        waveform = decode((manifest.parent / row["path"]).read_bytes(), max_duration_s=longest_s + 1).waveform
        found.append(Said(speech_only(waveform), words, row["speaker_id"], row["set"]))
    return found


def _parts(rows: Sequence[dict[str, str]]) -> dict[str, Part]:
    """On which side each speaker is, which follows from labels alone."""
    part_of: dict[str, Part] = {}
    splits: dict[str, set[str]] = defaultdict(set)
    speakers: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row["set"]].add(row["split"])
        speakers[row["set"]].add(row["speaker_id"])
        aside = place_of(row["speaker_id"]) < _ASIDE
        part_of[row["speaker_id"]] = "test" if row["split"] == "dev" else "aside" if aside else "train"
    for name in speakers:
        if "dev" not in splits[name]:
            *others, third, second, first = sorted(speakers[name])
            part_of.update(dict.fromkeys(others, "train"))
            part_of.update({third: "aside", second: "test", first: "test"})
    return part_of


def put_together(pieces: Sequence[Said], rng: np.random.Generator) -> Said:
    """One recording after the other at one level, with pauses as they stay in a recording's speech.

    Args:
        pieces: Single words.
        rng: Draws the pauses, 0 to 0.25 s of faint noise.
    """
    parts: list[Waveform] = []
    for piece in pieces:
        loud = float(np.sqrt(np.mean(piece.waveform**2))) + 1e-6
        pause = rng.normal(0, 2e-3, int(rng.uniform(0, 0.25) * SAMPLE_RATE_HZ))
        parts += [piece.waveform * np.float32(0.1 / loud), pause.astype(np.float32)]
    speakers = {piece.speaker_id for piece in pieces}
    words = tuple(word for piece in pieces for word in piece.words)
    return Said(
        np.clip(np.concatenate(parts), -1, 1),
        words,
        speakers.pop() if len(speakers) == 1 else "",
        pieces[0].set_name,
    )


def at_speed(said: Said, factor: float) -> Said:
    """The same, `factor` times as fast, pitch and all."""
    rate = round(SAMPLE_RATE_HZ * factor)
    changed = librosa.resample(said.waveform, orig_sr=rate, target_sr=SAMPLE_RATE_HZ, res_type="soxr_mq")
    return replace(said, waveform=changed)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ACCENTS: Final = _words("en-us en-us en-gb en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029")
_VARIANTS: Final = _words(
    "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 Alex Alicia Andrea Andy Denis Diogo Gene Gene2 Henrique Hugo "
    "Jacky Lee Marco Mario Michael Mike Nguyen Storm adam anika antonio aunty belinda benjamin boris caleb "
    "david ed edward grandma grandpa gustave iven john kaukovalta linda marcelo max michel miguel norbert "
    "pablo paul pedro quincy rob robert sandro shelby steph travis victor zac"
)
KEPT_VARIANTS: Final = frozenset({"f3", "m3", "Gene", "anika", "steph", "edward"})
"""Synthetic voices that nothing is learnt from: they measure."""
_FLITE: Final = ("awb", "rms", "slt", "kal16")


def synthetic(words: Sequence[str], rng: np.random.Generator, kept: bool = False) -> Said:
    """Speaks a text with a random synthetic voice, in one breath or with a pause behind each word.

    Args:
        words: What is said.
        rng: Draws voice, pitch and speed.
        kept: With one of the voices that only measure.

    Raises:
        OSError: espeak-ng is not installed.
    """
    text = (", " if rng.random() < 0.4 else " ").join(words)
    if not kept and shutil.which("flite") and rng.random() < 0.3:
        voice = str(rng.choice(_FLITE))
        stretch, shift = rng.uniform(0.75, 1.25), rng.uniform(0.85, 1.2)
        changes = ["--setf", f"duration_stretch={stretch:.2f}", "--setf", f"f0_shift={shift:.2f}"]
        command = ["flite", "-voice", voice, *changes, "-t", text, "-o", "/dev/stdout"]
    else:
        names = sorted(KEPT_VARIANTS) if kept else [v for v in _VARIANTS if v not in KEPT_VARIANTS]
        voice = f"{rng.choice(_ACCENTS)}+{rng.choice(names)}"
        speed, pitch = str(int(rng.integers(110, 220))), str(int(rng.integers(15, 85)))
        command = ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    spoken, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    spoken = librosa.resample(spoken, orig_sr=rate, target_sr=SAMPLE_RATE_HZ, res_type="soxr_mq")
    spoken = spoken * np.float32(0.3 / (np.abs(spoken).max() + 1e-6))
    hiss = rng.normal(0, 10 ** rng.uniform(-4.5, -2.5), len(spoken))
    return Said(speech_only((spoken + hiss).astype(np.float32)), tuple(words), voice, "synthetic")


def phones_of(texts: Iterable[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """How texts are said: espeak-ng's phonemes of American English, without stress; each text once."""
    wanted = sorted(set(texts))
    command = ["espeak-ng", "-q", "-x", "--sep=_", "-v", "en-us"]
    # A line is a clause of its own only when something ends it.
    lines = "".join(f"{' '.join(words)}.\n\n" for words in wanted)
    said = subprocess.run(command, input=lines, check=True, capture_output=True, text=True).stdout
    found = [line for line in said.splitlines() if line.strip()]
    if len(found) != len(wanted):
        raise ValueError(f"espeak-ng spoke {len(found)} of {len(wanted)} texts")
    return {words: tuple(_phones(line)) for words, line in zip(wanted, found, strict=True)}


def _phones(line: str) -> list[str]:
    """Phonemes of a line, their marks of stress, length and kind taken off."""
    bare = (re.sub(r"[',%=:|;#!?-]|(?<=[A-Za-z@])\d", "", phone) for phone in re.split(r"[_\s]+", line))
    return [phone for phone in bare if phone]

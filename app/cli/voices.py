"""Recordings for the demo: from a corpus, from a synthesiser, or the few that come with the source."""

import csv
import json
import random
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEED: Final = 0
"""Seed of every choice below; fixed before the first run."""
ROOT: Final = Path(__file__).resolve().parents[2]
NEIGHBOUR: Final = ROOT.parent / "shared" / "corpus"
"""Where a corpus lies when nobody says where."""

SETS: Final = ("common_voice_en", "voxforge", "speechocean762", "alphanumeric")
"""Sets of the corpus that the demo draws from: two voices and one stranger of each."""
TEST_S: Final = 4.0
"""Shortest held-out clip, in seconds."""
ENROLL_S: Final = 12.0
"""Least audio that a voice is enrolled with, in seconds; clips are added until it is reached."""


@dataclass(frozen=True)
class Clip:
    """One recording as it would arrive."""

    name: str
    audio: bytes


@dataclass(frozen=True)
class Voice:
    """One speaker with the clips to enroll and one clip that is held out."""

    name: str
    enroll: tuple[Clip, ...]
    held_out: Clip


@dataclass(frozen=True)
class Cast:
    """The voices of one demo; strangers[i] is of the same kind as one of the known ones."""

    source: str
    known: tuple[Voice, ...]
    strangers: tuple[Voice, ...]


def find_cast(corpus: Path | None) -> Cast:
    """The best recordings that this machine offers.

    Args:
        corpus: Folder of a corpus (utterances.csv and recordings); None looks beside the checkout.

    Raises:
        FileNotFoundError: A corpus was named and is not there, or nothing at all was found.
    """
    if corpus is not None or (NEIGHBOUR / "utterances.csv").is_file():
        return from_corpus(corpus or NEIGHBOUR)
    if shutil.which("espeak-ng"):
        return synthesised()
    return shipped(ROOT / "tests" / "data")


# ---------------------------------------------------------------- a corpus


def from_corpus(folder: Path) -> Cast:
    """Two voices and one stranger of each set, drawn with a fixed seed from the development speakers.

    A speaker qualifies with one clip of TEST_S and ENROLL_S in others. Chance picks the speakers and
    the clips; no outcome was looked at.
    """
    with (folder / "utterances.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "dev" and row["set"] in SETS]
    chance = random.Random(SEED)
    known: list[Voice] = []
    strangers: list[Voice] = []
    for name in SETS:
        voices = draw(folder, [row for row in rows if row["set"] == name], 3, chance)
        known += voices[:2]
        strangers += voices[2:]
    return Cast(f"development speakers of {folder.name} ({', '.join(SETS)})", tuple(known), tuple(strangers))


def draw(folder: Path, rows: Sequence[dict[str, str]], count: int, chance: random.Random) -> list[Voice]:
    """Draws `count` speakers of one set who have enough to say."""
    by_speaker: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_speaker[row["speaker_id"]].append(row)
    names = sorted(by_speaker)
    chance.shuffle(names)
    voices: list[Voice] = []
    for name in names:
        clips = sorted(by_speaker[name], key=lambda row: row["utterance_id"])
        chance.shuffle(clips)
        voice = split(folder, name, clips)
        if voice is not None and len(voices) < count:
            voices.append(voice)
    if len(voices) < count:
        raise FileNotFoundError(f"{folder} holds too few speakers with enough speech")
    return voices


def split(folder: Path, name: str, clips: Sequence[dict[str, str]]) -> Voice | None:
    """The first long clip is held out, the next ones enroll; None when they do not suffice."""
    held_out = next((clip for clip in clips if float(clip["seconds"]) >= TEST_S), None)
    enroll: list[dict[str, str]] = []
    for clip in clips:
        if clip is not held_out and sum(float(c["seconds"]) for c in enroll) < ENROLL_S:
            enroll.append(clip)
    if held_out is None or sum(float(c["seconds"]) for c in enroll) < ENROLL_S:
        return None

    def load(clip: dict[str, str]) -> Clip:
        return Clip(clip["utterance_id"], (folder / clip["path"]).read_bytes())

    return Voice(name, tuple(map(load, enroll)), load(held_out))


# ---------------------------------------------------------------- voices from a synthesiser

ESPEAK: Final = (
    # espeak-ng voice, pitch 0..99, words a minute; the last four are strangers
    ("en-us+m1", 30, 150),
    ("en-gb+f2", 60, 160),
    ("en-gb-scotland+m7", 15, 140),
    ("en-us+f5", 85, 170),
    ("de+m3", 45, 150),
    ("fr+f4", 70, 150),
    ("es+m5", 55, 165),
    ("it+f1", 40, 145),
    ("nl+m6", 5, 135),
    ("pl+f3", 95, 160),
    ("sv+m2", 75, 170),
    ("pt+m8", 25, 155),
)
KNOWN_COUNT: Final = 8

SENTENCES: Final = (
    "The harbour was quiet when the first boats came home before the morning fog.",
    "Please turn the lights down in the kitchen and start the slow music again.",
    "Seven yellow buses waited behind the old station for children from the village.",
    "My grandmother keeps her letters in a wooden box under the window of her room.",
    "Nobody knew which of the two roads would lead them over the mountains by night.",
)
"""What every synthesised voice says; the last sentence is held out."""


def synthesised() -> Cast:
    """Twelve espeak-ng voices that differ in language, variant, pitch and pace."""
    voices = [speak(voice, pitch, pace) for voice, pitch, pace in ESPEAK]
    return Cast("voices synthesised with espeak-ng", tuple(voices[:KNOWN_COUNT]), tuple(voices[KNOWN_COUNT:]))


def speak(voice: str, pitch: int, pace: int) -> Voice:
    """Lets one espeak-ng voice say every sentence."""
    name = voice.replace("+", "-")
    clips = []
    for number, sentence in enumerate(SENTENCES, start=1):
        command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(pace), "--stdout", sentence]
        done = subprocess.run(command, check=True, capture_output=True, timeout=60)
        clips.append(Clip(f"{name}-{number}", done.stdout))
    return Voice(name, tuple(clips[:-1]), clips[-1])


# ---------------------------------------------------------------- clips that come with the source


def shipped(folder: Path) -> Cast:
    """The clips that the tests use; the last clip of each voice is held out.

    Raises:
        FileNotFoundError: The folder is not there, as in a container.
    """
    if not (folder / "clips.json").is_file():
        raise FileNotFoundError("no recordings for a demo: install espeak-ng or name a corpus with --corpus")
    voices = []
    for name, takes in json.loads((folder / "clips.json").read_text(encoding="utf-8")).items():
        clips = [Clip(Path(take["file"]).stem, (folder / take["file"]).read_bytes()) for take in takes]
        voices.append(Voice(name, tuple(clips[:-1]), clips[-1]))
    return Cast("clips that come with the source", tuple(voices[:KNOWN_COUNT]), tuple(voices[KNOWN_COUNT:]))

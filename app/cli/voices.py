"""Recordings for the demo: from a corpus, or the synthetic ones that come with the source."""

import csv
import json
import random
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

SETS: Final = ("common_voice_en", "voxforge", "malayalam", "alphanumeric")
"""Sets of the corpus that the demo draws from, two voices and one stranger of each: sentences and short
answers of grown people. A first draw had speechocean762 among them and one of its readers, who are children
and learners with one text, was taken for another: the model card names that weakness."""
KNOWN_COUNT: Final = 8
"""Synthetic voices that are enrolled; the others are strangers."""
SYNTHETIC_THRESHOLD: Final = 7.0
"""Between the least score of a clip of one synthetic voice against its enrollment (7.3 when it was set) and
the greatest against another's (6.7)."""
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
    threshold: float | None = None
    """Least score that the demo asks for; None leaves it to the service."""


def find_cast(corpus: Path | None) -> Cast:
    """The best recordings that this machine offers.

    Args:
        corpus: Folder of a corpus (utterances.csv and recordings); None looks beside the checkout.

    Raises:
        FileNotFoundError: A corpus was named and is not there, or nothing at all was found.
    """
    if corpus is not None or (NEIGHBOUR / "utterances.csv").is_file():
        return from_corpus(corpus or NEIGHBOUR)
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


# ---------------------------------------------------------------- clips that come with the source


def shipped(folder: Path) -> Cast:
    """The clips that the tests use; the last clip of each voice is held out.

    Raises:
        FileNotFoundError: The folder is not there, as in a container.
    """
    if not (folder / "clips.json").is_file():
        raise FileNotFoundError("no recordings for a demo: name a corpus with --corpus")
    voices = []
    for name, takes in json.loads((folder / "clips.json").read_text(encoding="utf-8")).items():
        clips = [Clip(Path(take["file"]).stem, (folder / take["file"]).read_bytes()) for take in takes]
        voices.append(Voice(name, tuple(clips[:-1]), clips[-1]))
    return Cast(
        f"espeak-ng's voices, which come with the source; threshold {SYNTHETIC_THRESHOLD}, since one "
        "synthesiser's voices are more alike than people's",
        tuple(voices[:KNOWN_COUNT]),
        tuple(voices[KNOWN_COUNT:]),
        SYNTHETIC_THRESHOLD,
    )

"""A corpus in miniature, made of numbers: six voices, two sets, noises, responses and trials."""

import csv
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.speech import DATA, voices
from tests.tiny import add_int8, write_tiny_model
from training.evaluate import main as evaluate
from training.signals import speech_like

SPEAKERS, TAKES = 8, 4


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_noises(root: Path) -> None:
    rng = np.random.default_rng(5)
    decay = np.exp(-np.arange(4000) / 800) * rng.standard_normal(4000) * 0.3
    decay[0] = 1.0
    sounds = {
        "noise/hum.flac": 0.1 * rng.standard_normal(32000),
        "responses/room/hall.flac": decay,
        "responses/device/phone.flac": decay[:200],
    }
    rows = []
    for name, sound in sounds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.clip(sound, -1, 1), 16000)
        rows.append({"path": name, "kind": Path(name).stem})
    _write_csv(root / "noise.csv", rows)


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with utterances.csv, noise.csv and trials/tiny.txt."""
    root = tmp_path_factory.mktemp("miniature")
    rows = []
    for speaker, take in itertools.product(range(SPEAKERS), range(TAKES)):
        split = "train" if speaker < SPEAKERS - 3 else "dev"
        name = f"s{speaker}-{take}"
        (root / "audio").mkdir(exist_ok=True)
        soundfile.write(root / f"audio/{name}.flac", speech_like(1.6, speaker=speaker, take=take), 16000)
        rows.append(
            {
                "utterance_id": name,
                "speaker_id": f"s{speaker}",
                "path": f"audio/{name}.flac",
                "set": f"set{speaker % 2}",
                "split": split,
            }
        )
    _write_csv(root / "utterances.csv", rows)
    _write_noises(root)
    dev = [row for row in rows if row["split"] == "dev"]
    (root / "trials").mkdir()
    (root / "trials/tiny.txt").write_text(
        "\n".join(
            f"{int(a['speaker_id'] == b['speaker_id'])} {a['utterance_id']} {b['utterance_id']}"
            for a, b in itertools.combinations(dev, 2)
        )
    )
    return root


@dataclass(frozen=True)
class Evaluated:
    """The tiny model, measured on the committed synthetic voices as a person would do it."""

    model: Path
    manifest: Path
    trials: Path
    cache: Path
    out: Path
    exit_code: int

    @property
    def figures(self) -> dict[str, Any]:
        """The content of figures.json."""
        found: dict[str, Any] = json.loads((self.out / "figures.json").read_text())
        return found

    def again(self, *more: object, out: Path) -> int:
        """Runs the program once more on the same trials, without conditions."""
        words = ["--model", self.model, "--corpus", self.manifest, "--trials", self.trials, "--out", out]
        words += ["--cache", self.cache, "--clips", 0, "--threads", 1, "--quick", *more]
        return evaluate([str(word) for word in words])


def _write_spoken(root: Path) -> None:
    clips = json.loads((DATA / "clips.json").read_text())
    rows, names = [], voices()[:7]
    for number, voice in enumerate(voices()[:9]):
        for take, clip in enumerate(clips[voice]):
            rows.append(
                {
                    "utterance_id": f"{voice}-{take}",
                    "speaker_id": voice,
                    "path": str(DATA / clip["file"]),
                    "set": "espeak",
                    "split": "dev" if voice in names else "train",
                    "session": f"{voice}-{take // 2}",
                    "gender": "mf"[number % 2],
                    "licence": "CC0-1.0",
                    "seconds": "3.6",
                }
            )
    _write_csv(root / "spoken.csv", rows)
    lines = [f"1 {v}-{a} {v}-{b}" for v in names for a, b in itertools.permutations(range(4), 2)]
    lines += [
        f"0 {v}-{(t + turn) % 4} {w}-{t}"
        for v, w in itertools.permutations(names, 2)
        for t in range(4)
        for turn in range(3)
    ]
    (root / "espeak.txt").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """One whole evaluation with a card, from which the tests of its parts read."""
    root = tmp_path_factory.mktemp("evaluated")
    _write_spoken(root)
    model = write_tiny_model(root / "tiny")
    add_int8(model)
    words = ["--model", model, "--corpus", root / "spoken.csv", "--trials", root / "espeak.txt", "--card"]
    words += ["--out", root / "out", "--cache", root / "cache", "--quick", "--clips", 7]
    words += ["--compare", "int8", "--threads", 1]
    code = evaluate([str(word) for word in words])
    return Evaluated(
        model, root / "spoken.csv", root / "espeak.txt", root / "cache", root / "out", exit_code=code
    )

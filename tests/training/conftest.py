"""A corpus in miniature, made of numbers: six voices, two sets, noises, responses and trials."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

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

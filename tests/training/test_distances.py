from pathlib import Path

import numpy as np
import pytest

from training.corpus import corpus_of
from training.distances import Distances, Windows, write_report

# Two speakers on a line: one at 0 and 1, the other at 3 and 7.
VECTORS = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 7.0]])
SPEAKERS = np.array([0, 0, 1, 1])


def test_distances_by_hand() -> None:
    found = Distances.between(VECTORS, SPEAKERS, similar=100, dissimilar=25)
    assert found.values.tolist() == [1, 3, 7, 2, 6, 4]
    assert found.same.tolist() == [1, 0, 0, 0, 0, 1]
    # 200 similar pairs are stood for by two, 25 dissimilar ones by four.
    assert found.weights.tolist() == [100, 6.25, 6.25, 6.25, 6.25, 100]


def test_precision_and_recall_by_hand() -> None:
    found = Distances.between(VECTORS, SPEAKERS, similar=100, dissimilar=25)
    assert found.figures(2.5) == pytest.approx(
        {"similar": 2.5, "dissimilar": 4.5, "precision": 100 / 106.25, "recall": 0.5}
    )
    # Up to 1: F1 2/3; up to 4: both similar ones and two of the others, F1 0.970, the highest.
    assert found.threshold() == 4
    assert found.figures(4)["precision"] == pytest.approx(200 / 212.5)


def test_nobody_near_is_no_error() -> None:
    found = Distances.between(VECTORS, SPEAKERS, similar=1, dissimilar=1)
    assert found.figures(0.5)["precision"] == found.figures(0.5)["recall"] == 0


def test_every_speaker_has_as_many_windows() -> None:
    rows = [("x", "x", "home", 5000), ("y", "y", "home", 100)]
    timelines = corpus_of(np.repeat([1000, 2000], [5000, 100]).astype(np.int16), rows)
    windows = Windows.drawn(timelines, 3, 400, np.random.default_rng(0))
    assert windows.waveforms.shape == (6, 400)
    assert np.round(windows.waveforms[:, 0] * 32.767).astype(int).tolist() == [1, 1, 1, 2, 2, 2]
    assert windows.speakers.tolist() == [0, 0, 0, 1, 1, 1]


def test_the_report_holds_every_epoch(tmp_path: Path) -> None:
    names = ("similar", "dissimilar", "precision", "recall")
    epochs = [{"threshold": 2.0 + n} | {f"training_{name}": n + 0.25 for name in names} for n in range(2)]
    write_report(epochs, ["training"], {"weights to begin with": "random"}, tmp_path)
    page = (tmp_path / "distances.md").read_text()
    for line in (
        "- weights to begin with: random",
        "| training | 1.25 | 1.25 | 1.25 | 1.25 |",
        "| 1 | 0.25 | 0.25 |",
    ):
        assert line in page.splitlines()
    assert "threshold, 3.00" in page
    assert (tmp_path / "distances.png").read_bytes().startswith(b"\x89PNG")

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from training.classes import write_report


def test_the_report_says_what_was_found_and_what_chance_finds(tmp_path: Path) -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 2])
    found = np.array([0, 0, 1, 0, 1, 0, 0])
    figures = write_report(truth, found, ["bed", "cat", "дом"], 3, tmp_path)
    assert figures["accuracy"] == pytest.approx(4 / 7)
    assert figures["chance"] == pytest.approx(4 / 7)
    assert figures["bed"]["precision"] == pytest.approx(3 / 5)
    assert figures["bed"]["recall"] == pytest.approx(3 / 4)
    assert figures["дом"]["f1-score"] == 0
    assert figures["macro avg"]["recall"] == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert json.loads((tmp_path / "classes.json").read_text()) == figures
    text = (tmp_path / "classes.md").read_text(encoding="utf-8")
    assert "| cat | 0.500 | 0.500 | 0.500 | 2 |" in text
    assert "7 recordings of 3 speakers" in text
    assert imread(tmp_path / "confusions.png").shape[1] > 200


def test_many_classes_are_drawn_larger(tmp_path: Path) -> None:
    classes = [f"language {n}" for n in range(40)]
    truth = np.arange(40)
    assert write_report(truth, truth, classes, 40, tmp_path)["macro avg"]["f1-score"] == 1
    assert imread(tmp_path / "confusions.png").shape[1] > 1000

import re
from pathlib import Path
from shutil import copytree

import pytest

from tests.training.conftest import Evaluated
from training.card import evaluation_only, training_data, weak_spots, write_card
from training.groups import read_columns


@pytest.fixture
def model(evaluated: Evaluated, tmp_path: Path) -> Path:
    return copytree(evaluated.model, tmp_path / "tiny")


def test_no_field_of_the_card_is_left_unfilled(evaluated: Evaluated) -> None:
    card = (evaluated.model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# Model card: tiny\n")
    assert not re.search(r"\{\{|\{%|None\b(?! of them)|\bnan\b|Undefined|\n\n\n", card)
    for part in ("What it is for, and what not", "Error rates", "Where it is weak", "How it was made"):
        assert f"## {part}" in card
    assert "None of them is in the training split." in card


def test_data_speakers_hours_and_licences_come_from_the_training_split(evaluated: Evaluated) -> None:
    (row,) = training_data(read_columns(evaluated.manifest), {"espeak": {"title": "eSpeak NG"}})
    assert (row["speakers"], row["clips"], row["licence"], row["title"]) == (2, 8, "CC0-1.0", "eSpeak NG")
    assert row["hours"] == pytest.approx(8 * 3.6 / 3600)
    assert "| espeak | CC0-1.0 | not described | 2 | 8 | 0.01 |" in (
        evaluated.model / "MODEL_CARD.md"
    ).read_text(encoding="utf-8")


def test_weak_spots_carry_the_measured_figures(evaluated: Evaluated) -> None:
    figures = evaluated.figures
    lines = " ".join(weak_spots(figures, {}))
    worst = max(figures["conditions"]["codec"], key=lambda row: float(row["eer"]))
    assert f"EER {100 * worst['eer']:.2f} %" in lines
    assert f"through {worst['name']}" in lines
    assert "with 1 s of speech" in lines
    assert "**Emotion.** This was not measured" in lines


def test_without_conditions_the_card_says_that_nothing_was_measured(evaluated: Evaluated) -> None:
    lines = weak_spots(evaluated.figures | {"conditions": {}, "groups": {}}, {})
    assert sum("not measured" in line for line in lines) >= 6


def test_a_set_for_evaluation_only_is_named_and_must_not_have_been_trained_on(
    evaluated: Evaluated, model: Path
) -> None:
    assert evaluation_only() == {"ravdess", "bengali_digits"}
    figures = evaluated.figures
    figures["sets"]["ravdess"] = figures["sets"].pop("espeak")
    card = write_card(model, figures, {}).read_text(encoding="utf-8")
    assert "RAVDESS was only measured on: its licence, CC BY-NC-SA 4.0, excludes commercial use." in card
    trained = {"u": {"speaker_id": "a", "set": "ravdess", "split": "train"}}
    with pytest.raises(ValueError, match="ravdess: for evaluation only"):
        write_card(model, figures, trained)


def test_speakers_that_were_trained_on_are_pointed_out(evaluated: Evaluated, model: Path) -> None:
    card = write_card(model, evaluated.figures | {"speakers_trained_on": 7}, {}).read_text(encoding="utf-8")
    assert "**7 of them are in the training split of the corpus, so these rates are too good.**" in card
    unknown = write_card(model, evaluated.figures | {"speakers_trained_on": None}, {})
    assert "training split" not in unknown.read_text(encoding="utf-8")


def test_speed_and_noises_are_told_only_when_a_file_is_given(
    evaluated: Evaluated, model: Path, miniature: Path, tmp_path: Path
) -> None:
    bare = write_card(model, evaluated.figures, {}).read_text(encoding="utf-8")
    assert "## Speed" not in bare
    assert "Noises and impulse responses" not in bare
    (tmp_path / "speed.txt").write_text("fp32 12.3 ms\n")
    full = write_card(
        model, evaluated.figures, {}, noises=miniature / "noise.csv", benchmark=tmp_path / "speed.txt"
    ).read_text(encoding="utf-8")
    assert "## Speed\n\n```\nfp32 12.3 ms\n```\n" in full
    assert "3 files licence not stated" in full

import json
import shutil
from pathlib import Path

import pytest

from app.embedder import Embedder
from app.scoring.rates import equal_error_rate
from tests.speech import DATA, voices
from tests.tiny import write_tiny_model
from tests.training.conftest import Evaluated
from training.corpus import read_sources
from training.evaluate import main
from training.metrics import read_trials
from training.scored import Enrolments, measure, read_features, sources_of


def test_a_run_leaves_figures_a_table_and_pictures(evaluated: Evaluated) -> None:
    assert evaluated.figures["format"] == 2
    assert "| espeak | 84, 504 |" in (evaluated.out / "table.md").read_text()
    for name in ("det", "scores", "conditions", "reliability", "map"):
        assert (evaluated.out / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name


def test_the_figures_are_those_of_the_services_own_path(evaluated: Evaluated) -> None:
    lists = {"espeak": read_trials(evaluated.trials)}
    sources = sources_of(lists, read_sources(evaluated.manifest))
    embedder = Embedder.load(evaluated.model)
    try:
        measured = measure(lists, Enrolments(sources, read_features(sources, embedder)[0], 4.0))["espeak"]
    finally:
        embedder.close()
    row = evaluated.figures["sets"]["espeak"]
    assert row["eer"] == equal_error_rate(measured.scores, measured.labels)
    known = measured.against_enrolments
    assert row["enrolled"]["eer"] == equal_error_rate(known.enrolled, known.labels)


def test_every_family_of_conditions_stands_beside_the_same_trials_untouched(evaluated: Evaluated) -> None:
    found = evaluated.figures["conditions"]
    assert [row["name"] for row in found["speech"]] == ["1 s", "2 s"]  # no clip has three seconds of speech
    assert [row["name"] for row in found["noise"]][:2] == ["20 dB", "10 dB"]
    assert len(found["codec"]) == 5
    for row in (*found["speech"], *found["noise"], *found["codec"]):
        assert row["target_trials"] == row["reference"]["target_trials"]
        assert row["eer_interval"][0] <= row["eer"] <= row["eer_interval"][1]
    assert found["codec"][-1]["eer"] > found["codec"][-1]["reference"]["eer"]
    assert "generated" in evaluated.figures["noise"]


def test_groups_come_from_the_manifest(evaluated: Evaluated) -> None:
    groups = evaluated.figures["groups"]
    assert [row["name"] for row in groups["gender"]] == ["men", "women"]
    assert [row["name"] for row in groups["session"]] == ["another session", "the same session"]
    assert evaluated.figures["speakers_trained_on"] == 0


def test_eight_bits_are_compared_by_set(evaluated: Evaluated, capsys: pytest.CaptureFixture[str]) -> None:
    row = evaluated.figures["compare"]["sets"]["espeak"]
    assert 0.99 < row["least_cosine"] <= row["cosine"] < 1.0
    assert row["passed"] == (row["other_eer"] - row["eer"] <= 0.002)
    assert evaluated.exit_code == (0 if row["passed"] else 1)


def test_a_model_passes_the_gate_beside_itself_and_fails_beside_a_better_one(
    evaluated: Evaluated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated.again("--gate", evaluated.out / "figures.json", out=tmp_path) == 0
    assert "gate: passed" in capsys.readouterr().out
    better = evaluated.figures
    better["mean"]["eer"] -= 0.02
    (tmp_path / "better.json").write_text(json.dumps(better))
    assert evaluated.again("--gate", tmp_path / "better.json", out=tmp_path) == 1
    assert "worse: mean EER" in capsys.readouterr().out
    assert evaluated.again("--gate", tmp_path / "better.json", "--gate-eer", 0.05, out=tmp_path) == 0


def test_other_trials_are_no_ground_for_a_gate(
    evaluated: Evaluated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = evaluated.again("--gate", evaluated.out / "figures.json", "--most", 50, out=tmp_path)
    assert code == 2
    assert "different trials" in capsys.readouterr().err


def test_what_was_not_measured_leaves_no_picture_of_an_earlier_run(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    (tmp_path / "conditions.png").write_bytes(b"old")
    assert evaluated.again(out=tmp_path) == 0
    assert not (tmp_path / "conditions.png").exists()
    assert json.loads((tmp_path / "figures.json").read_text())["conditions"] == {}


def test_a_folder_per_speaker_is_enough(tmp_path: Path) -> None:
    clips = json.loads((DATA / "clips.json").read_text())
    for voice in voices()[:3]:
        (tmp_path / "home" / voice).mkdir(parents=True)
        for clip in clips[voice][:2]:
            shutil.copy(DATA / clip["file"], tmp_path / "home" / voice)
    model = write_tiny_model(tmp_path / "tiny")
    (model / "calibration.json").unlink()
    words = ["--model", model, "--corpus", tmp_path / "home", "--out", tmp_path / "out", "--clips", "0"]
    assert main([str(word) for word in words]) == 0
    found = json.loads((tmp_path / "out/figures.json").read_text())
    assert found["sets"]["home"]["target_trials"] == 3
    assert found["sets"]["home"]["impostor_trials"] == 12
    assert not found["calibrated"]
    assert found["speakers_trained_on"] is None
    assert found["trials"]["source"].startswith("drawn")
    assert not (tmp_path / "out/reliability.png").exists()


@pytest.mark.parametrize("wrong", ["missing", "empty.csv", "one-voice"])
def test_what_cannot_be_measured_ends_with_one_line(
    wrong: str, evaluated: Evaluated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.csv").write_text("utterance_id,speaker_id,path\n")
    (tmp_path / "one-voice/ada").mkdir(parents=True)
    for take in (1, 2):
        shutil.copy(DATA / f"ada-{take}.opus", tmp_path / "one-voice/ada")
    words = ["--model", evaluated.model, "--corpus", tmp_path / wrong, "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 2
    assert capsys.readouterr().err.startswith("timbre evaluate: ")
    assert not (tmp_path / "out").exists()

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.embedder import Embedder
from app.scoring import centroid, load_calibration
from tests.tiny import write_tiny_model
from training.corpus import Source, read_sources
from training.evaluate import figures, operating_points
from training.metrics import read_trial_folder
from training.scored import Enrolments, Features, Measured, measure


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_the_exported_file_is_measured_through_the_services_path(miniature: Path, model: Path) -> None:
    embedder = Embedder.load(model)
    try:
        measured, refused = measure(
            read_trial_folder(miniature / "trials"),
            read_sources(miniature / "utterances.csv"),
            embedder,
            required_s=2.0,
        )
    finally:
        embedder.close()
    rows = figures(measured)
    assert not refused
    assert rows["tiny"]["target_trials"] == 18
    assert rows["tiny"]["eer"] < 0.5
    assert rows["mean"]["eer"] == rows["tiny"]["eer"]


def test_an_enrolment_has_enough_speech_and_never_the_tested_recording() -> None:
    axes = np.eye(4, dtype=np.float32)
    features = {f"u{i}": Features(axes[i], np.zeros(1), 1.5) for i in range(4)}
    sources = [Source(f"u{i}", "ann" if i < 3 else "bob", Path(f"u{i}"), "set", "dev") for i in range(4)]
    enrolments = Enrolments(sources, features, required_s=2.0)
    one, other = enrolments.centroid("u1", "u3"), enrolments.centroid("u1", "u2")
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one, centroid(axes[[1, 2]]), atol=1e-6)
    np.testing.assert_allclose(other, centroid(axes[[1, 0]]), atol=1e-6)
    assert enrolments.centroid("u3", "u0") is None


def test_a_trial_of_an_unknown_utterance_is_an_error(miniature: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("1 s5-0 nobody\n0 s5-0 s6-0\n")
    embedder = Embedder.load(model)
    try:
        with pytest.raises(ValueError, match="nobody"):
            measure(read_trial_folder(tmp_path), read_sources(miniature / "utterances.csv"), embedder)
    finally:
        embedder.close()


def test_operating_points_count_every_set_alike_and_keep_their_rate() -> None:
    rng = np.random.default_rng(0)

    def trials(targets: int, impostors: int, shift: float) -> Measured:
        scores = np.concatenate([rng.normal(2 + shift, 1, targets), rng.normal(shift, 1, impostors)])
        return Measured(scores, scores, scores, np.array([1] * targets + [0] * impostors))

    sets = {"large": trials(500, 5000, 0.0), "small": trials(50, 400, 1.5)}
    content = operating_points(sets, "abc", "two sets")
    points = content["operating_points"]
    assert [p["fmr"] for p in points] == sorted(p["fmr"] for p in points)
    for point in points:
        per_set = [np.mean(m.scores[m.labels == 0] >= point["threshold"]) for m in sets.values()]
        assert np.mean(per_set) == pytest.approx(point["measured_fmr"])
        assert np.mean(per_set) <= point["fmr"] + 1e-9
    pooled = np.concatenate([m.scores[m.labels == 0] for m in sets.values()])
    five = next(p for p in points if p["fmr"] == 0.05)
    # The small set's impostors score higher; pooled by trial, they would hardly count.
    assert np.mean(pooled >= five["threshold"]) < 0.03


def test_no_rate_is_promised_that_the_trials_cannot_support() -> None:
    scores = np.concatenate([np.linspace(1, 2, 20), np.linspace(-1, 1, 100)])
    few = {"few": Measured(scores, scores, scores, np.array([1] * 20 + [0] * 100))}
    assert min(p["fmr"] for p in operating_points(few, "abc", "few")["operating_points"]) >= 3 / 100


def test_the_program_writes_table_plots_and_thresholds(miniature: Path, model: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "training.evaluate",
        "--model",
        str(model),
        "--thresholds",
        "--threads",
        "1",
    ]
    command += ["--corpus", str(miniature / "utterances.csv"), "--trials", str(miniature / "trials")]
    command += ["--enroll-speech", "2", "--out", str(tmp_path)]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        timeout=110,
    )
    assert "| tiny |" in (tmp_path / "table.md").read_text()
    assert "mean" in json.loads((tmp_path / "figures.json").read_text())["sets"]
    for name in ("det.png", "scores.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    calibration = load_calibration(model / "calibration.json")
    assert calibration.impostor_trials == 48
    assert calibration.operating_points

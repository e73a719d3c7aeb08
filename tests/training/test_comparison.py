"""The comparison of methods on the corpus in miniature: real runs, exported, measured, put on a page."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training.augment import AugmentConfig
from training.comparison import main
from training.comparison_page import fill_page, shown_on, tables
from training.corpus import load_corpus, read_manifest
from training.evaluate import main as evaluate
from training.methods import load_network
from training.network import NetworkConfig, build_network
from training.progress import read_history
from training.recipe import Recipe, Stage
from training.runs import Run, runs_of
from training.train import train

# Runs start TensorFlow graphs, which takes a busy machine a while.
pytestmark = pytest.mark.timeout(600)

SMALL = NetworkConfig(channels=16, dilations=(1,), aggregate=24, bottleneck=8, dim=12)
PAIRS = Stage("contrastive", epochs=2, steps=3, batch=6, crop_s=1.0, warm_up=2)
PROBE = Stage("margin_softmax", epochs=1, steps=3, batch=5, crop_s=1.0, warm_up=2)


@dataclass(frozen=True)
class Compared:
    """Runs and what the comparison made of them."""

    root: Path
    corpus: Path
    trials: Path

    def again(self, *more: object) -> int:
        """Runs the program."""
        words = ["--runs", self.root / "runs", "--corpus", self.corpus, "--trials", self.trials]
        words += ["--out", self.root / "out", "--work", self.root / "work", "--cache", self.root / "cache"]
        return main([str(word) for word in [*words, "--page", self.root / "page.md", "--threads", 1, *more]])

    @property
    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "out/figures.json").read_text())
        return found

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.figures["methods"]}


@pytest.fixture(scope="module")
def compared(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    root = tmp_path_factory.mktemp("compared")
    corpus = load_corpus(read_manifest(miniature / "utterances.csv", "train"), root / "decoded")
    quiet = AugmentConfig(noise=0, simulated_rooms=0, codec=0, telephone=0)
    pairs = Recipe(stage=(PAIRS,), network=SMALL, augment=quiet)
    probe = replace(pairs, stage=(PROBE,))
    branch = train(pairs, corpus, root / "runs/pairs")
    train(probe, corpus, root / "runs/pairs+probe", start=branch)
    for recipe, name in ((probe, "random"), (pairs, "pairs+untrained")):
        still = replace(recipe.stage[0], peak_rate=0.0, last_rate=0.0)
        train(replace(recipe, stage=(still,)), corpus, root / "runs" / name)
    train(probe, corpus, root / "runs/random+probe")
    # One that was stopped after its first epoch:
    shutil.copytree(root / "runs/pairs", root / "runs/stopped")
    (root / "runs/stopped/stage1-contrastive/state.json").write_text('{"epochs_done": 1}')
    (root / "page.md").write_text("# Methods\n\n<!-- figures -->\nold\n<!-- /figures -->\n\nThe end.\n")
    made = Compared(root, miniature / "utterances.csv", miniature / "trials")
    assert made.again() == 0
    return made


def test_every_complete_run_has_a_row_and_its_fine_tuning_beside_it(compared: Compared) -> None:
    rows = compared.rows
    assert set(rows) == {"mfcc", "random", "pairs"}
    eers = [row["frozen"]["eer"] for row in compared.figures["methods"]]
    assert eers == sorted(eers)
    assert rows["mfcc"]["fine_tuned"] is None
    assert rows["random"]["untrained"] is None
    assert 0 <= rows["pairs"]["untrained"]["eer"] <= 1
    for name in ("random", "pairs"):
        assert 0 <= rows[name]["fine_tuned"]["eer"] <= 1
        assert rows[name]["dimensions"] == SMALL.dim


def test_facts_of_a_run_are_read_from_what_it_left(compared: Compared) -> None:
    pairs, random = compared.rows["pairs"], compared.rows["random"]
    seconds = [float(row["seconds"]) for row in read_history(compared.root / "runs/pairs/stage1-contrastive")]
    assert len(seconds) == 2
    assert pairs["minutes"] == pytest.approx(sum(seconds) / 60)
    assert (pairs["methods"], pairs["labels"]) == (["contrastive"], "speakers")
    assert (random["methods"], random["labels"], random["minutes"]) == ([], "none", 0)
    assert pairs["parameters"] == random["parameters"] > 1000
    probe = compared.figures["probe"]
    assert probe == {"speakers": 5, "fitted": 15, "held_out": 5, "chance": 0.2}


def test_the_frozen_figures_are_those_of_evaluate(compared: Compared, tmp_path: Path) -> None:
    words = ["--model", compared.root / "work/pairs", "--corpus", compared.corpus, "--out", tmp_path]
    words += ["--trials", compared.trials, "--clips", 0, "--threads", 1, "--quick"]
    assert evaluate([str(word) for word in words]) == 0
    (expected,) = json.loads((tmp_path / "figures.json").read_text())["sets"].values()
    (pairs,), (mfcc,) = (compared.rows[name]["frozen"]["sets"].values() for name in ("pairs", "mfcc"))
    assert pairs == pytest.approx({key: expected[key] for key in ("eer", "min_dcf")}, abs=1e-9)
    assert mfcc == pytest.approx(expected["baseline"], abs=1e-9)


def test_a_run_at_a_rate_of_zero_stays_where_its_probe_began(compared: Compared) -> None:
    runs = {run.name: run for run in runs_of(compared.root / "runs")}
    assert list(runs) == ["pairs", "pairs+probe", "pairs+untrained", "random", "random+probe"]
    keras.utils.set_random_seed(Recipe(stage=(PROBE,)).seed)
    fresh = build_network(SMALL)
    still, moved = (load_network(runs[name].folder / "branch.keras") for name in ("random", "random+probe"))
    for network, same in ((still, True), (moved, False)):
        pairs = zip(network.trainable_weights, fresh.trainable_weights, strict=True)
        assert all(np.array_equal(np.array(a), np.array(b)) for a, b in pairs) is same


def test_what_was_measured_is_not_measured_again(compared: Compared) -> None:
    kept = [*compared.root.glob("cache/*.npy"), *compared.root.glob("work/*/model.onnx")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    first = {**compared.figures, "measured_at": ""}
    assert compared.again() == 0
    assert {**compared.figures, "measured_at": ""} == first
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    assert len(times) == 2 * 2 + 3 + 5  # the runs beside them have no linear probe of their own


def test_a_run_that_learnt_on_is_exported_again(compared: Compared, tmp_path: Path) -> None:
    run = shutil.copytree(compared.root / "runs/pairs", tmp_path / "runs/one")
    again = replace(compared, root=tmp_path)
    (tmp_path / "page.md").write_text("<!-- figures -->\n<!-- /figures -->\n")
    assert again.again("--models", compared.root / "work/random") == 0
    before = again.rows
    assert set(before) == {"mfcc", "one", "random"}
    assert before["random"]["parameters"] is None
    shutil.copy(compared.root / "runs/pairs+probe/branch.keras", run / "branch.keras")
    assert again.again() == 0
    assert again.rows["one"]["distances"] != before["one"]["distances"]
    assert again.rows["one"]["frozen"]["eer"] == compared.rows["pairs"]["fine_tuned"]["eer"]


def test_a_run_that_cannot_be_exported_is_named_and_the_others_are_measured(
    compared: Compared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compared.root / "runs/pairs", tmp_path / "runs/good")
    bad = shutil.copytree(compared.root / "runs/pairs", tmp_path / "runs/bad")
    waveform = keras.Input((None,), name="waveform")
    longest = keras.ops.max(waveform, axis=0, keepdims=True)[:, :400] + waveform[:, :400]  # of the batch
    keras.Model(waveform, keras.layers.UnitNormalization(name="embedding")(longest), name="timbre").save(
        bad / "branch.keras"
    )
    (tmp_path / "page.md").write_text("<!-- figures -->\n<!-- /figures -->\n")
    made = replace(compared, root=tmp_path)
    assert made.again() == 1
    assert set(made.rows) == {"mfcc", "good"}
    assert "left out bad" in capsys.readouterr().err


def test_tables_and_pictures_say_what_the_figures_say(compared: Compared) -> None:
    text, out = tables(compared.figures), compared.root / "out"
    assert (out / "table.md").read_text() == text
    assert all((out / f"{name}.png").stat().st_size > 5000 for name in ("eer", "distances", "minutes"))
    (line,) = [row for row in text.splitlines() if row.startswith("| pairs (contrastive) | speakers")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    row = compared.rows["pairs"]
    assert cells[2] == f"{row['parameters']:,}"
    assert cells[4:6] == [f"{100 * row['frozen']['eer']:.2f}", f"{row['frozen']['min_dcf']:.3f}"]
    assert cells[6] == f"{100 * row['untrained']['eer']:.2f}"
    assert cells[8] == f"{100 * row['linear']['accuracy']:.1f}"
    assert cells[9] == f"{100 * row['fine_tuned']['eer']:.2f}"
    assert "15 recordings" in text
    assert f"{100 * row['frozen']['sets']['tiny']['eer']:.1f}, " in text


def test_the_page_shows_the_tables_between_its_markers(compared: Compared, tmp_path: Path) -> None:
    page = compared.root / "page.md"
    assert shown_on(page) == tables(compared.figures)
    assert page.read_text().startswith("# Methods\n\n<!-- figures -->\n")
    assert page.read_text().endswith("<!-- /figures -->\n\nThe end.\n")
    bare = tmp_path / "bare.md"
    bare.write_text("nothing\n<!-- figures -->\n")
    with pytest.raises(ValueError, match="lacks"):
        fill_page(bare, "text")


def test_an_error_is_said_in_a_line(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared.again("--trials", compared.root) == 2
    assert "no list" in capsys.readouterr().err


def test_a_run_of_several_methods_is_told_what_any_of_them_is_told(
    compared: Compared, tmp_path: Path
) -> None:
    names, rates = ("masked", "simclr", "contrastive", "contrastive"), (0.0, 1e-3, 1e-3, 1e-3)
    stages = [
        {"objective": name, "epochs": 1, "peak_rate": rate} for name, rate in zip(names, rates, strict=True)
    ]
    (tmp_path / "recipe.json").write_text(json.dumps({"stage": stages}))
    run = Run(tmp_path)
    assert run.methods == ["simclr", "contrastive"]
    assert run.labels == "speakers"
    assert not run.is_complete

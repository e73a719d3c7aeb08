"""Whole runs on the corpus in miniature: learning, stopping, resuming."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from training.augment import AugmentConfig
from training.corpus import Corpus, load_corpus, read_manifest
from training.early_signal import EarlySignal
from training.methods import load_network
from training.methods.margin_softmax import Options
from training.metrics import read_trial_folder
from training.network import NetworkConfig
from training.progress import read_history, read_state
from training.recipe import Recipe, Stage, read_recipe
from training.train import train

# A run starts TensorFlow graphs, which takes a busy machine a while.
pytestmark = pytest.mark.timeout(600)

RECIPES = Path(__file__).parents[2] / "training/recipes"
QUIET = AugmentConfig(noise=0.3, simulated_rooms=0, codec=0, telephone=0)
SMALL = NetworkConfig(channels=32, dilations=(1, 2), aggregate=48, bottleneck=8, dim=24)
SOFTMAX = Stage("margin_softmax", epochs=3, steps=12, batch=5, crop_s=1.0, warm_up=5, peak_rate=3e-3)
PAIRS = Stage("contrastive", epochs=1, steps=4, batch=8, crop_s=1.0, warm_up=2)


@pytest.fixture(scope="module")
def corpus(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(read_manifest(miniature / "utterances.csv", "train"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def development(miniature: Path, tmp_path_factory: pytest.TempPathFactory):
    dev = load_corpus(read_manifest(miniature / "utterances.csv", "dev"), tmp_path_factory.mktemp("cache"))
    return dev, read_trial_folder(miniature / "trials")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(stage=(SOFTMAX, PAIRS), network=SMALL, augment=QUIET, signal_every=1)


@pytest.fixture(scope="module")
def run(recipe, corpus, development, miniature, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(recipe, corpus, folder, miniature / "noise.csv", development)
    return folder


def test_the_loss_falls_and_voices_are_told_apart(run: Path, development) -> None:
    history = read_history(run / "stage1-margin_softmax")
    losses = [float(row["loss"]) for row in history]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    branch = load_network(run / "branch.keras")
    (rate,) = EarlySignal("dev_eer", branch, *development, every=1).measure().values()
    assert rate < 40.0  # chance is 50


def test_a_run_leaves_its_recipe_history_and_plot(run: Path) -> None:
    for name in ("recipe.json", "stage1-margin_softmax/history.png", "stage2-contrastive/history.csv"):
        assert (run / name).stat().st_size > 0
    assert read_state(run / "stage2-contrastive")["epochs_done"] == 1
    assert all(float(row["dev_eer"]) <= 100 for row in read_history(run / "stage1-margin_softmax"))
    assert (run / "stage1-margin_softmax/best.keras").exists()


def test_a_finished_run_is_not_trained_again(run: Path, recipe: Recipe, corpus: Corpus) -> None:
    before = (run / "stage1-margin_softmax/branch.keras").stat().st_mtime_ns
    train(recipe, corpus, run)
    assert (run / "stage1-margin_softmax/branch.keras").stat().st_mtime_ns == before


def test_a_stopped_run_goes_on_as_if_it_had_not_been(corpus: Corpus, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    class StopAfter:
        """A corpus that fails after two epochs' worth of crops: batches are read ahead, so in the second."""

        def __init__(self) -> None:
            self.crops = 0

        def crop(self, *args: object) -> np.ndarray:
            self.crops += 1
            if self.crops > 2 * SOFTMAX.steps * SOFTMAX.batch:
                raise Stopped
            return corpus.crop(*args)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(corpus, name)

        def __len__(self) -> int:
            return len(corpus)

    # Without SpecAugment, whose random state Keras does not save.
    network = replace(SMALL, mask_bands=0, mask_frames=0)
    recipe = Recipe(stage=(SOFTMAX,), network=network, augment=AugmentConfig(simulated_rooms=0, babble=0))
    train(recipe, corpus, tmp_path / "whole")
    folder = "stage1-margin_softmax"
    with pytest.raises(Exception, match="Stopped"):  # TensorFlow wraps what its data source raises
        train(recipe, StopAfter(), tmp_path / "stopped")  # type: ignore[arg-type]
    assert 1 <= read_state(tmp_path / "stopped" / folder)["epochs_done"] < SOFTMAX.epochs
    train(recipe, corpus, tmp_path / "stopped")
    whole, resumed = (
        [float(row["loss"]) for row in read_history(tmp_path / run / folder)] for run in ("whole", "stopped")
    )
    assert len(resumed) == SOFTMAX.epochs
    np.testing.assert_allclose(resumed, whole, rtol=0.02)


def test_a_recipe_that_says_something_unknown_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[network]\nlayers = 3\n[[stage]]\nobjective = "contrastive"\nepochs = 1\n')
    with pytest.raises(ValueError, match="layers"):
        read_recipe(path)
    path.write_text('[[stage]]\nobjective = "contrastive"\nepochs = 1\ncentres = 2\n')
    with pytest.raises(ValueError, match="centres"):
        read_recipe(path)
    path.write_text('[[stage]]\nobjective = "guessing"\nepochs = 1\n')
    with pytest.raises(ValueError, match=r"guessing.*contrastive"):
        read_recipe(path)
    path.write_text("seed = 1\n")
    with pytest.raises(ValueError, match="stage"):
        read_recipe(path)


def test_a_change_says_otherwise_than_the_recipe() -> None:
    smoke = RECIPES / "smoke.toml"
    changed = read_recipe(smoke, ["scale=0.2", "stage.2.margin=2.5", "network.channels=16", "notes=mine"])
    assert (changed.scale, changed.network.channels, changed.notes) == (0.2, 16, "mine")
    assert changed.stage[1].options.margin == 2.5
    assert [stage.steps for stage in changed.scaled().stage] == [2, 2]
    with pytest.raises(ValueError, match="no stage 3"):
        read_recipe(smoke, ["stage.3.epochs=1"])


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    assert read_recipe(path).stage


@pytest.mark.parametrize(
    "module", ["train", "export", "quantize", "evaluate", "importers", "shards", "comparison", "words"]
)
def test_every_program_says_what_it_does(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"training.{module}", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert "usage" in done.stdout
    assert "--" in done.stdout


def test_hard_impostors_go_on_from_the_centres_of_the_softmax(
    recipe: Recipe, corpus: Corpus, tmp_path: Path
) -> None:
    options = Options(per_speaker=2, together=2, impostor_weight=0.5)
    hard = replace(SOFTMAX, epochs=1, steps=4, batch=8, options=options)
    # The centres stand still, so that what is there afterwards is what was taken over.
    still = replace(hard, peak_rate=0.0, last_rate=0.0)
    train(replace(recipe, stage=(SOFTMAX, still)), corpus, tmp_path)
    first, second = (tmp_path / f"stage{n}-margin_softmax/training.keras" for n in (1, 2))
    learnt, taken = (
        keras.saving.load_model(path, compile=False).get_layer("speakers").weight for path in (first, second)
    )
    np.testing.assert_allclose(np.array(learnt), np.array(taken), atol=1e-6)
    assert float(read_history(second.parent)[0]["speakers_accuracy"]) > 1 / len(corpus.speaker_ids)


def test_speakers_aside_without_a_trial_are_an_error(recipe: Recipe, corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.divided(0.3)[1].speaker_ids == ["s3"]
    with pytest.raises(ValueError, match="1 speakers kept aside"):
        train(replace(recipe, aside=0.3), corpus, tmp_path)


def test_the_best_epoch_is_chosen_by_the_speakers_aside(
    recipe: Recipe, corpus: Corpus, development, tmp_path: Path
) -> None:
    stage = replace(SOFTMAX, epochs=2, steps=2, batch=2)
    train(replace(recipe, stage=(stage,), aside=0.7), corpus, tmp_path, development=development)
    rows = read_history(tmp_path / "stage1-margin_softmax")
    best = read_state(tmp_path / "stage1-margin_softmax")["best"]
    assert best == pytest.approx(min(float(row["aside_eer"]) for row in rows))
    assert all(row["dev_eer"] for row in rows)

"""Trains the embedding network by a recipe; can be stopped at any time and resumed.

python -m training.train --recipe training/recipes/timbre.toml --corpus utterances.csv --run runs/first
"""

import argparse
import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from training.augment import Augmenter
from training.corpus import Corpus, load_corpus, read_sources
from training.early_signal import DevelopmentSignal
from training.metrics import read_trial_folder
from training.network import build_network
from training.objectives import (
    ContrastiveLoss,
    MarginSoftmax,
    WarmUpCosine,
    margin_softmax_network,
    siamese_network,
)
from training.pairs import Crops, PairBatches, SpeakerBatches
from training.plots import plot_history
from training.recipe import Recipe, Stage, read_recipe


class MarginSchedule(keras.callbacks.Callback):
    """Raises the angular margin from zero, linearly between two shares of the stage."""

    def __init__(self, loss: MarginSoftmax, stage: Stage) -> None:
        super().__init__()
        self.loss, self.stage = loss, stage

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        stage = self.stage
        done = float(self.model.optimizer.iterations) / (stage.epochs * stage.steps)
        share = (done - stage.margin_from) / max(stage.margin_until - stage.margin_from, 1e-9)
        self.loss.margin_now.assign(stage.margin * min(max(share, 0.0), 1.0))


class Checkpoint(keras.callbacks.Callback):
    """After each epoch: the training model with its optimiser, the branch, the history and its plot.

    The epoch's number is written last and each file is put in place whole, so that a run
    stopped at any moment resumes from its last complete epoch.
    """

    def __init__(self, branch: keras.Model, folder: Path) -> None:
        super().__init__()
        self.branch, self.folder = branch, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for model, name in ((self.model, "training.keras"), (self.branch, "branch.keras")):
            model.save(self.folder / f"new-{name}")
            (self.folder / f"new-{name}").replace(self.folder / name)
        logs = logs or {}
        best = read_state(self.folder).get("best", float("inf"))
        if logs.get("dev_eer", float("inf")) < best:
            best = logs["dev_eer"]
            shutil.copy(self.folder / "branch.keras", self.folder / "best.keras")
        self._history(epoch, logs)
        state = self.folder / "new-state.json"
        state.write_text(json.dumps({"epochs_done": epoch + 1, "best": best}))
        state.replace(self.folder / "state.json")

    def _history(self, epoch: int, logs: dict[str, Any]) -> None:
        path = self.folder / "history.csv"
        names = ["epoch", "loss", "learning_rate", "accuracy", "dev_eer"]
        rows = read_history(self.folder)[:epoch]
        rows.append({"epoch": str(epoch + 1), **{n: str(logs.get(n, "")) for n in names[1:]}})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        plot_history(rows, self.folder / "history.png")


def read_state(folder: Path) -> dict[str, Any]:
    """What a stage's folder says of its progress; empty before the first epoch."""
    path = folder / "state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read_history(folder: Path) -> list[dict[str, str]]:
    """The rows of a stage's history, one an epoch."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def compile_stage(branch: keras.Model, stage: Stage, crops: Crops) -> keras.Model:
    """The branch under its objective, ready to fit."""
    rate = WarmUpCosine(stage.peak_rate, stage.warm_up, stage.epochs * stage.steps, stage.last_rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=stage.weight_decay, clipnorm=5.0)
    if stage.objective == "margin_softmax":
        model = margin_softmax_network(branch, crops.classes, stage.centres)
        model.compile(
            optimizer, MarginSoftmax(stage.margin, stage.scale), metrics=["accuracy"], jit_compile=False
        )
    elif stage.objective == "contrastive":
        model = siamese_network(branch, stage.radius)
        model.compile(optimizer, ContrastiveLoss(stage.margin), jit_compile=False)
    else:
        raise ValueError(f"unknown objective {stage.objective!r}")
    return model


def branch_of(model: keras.Model) -> keras.Model:
    """The embedding network inside a training model that was read from its checkpoint."""
    if model.name == "siamese":
        return model.get_layer("timbre")
    return keras.Model(model.input, model.get_layer("embedding").output, name="timbre")


def run_stage(
    branch: keras.Model,
    stage: Stage,
    recipe: Recipe,
    crops: Crops,
    folder: Path,
    signal: tuple[Corpus, Any] | None,
) -> keras.Model:
    """Trains one stage, from its checkpoint when there is one.

    Returns:
        The branch at the end of the stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = read_state(folder).get("epochs_done", 0)
    if done:
        model = keras.saving.load_model(folder / "training.keras")
        branch = branch_of(model)
        print(f"{folder.name}: resuming after epoch {done}")
    else:
        model = compile_stage(branch, stage, crops)
    batches = SpeakerBatches if stage.objective == "margin_softmax" else PairBatches
    data = batches(
        crops, recipe.balance, stage.batch, stage.steps, seed=recipe.seed, workers=2, max_queue_size=8
    )
    # Not by the data set's own on_epoch_end, which Keras calls more than once an epoch.
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data, "epoch", epoch))
    callbacks: list[keras.callbacks.Callback] = [count]
    if isinstance(model.loss, MarginSoftmax):
        callbacks.append(MarginSchedule(model.loss, stage))
    if signal is not None:
        callbacks.append(DevelopmentSignal(branch, *signal, every=recipe.signal_every))
    callbacks.append(Checkpoint(branch, folder))
    # Keras would shuffle the batches by a state of its own; each is random already.
    model.fit(data, initial_epoch=done, epochs=stage.epochs, callbacks=callbacks, shuffle=False)
    return branch


def train(
    recipe: Recipe,
    corpus: Corpus,
    run: Path,
    noises: Path | None = None,
    development: tuple[Corpus, Any] | None = None,
    start: Path | None = None,
) -> Path:
    """Runs every stage of a recipe and leaves the embedding network in `run`/branch.keras.

    Args:
        recipe: What to do.
        corpus: Training recordings.
        run: Folder of the run; one that exists is resumed.
        noises: Manifest of noises and responses.
        development: Development recordings and their trial lists, for the early signal.
        start: Branch to start from rather than from random weights.
    """
    keras.utils.set_random_seed(recipe.seed)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))

    def voices(length: int, rng: np.random.Generator) -> Any:
        return corpus.crop(int(rng.integers(len(corpus))), length, rng)

    augmenter = Augmenter(recipe.augment, noises, voices, recipe.seed)
    branch = keras.saving.load_model(start, compile=False) if start else build_network(recipe.network)
    print(f"{branch.count_params():,} parameters, {len(corpus)} clips of {len(corpus.speaker_ids)} speakers")
    for number, stage in enumerate(recipe.stage, 1):
        crops = Crops(corpus, augmenter, stage.crop_s, stage.speeds)
        folder = run / f"stage{number}-{stage.objective}"
        branch = run_stage(branch, stage, recipe, crops, folder, development)
        shutil.copy(folder / "branch.keras", run / "branch.keras")
    return run / "branch.keras"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="TOML recipe, see training/recipes")
    parser.add_argument(
        "--corpus", type=Path, required=True, help="manifest CSV, or a folder with one folder per speaker"
    )
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        help="folder for checkpoints, history and plots; resumed if it exists",
    )
    parser.add_argument("--noises", type=Path, help="CSV of noises and responses (path, kind)")
    parser.add_argument(
        "--trials",
        type=Path,
        help="folder of development trial lists; their clips are the manifest's dev split",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        help="folder for decoded audio (default: %(default)s)",
    )
    parser.add_argument("--start", type=Path, help="embedding network (.keras) to start from")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    split = "train" if args.corpus.is_file() else None
    corpus = load_corpus(read_sources(args.corpus, split), args.cache, recipe.silence)
    development = None
    if args.trials:
        dev = load_corpus(read_sources(args.corpus, "dev"), args.cache)
        development = (dev, read_trial_folder(args.trials, recipe.signal_trials))
    print(f"wrote {train(recipe, corpus, args.run, args.noises, development, args.start)}")


if __name__ == "__main__":
    main()

"""Trains the embedding network by a recipe; can be stopped at any time and resumed.

python -m training.train --recipe training/recipes/timbre.toml --corpus utterances.csv --run runs/first
"""

import argparse
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from training.augment import Augmenter
from training.corpus import Corpus, load_corpus, read_sources
from training.devices import compiles, precision, share_among_devices
from training.early_signal import EarlySignal
from training.metrics import Trials, draw_trials, read_trial_folder
from training.network import build_network
from training.objectives import (
    ContrastiveLoss,
    MarginInForce,
    MarginSoftmax,
    PrototypicalLoss,
    WarmUpCosine,
    margin_softmax_network,
    siamese_network,
)
from training.pairs import Crops, ImpostorBatches, PairBatches, SpeakerBatches, voices_of
from training.progress import Checkpoint, MarginSchedule, read_state
from training.recipe import Recipe, Stage, read_recipe
from training.shards import INDEX, ShardIndex, read_index
from training.streaming import ShardedBatches, ShardedCrops

Spoken = tuple[Corpus, Mapping[str, Trials]]
"""Recordings and the trial lists over them."""


def compile_stage(branch: keras.Model, stage: Stage, crops: Crops | ShardedCrops) -> keras.Model:
    """The branch under its objective, ready to fit."""
    rate = WarmUpCosine(stage.peak_rate, stage.warm_up, stage.epochs * stage.steps, stage.last_rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=stage.weight_decay, clipnorm=5.0)
    if stage.objective == "margin_softmax":
        softmax = MarginSoftmax(stage.margin, stage.scale)
        impostors = stage.impostor_weight > 0
        model = margin_softmax_network(branch, crops.classes, stage.centres, with_embedding=impostors)
        if impostors:
            model.compile(
                optimizer,
                {"speakers": softmax, "embedding": PrototypicalLoss(scale=stage.scale)},
                loss_weights={"speakers": 1.0, "embedding": stage.impostor_weight},
                metrics={"speakers": "accuracy"},
                jit_compile=compiles(),
            )
        else:
            model.compile(optimizer, softmax, metrics=["accuracy"], jit_compile=compiles())
    elif stage.objective == "contrastive":
        model = siamese_network(branch, stage.radius)
        model.compile(optimizer, ContrastiveLoss(stage.margin), jit_compile=compiles())
    else:
        raise ValueError(f"unknown objective {stage.objective!r}")
    return model


def trials_within(corpus: Corpus, recipe: Recipe) -> dict[str, Trials]:
    """Trial lists drawn from a corpus, by set, as long as an early signal wants them.

    Raises:
        ValueError: No set has a speaker with two recordings beside a second speaker.
    """
    speakers = [corpus.speaker_ids[number] for number in corpus.speakers]
    lists = draw_trials(corpus.utterance_ids, speakers, corpus.sets, recipe.signal_trials, recipe.seed)
    if not lists:
        raise ValueError(
            f"the {len(corpus.speaker_ids)} speakers kept aside give no trials: keep more aside, or none"
        )
    return lists


def hold_statistics(branch: keras.Model, held: bool) -> None:
    """Holds batch normalisation at what it has learnt, or lets it learn again.

    A batch of a few sets has the statistics of those sets. Normalised by them, a network would be trained
    in one way and used in another.
    """
    for layer in branch.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = not held


def take_centres(model: keras.Model, before: Path) -> None:
    """Takes the speakers' centres that an earlier stage learnt, when both classify the same speakers."""
    learnt = keras.saving.load_model(before / "training.keras", compile=False)
    names = {layer.name for layer in learnt.layers} & {layer.name for layer in model.layers}
    if "speakers" in names:
        old, new = learnt.get_layer("speakers"), model.get_layer("speakers")
        if old.weight.shape == new.weight.shape:
            new.set_weights(old.get_weights())


def _batches(
    stage: Stage, recipe: Recipe, crops: Crops | ShardedCrops
) -> SpeakerBatches | PairBatches | ShardedBatches:
    """The batches of a stage's objective."""
    if isinstance(crops, ShardedCrops):
        if stage.objective != "margin_softmax" or stage.per_speaker * stage.together > 1:
            raise ValueError(
                "a stream of shards serves margin_softmax with per_speaker = 1 and together = 1 only: "
                "it cannot choose who comes next"
            )
        return ShardedBatches(
            crops, recipe.balance, stage.batch, stage.steps, seed=recipe.seed, readers=os.cpu_count() or 2
        )
    common: dict[str, Any] = {"seed": recipe.seed, "workers": 2, "max_queue_size": 8}
    if stage.objective == "contrastive":
        return PairBatches(crops, recipe.balance, stage.batch, stage.steps, **common)
    kind = ImpostorBatches if stage.impostor_weight > 0 else SpeakerBatches
    return kind(
        crops,
        recipe.balance,
        stage.batch,
        stage.steps,
        per_speaker=stage.per_speaker,
        together=stage.together,
        **common,
    )


def branch_of(model: keras.Model) -> keras.Model:
    """The embedding network inside a training model that was read from its checkpoint."""
    if model.name == "siamese":
        return model.get_layer("timbre")
    return keras.Model(model.input, model.get_layer("embedding").output, name="timbre")


def run_stage(
    branch: keras.Model,
    stage: Stage,
    recipe: Recipe,
    crops: Crops | ShardedCrops,
    folder: Path,
    signals: Mapping[str, Spoken],
    before: Path | None = None,
) -> keras.Model:
    """Trains one stage, from its checkpoint when there is one.

    A first epoch takes the speakers' centres of the stage `before` it, where they fit.

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
        hold_statistics(branch, stage.together > 1)
        model = compile_stage(branch, stage, crops)
        if before is not None:
            take_centres(model, before)
    data = _batches(stage, recipe, crops)
    # Not by the data set's own on_epoch_end, which Keras calls more than once an epoch.
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data, "epoch", epoch))
    callbacks: list[keras.callbacks.Callback] = [count]
    softmax = model.loss["speakers"] if isinstance(model.loss, dict) else model.loss
    if isinstance(softmax, MarginSoftmax):
        model.margin_in_force = MarginInForce(softmax)
        callbacks.append(MarginSchedule(softmax, stage))
    callbacks += [
        EarlySignal(name, branch, *spoken, every=recipe.signal_every) for name, spoken in signals.items()
    ]
    callbacks.append(Checkpoint(branch, folder))
    # Keras would shuffle the batches by a state of its own; each is random already.
    model.fit(data, initial_epoch=done, epochs=stage.epochs, callbacks=callbacks, shuffle=False)
    return branch


def train(
    recipe: Recipe,
    corpus: Corpus | ShardIndex,
    run: Path,
    noises: Path | None = None,
    development: Spoken | None = None,
    start: Path | None = None,
) -> Path:
    """Runs every stage of a recipe and leaves the embedding network in `run`/branch.keras.

    Args:
        recipe: What to do.
        corpus: Training recordings or shards of them; a share of the speakers is kept aside where the
            recipe says so.
        run: Folder of the run; one that exists is resumed.
        noises: Manifest of noises and responses.
        development: Development recordings and their trial lists, for the early signal.
        start: Branch to start from rather than from random weights.
    """
    keras.utils.set_random_seed(recipe.seed)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))

    signals = {"dev_eer": development} if development else {}
    if recipe.aside:
        corpus, kept = corpus.divided(recipe.aside)
        aside = kept.few_recordings(run / "aside") if isinstance(kept, ShardIndex) else kept
        signals["aside_eer"] = (aside, trials_within(aside, recipe))
    with precision(recipe.precision):
        return _train_stages(recipe, corpus, run, noises, signals, start)


def _train_stages(
    recipe: Recipe,
    corpus: Corpus | ShardIndex,
    run: Path,
    noises: Path | None,
    signals: Mapping[str, Spoken],
    start: Path | None,
) -> Path:
    voices = None if isinstance(corpus, ShardIndex) else voices_of(corpus)  # shards: those of each batch
    augmenter = Augmenter(recipe.augment, noises, voices, recipe.seed)
    branch = keras.saving.load_model(start, compile=False) if start else build_network(recipe.network)
    print(f"{branch.count_params():,} parameters, {len(corpus)} clips of {len(corpus.speaker_ids)} speakers")
    before: Path | None = None
    for number, stage in enumerate(recipe.stage, 1):
        crops = (
            ShardedCrops(corpus, augmenter, stage.crop_s, stage.speeds, recipe.silence)
            if isinstance(corpus, ShardIndex)
            else Crops(corpus, augmenter, stage.crop_s, stage.speeds)
        )
        folder = run / f"stage{number}-{stage.objective}"
        branch = run_stage(branch, stage, recipe, crops, folder, signals, before)
        before = folder
        shutil.copy(folder / "branch.keras", run / "branch.keras")
    return run / "branch.keras"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--recipe", type=Path, required=True, help="TOML recipe, see training/recipes")
    parser.add_argument(
        "--corpus",
        type=Path,
        required=True,
        help="manifest CSV, a folder with one folder per speaker, or a folder of shards",
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
        help="folder of development trial lists; their clips are the dev split of --dev",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        help="folder for decoded audio (default: %(default)s)",
    )
    parser.add_argument("--dev", type=Path, help="manifest of the development clips (default: --corpus)")
    parser.add_argument(
        "--devices", help="share each batch among `all` devices or this many; needs KERAS_BACKEND=jax"
    )
    parser.add_argument("--start", type=Path, help="embedding network (.keras) to start from")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    if args.devices:
        devices = share_among_devices(args.devices)
        if any(stage.batch % len(devices) for stage in recipe.stage):
            parser.error(f"every batch of the recipe must be a multiple of {len(devices)} devices")
        print(f"sharing each batch among {', '.join(devices)}")
    corpus: Corpus | ShardIndex
    if (args.corpus / INDEX).is_file():
        corpus = read_index(args.corpus)
    else:
        split = "train" if args.corpus.is_file() else None
        corpus = load_corpus(read_sources(args.corpus, split), args.cache, recipe.silence)
    development = None
    if args.trials:
        dev = load_corpus(read_sources(args.dev or args.corpus, "dev"), args.cache)
        development = (dev, read_trial_folder(args.trials, recipe.signal_trials))
    print(f"wrote {train(recipe, corpus, args.run, args.noises, development, args.start)}")


if __name__ == "__main__":
    main()

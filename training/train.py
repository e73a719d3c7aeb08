"""Trains the embedding network by a recipe; can be stopped at any time and resumed.

python -m training.train --recipe training/recipes/timbre.toml --corpus utterances.csv --run runs/first
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import keras

from training.augment import Augmenter
from training.corpus import Corpus, load_corpus, read_sources
from training.devices import compiles, precision, share_among_devices
from training.early_signal import EarlySignal
from training.groups import Columns, read_columns
from training.method import Learning, Task, branch_of
from training.methods import method_named, trained_network
from training.metrics import Trials, draw_trials, read_trial_folder
from training.objectives import WarmUpCosine, WarmUpPolynomial
from training.pairs import Crops, voices_of
from training.progress import Checkpoint, read_state
from training.recipe import Recipe, Stage, read_recipe
from training.shards import INDEX, ShardIndex, read_index
from training.streaming import ShardedCrops

Spoken = tuple[Corpus, Mapping[str, Trials]]
"""Recordings and the trial lists over them."""


def compiled(learning: Learning, stage: Stage) -> keras.Model:
    """The network of a stage, ready to fit."""
    steps = stage.epochs * stage.steps
    rate = (
        WarmUpCosine(stage.peak_rate, stage.warm_up, steps, stage.last_rate)
        if stage.decay == "cosine"
        else WarmUpPolynomial(stage.peak_rate, stage.warm_up, steps, stage.last_rate)
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=stage.weight_decay, clipnorm=5.0)
    learning.network.compile(
        optimizer,
        learning.loss,
        loss_weights=learning.loss_weights,
        metrics=learning.metrics,
        weighted_metrics=learning.weighted_metrics,
        jit_compile=compiles(),
    )
    return learning.network


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


def run_stage(
    branch: keras.Model,
    task: Task,
    folder: Path,
    signals: Mapping[str, Spoken],
    before: Path | None = None,
) -> keras.Model:
    """Trains one stage, from its checkpoint when there is one.

    A first epoch takes what the stage `before` it learnt outside the branch, where it fits.

    Returns:
        The branch at the end of the stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage, recipe = task.stage, task.recipe
    method = method_named(stage.objective)
    done = read_state(folder).get("epochs_done", 0)
    if done:
        network = keras.saving.load_model(folder / "training.keras")
        branch = branch_of(network)
        print(f"{folder.name}: resuming after epoch {done}")
    else:
        branch.trainable = True  # whatever an earlier stage held
        network = compiled(method.learning(branch, task), stage)
        if before is not None:
            method.take_over(network, before)
    data = method.batches(task, seed=recipe.seed, workers=2, max_queue_size=8)
    # Not by the data set's own on_epoch_end, which Keras calls more than once an epoch.
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data, "epoch", epoch))
    callbacks = [count, *method.callbacks(network, branch, task, folder)]
    callbacks += [
        EarlySignal(name, branch, *spoken, every=recipe.signal_every) for name, spoken in signals.items()
    ]
    callbacks.append(Checkpoint(branch, folder))
    # Keras would shuffle the batches by a state of its own; each is random already.
    network.fit(data, initial_epoch=done, epochs=stage.epochs, callbacks=callbacks, shuffle=False)
    return branch


def train(
    recipe: Recipe,
    corpus: Corpus | ShardIndex,
    run: Path,
    noises: Path | None = None,
    development: Spoken | None = None,
    start: Path | None = None,
    columns: Columns | None = None,
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
        columns: The manifest's columns by utterance id, for methods that read words or languages.
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
        branch = trained_network(start) if start else None
        return _train_stages(recipe, corpus, run, noises, signals, branch, columns or {})


def _train_stages(
    recipe: Recipe,
    corpus: Corpus | ShardIndex,
    run: Path,
    noises: Path | None,
    signals: Mapping[str, Spoken],
    branch: keras.Model | None,
    columns: Columns,
) -> Path:
    voices = None if isinstance(corpus, ShardIndex) else voices_of(corpus)  # shards: those of each batch
    augmenter = Augmenter(recipe.augment, noises, voices, recipe.seed)
    before: Path | None = None
    for number, stage in enumerate(recipe.stage, 1):
        method = method_named(stage.objective)
        if branch is None:
            branch = method.branch(recipe, stage.options)
        print(f"{branch.count_params():,} parameters, {len(corpus)} clips, labels: {method.labels}")
        task = _task(recipe, stage, corpus, augmenter, columns)
        folder = run / f"stage{number}-{stage.objective}"
        branch = run_stage(branch, task, folder, signals, before)
        before = folder
        shutil.copy(folder / "branch.keras", run / "branch.keras")
    return run / "branch.keras"


def _task(
    recipe: Recipe, stage: Stage, corpus: Corpus | ShardIndex, augmenter: Augmenter, columns: Columns
) -> Task:
    if isinstance(corpus, ShardIndex):
        shards = ShardedCrops(corpus, augmenter, stage.crop_s, stage.speeds, recipe.silence)
        return Task(recipe, stage, None, shards, columns)
    learnt_from = method_named(stage.objective).corpus(corpus, stage.options)
    return Task(recipe, stage, corpus, Crops(learnt_from, augmenter, stage.crop_s, stage.speeds), columns)


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
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="says otherwise than the recipe, as scale=0.1, front_end.kind=plp or stage.1.epochs=3",
    )
    parser.add_argument("--start", type=Path, help="embedding network (.keras) to start from")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe, args.set).scaled()
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
    columns = read_columns(args.corpus)
    development = None
    if args.trials:
        dev = load_corpus(read_sources(args.dev or args.corpus, "dev"), args.cache)
        development = (dev, read_trial_folder(args.trials, recipe.signal_trials))
    print(f"wrote {train(recipe, corpus, args.run, args.noises, development, args.start, columns)}")


if __name__ == "__main__":
    main()

"""A convolutional classifier of spectrograms: which word was said, or which language is spoken.

Two-dimensional convolutions over time and feature see the front end's frames as a picture with one colour; a
temporal head (attention or a recurrent layer) makes one vector of them. What is classified is a column of the
manifest. A fifth of the speakers is held out, and the last epoch is measured on their recordings: accuracy,
precision, recall, F1 and confusions, which nothing in the training was chosen by.

Source: the plan of convolutional layers under a recurrent or attentive head follows Choi et al.,
Convolutional recurrent neural networks for music classification, 2017. Here the last layer is an embedding
of unit length and the classes are cosines to learnt directions, so that the encoder can be compared with the
others; it is told words, not speakers, and keeps of a speaker what words leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from app.arrays import SAMPLE_RATE_HZ, Waveform
from training.classes import write_report
from training.corpus import Corpus, place_of
from training.frontend import SpecAugment, front_end
from training.method import Learning, Method, Task
from training.network import AttentiveStatistics
from training.objectives import MarginSoftmax, SpeakerCosines
from training.pairs import Batches
from training.recipe import Recipe

Numbers = npt.NDArray[np.int64]
_BATCH = 64


@dataclass(frozen=True)
class Options:
    """Settings of a classifier stage."""

    column: str = "text"
    """Column of the manifest that is told: text, language …"""
    sets: tuple[str, ...] = ()
    """Sets whose recordings are learnt; all of them where none is named."""
    least_speakers: int = 20
    """Classes that fewer speakers have are left out: what one speaker alone says is that speaker."""
    held_out: float = 0.2
    """Share of the speakers that the figures are measured on."""
    test_s: float = 3.0
    """Seconds to which their recordings are cut or repeated."""
    balance: float = 0.5
    """How often a class is drawn: a power of its number of recordings."""
    head: Literal["attention", "gru"] = "attention"
    """What makes one vector of the frames."""
    channels: tuple[int, ...] = (24, 48, 64, 96)
    """Filters of each convolution; each halves the features, the first two halve the frames."""
    width: int = 128
    """Numbers of each frame that the head sees, and of its state."""
    dim: int = 128
    """Length of the embedding."""
    dropout: float = 0.2
    """Share of the head's numbers that is dropped in training."""
    temperature: float = 16.0
    """Factor before the softmax."""


@dataclass(frozen=True)
class Labelled:
    """Recordings of a corpus whose class is known.

    Attributes:
        classes: Names of the classes, by number.
        recordings: Numbers of the recordings that are learnt, (count,).
        labels: Class of each, (count,).
        held_out: Numbers of the recordings of the speakers held out.
        held_out_labels: Class of each.
    """

    classes: Sequence[str]
    recordings: Numbers
    labels: Numbers
    held_out: Numbers
    held_out_labels: Numbers


def labelled(task: Task) -> Labelled:
    """The classes of a task and the recordings of each.

    A speaker's side follows from its label alone, from the other end than that of `Corpus.divided`.

    Raises:
        ValueError: The corpus is a stream, or fewer than two classes are left.
    """
    options: Options = task.stage.options
    corpus = task.recordings.corpus
    values = np.array([task.columns.get(name, {}).get(options.column) or "" for name in corpus.utterance_ids])
    known = values != ""
    if options.sets:
        known &= np.isin(corpus.sets, options.sets)
    aside = np.array([place_of(name) >= 1 - options.held_out for name in corpus.speaker_ids])[corpus.speakers]
    classes = [
        name
        for name in np.unique(values[known]).tolist()
        if _is_usable(known & (values == name), aside, corpus.speakers, options.least_speakers)
    ]
    if len(classes) < 2:
        raise ValueError(
            f"column {options.column!r} tells {len(classes)} classes that {options.least_speakers} or more "
            "speakers have on both sides: there is nothing to tell apart"
        )
    known &= np.isin(values, classes)
    numbers = np.searchsorted(classes, values)
    learnt, kept = np.flatnonzero(known & ~aside), np.flatnonzero(known & aside)
    return Labelled(classes, learnt, numbers[learnt], kept, numbers[kept])


def _is_usable(
    of_class: npt.NDArray[np.bool_], aside: npt.NDArray[np.bool_], speakers: Numbers, least: int
) -> bool:
    enough = len(np.unique(speakers[of_class])) >= least
    return bool(enough and (of_class & aside).any() and (of_class & ~aside).any())


class ClassBatches(Batches):
    """Batches of (waveforms float32 (batch, samples), classes int64 (batch,)), balanced by class."""

    def __init__(self, labels: Labelled, power: float, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.labels = labels
        of_class = np.bincount(labels.labels).astype(np.float64)
        shares = (of_class ** (power - 1))[labels.labels]
        self.shares = shares / shares.sum()

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Numbers]:
        rng = self.generator(index)
        drawn = rng.choice(len(self.shares), self.batch, p=self.shares)
        speeds = rng.choice(self.crops.speeds, self.batch)
        recordings = self.labels.recordings[drawn]
        waveforms = [
            self.crops.crop(int(recording), float(speed), rng)
            for recording, speed in zip(recordings, speeds, strict=True)
        ]
        return np.stack(waveforms), self.labels.labels[drawn]


class MeasuresClasses(keras.callbacks.Callback):
    """Adds the accuracy on the speakers held out to the logs, and reports the last epoch in full.

    Args:
        network: Waveforms → scores of the classes.
        task: The stage.
        labels: Its recordings.
        folder: Where the report goes.
    """

    def __init__(self, network: keras.Model, task: Task, labels: Labelled, folder: Path) -> None:
        super().__init__()
        # Another model over the same weights: Keras keeps what it fits to itself.
        self.network = keras.Model(network.input, network.output)
        self.labels, self.folder = labels, folder
        samples = int(task.stage.options.test_s * SAMPLE_RATE_HZ)
        corpus: Corpus = task.recordings.corpus
        self.waveforms = np.stack([_fitted(corpus.waveform(int(i)), samples) for i in labels.held_out])
        self.speakers = len(np.unique(corpus.speakers[labels.held_out]))

    def found(self) -> Numbers:
        """The class that is found in each recording held out: (recordings,)."""
        scores = self.network.predict(self.waveforms, batch_size=_BATCH, verbose=0)
        return np.asarray(np.argmax(scores, axis=1), np.int64)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["held_out_accuracy"] = float(np.mean(self.found() == self.labels.held_out_labels))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        truth = self.labels.held_out_labels
        figures = write_report(truth, self.found(), self.labels.classes, self.speakers, self.folder)
        print(f"\n{figures['line']}")


def _fitted(waveform: Waveform, samples: int) -> Waveform:
    return np.resize(waveform[:samples], samples)


class Classifier(Method):
    """Softmax over the classes of one column."""

    labels = "words or languages"
    Options = Options

    def branch(self, recipe: Recipe, options: Any) -> keras.Model:
        """Front end, convolutions over time and feature, temporal head, embedding."""
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        # Coefficients differ in size by a hundred; the network is to hear all of them.
        x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name="feature_norm", dtype="float32")(x)
        x = SpecAugment(recipe.network.mask_bands, recipe.network.mask_frames, name="spec_augment")(x)
        x = layers.Reshape((-1, x.shape[2], 1), name="picture")(x)
        for number, channels in enumerate(options.channels, 1):
            x = _convolution(x, channels, (2 if number <= 2 else 1, 2), f"picture{number}")
        x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="columns")(x)
        x = layers.Dense(options.width, use_bias=False, name="column_project")(x)
        x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name="column_norm")(x)
        x = layers.ReLU(name="frames")(x)
        single = {"dtype": "float32"}
        if options.head == "gru":
            x = layers.GRU(options.width, name="pool", **single)(x)
        else:
            x = AttentiveStatistics(options.width // 2, name="pool", **single)(x)
        x = layers.Dropout(options.dropout, name="pool_dropout")(x)
        x = layers.Dense(options.dim, use_bias=False, name="project", **single)(x)
        x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name="project_norm", **single)(x)
        embedding = layers.UnitNormalization(axis=-1, name="embedding", **single)(x)
        return keras.Model(waveform, embedding, name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        cosines = SpeakerCosines(len(labelled(task).classes), name="classes")(branch.output)
        network = keras.Model(branch.input, cosines, name="classifier")
        return Learning(network, MarginSoftmax(0.0, options.temperature), metrics=["accuracy"])

    def batches(self, task: Task, **common: Any) -> ClassBatches:
        stage, options = task.stage, task.stage.options
        crops, balance = task.recordings, task.recipe.balance
        return ClassBatches(
            labelled(task), options.balance, crops, balance, stage.batch, stage.steps, **common
        )

    def callbacks(
        self, network: keras.Model, branch: keras.Model, task: Task, folder: Path
    ) -> list[keras.callbacks.Callback]:
        return [MeasuresClasses(network, task, labelled(task), folder)]


def _convolution(
    x: keras.KerasTensor, channels: int, strides: tuple[int, int], name: str
) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)


METHOD = Classifier()

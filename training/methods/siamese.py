"""Siamese network on spectrograms: an image network sees windows of speech, pairs learn a Euclidean distance.

Source: the published network that tells apart the voices of 34 politicians: DenseNet121 on spectrograms of
22,050 Hz, flattened, contrastive loss (Hadsell, Chopra, LeCun, 2006) with margin 3, 100 similar pairs a
speaker and 25 dissimilar ones for every two speakers, the first 80 % of each speaker's time.

What differs here. The corpus is read at 16 kHz, stereo averaged: the spectrogram has 22,050 Hz, but nothing
above 7,600. Both windows of a pair go through the network in one batch, which is the same network twice with
batch normalisation over both; its statistics follow within tens of batches, since a scaled run has few. The
published work measured no other speakers; here those with the next most speech are measured beside. A model
of this method answers with the mean vector of a recording's windows, at unit length.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from keras.src.applications.densenet import DenseNet  # only whole ones, such as DenseNet121, are public

from app.arrays import SAMPLE_RATE_HZ
from training.corpus import Corpus
from training.distances import MeasuresDistances, Windows
from training.frontend import front_end
from training.method import Learning, Method, Task
from training.objectives import ContrastiveLoss, PairDistance
from training.recipe import Recipe
from training.timelines import TimelinePairs, by_speech, pairs_of_all, timelines


@dataclass(frozen=True)
class Options:
    """Settings of a siamese stage; `batch` counts pairs, and `crop_s` is the window too."""

    speakers: int = 34
    """How many speakers are learnt: those with most speech."""
    share: float = 0.8
    """Share of each speaker's time that is learnt from; the rest is for test."""
    similar: int = 100
    """Pairs of each speaker in a full epoch."""
    dissimilar: int = 25
    """Pairs of each two speakers in a full epoch."""
    margin: float = 3.0
    """Distance beyond which a dissimilar pair costs nothing."""
    window_s: float = 1.0
    """Seconds that the image network sees at once."""
    frames_averaged: int = 3
    """Neighbouring frames that become one column of the image."""
    blocks: tuple[int, ...] = (6, 12, 24, 16)
    """Layers of the DenseNet's four dense blocks; these are DenseNet121's."""
    imagenet_weights: str = ""
    """File of weights to begin with; without one, Keras's cache is looked into, and nothing is fetched."""
    measured: int = 6
    """Windows of each speaker, in training time and in test time, between which distances are measured."""


class Siamese(Method):
    """Contrastive loss of free-length vectors; every two speakers are a dissimilar pair."""

    labels = "speakers"
    Options = Options

    def corpus(self, corpus: Corpus, options: Any) -> Corpus:
        return timelines(corpus, by_speech(corpus)[: options.speakers], end=options.share)

    def branch(self, recipe: Recipe, options: Any) -> keras.Model:
        """Windows, spectrogram, three equal channels, image network, flattened; mean over windows."""
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = CutWindows(round(options.window_s * SAMPLE_RATE_HZ), name="windows", dtype="float32")(waveform)
        x = front_end(recipe.front_end)(x)
        x = layers.AveragePooling1D(options.frames_averaged, name="columns")(x)
        x = layers.Reshape((*x.shape[1:], 1), name="grey")(x)
        x = layers.Concatenate(name="image")([x, x, x])
        weights = weights_on_disk(options.blocks, options.imagenet_weights)
        x = layers.Flatten(name="flattened")(see(x, options.blocks, weights))
        began = weights.name if weights else "random"
        vector = MeanOfWindows(began, name="vector", dtype="float32")([x, waveform])
        embedding = layers.UnitNormalization(axis=-1, name="embedding", dtype="float32")(vector)
        return keras.Model(waveform, embedding, name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        left, right = Sides(name="sides")(branch.get_layer("embedding").input)
        distance = PairDistance(radius=1.0, name="distance")([left, right])
        outputs = {"distance": distance, "embedding": branch.output}
        network = keras.Model(branch.input, outputs, name="siamese")
        return Learning(network, {"distance": ContrastiveLoss(task.stage.options.margin)})

    def batches(self, task: Task, **common: Any) -> TimelinePairs:
        options, stage, crops = task.stage.options, task.stage, task.recordings
        kinds = {"similar": options.similar, "dissimilar": options.dissimilar}
        return TimelinePairs(crops, task.recipe.balance, stage.batch, stage.steps, **kinds, **common)

    def callbacks(
        self, network: keras.Model, branch: keras.Model, task: Task, folder: Path
    ) -> list[keras.callbacks.Callback]:
        options = task.stage.options
        groups = groups_of(task)
        encoder = keras.Model(branch.input, branch.get_layer("embedding").input, name="encoder")
        pairs = (options.similar, options.dissimilar)
        return [MeasuresDistances(encoder, groups, pairs, about(task, branch, groups), folder)]


def groups_of(task: Task) -> dict[str, Windows]:
    """The windows that are measured: of what is learnt, of the same speakers' later time, of other speakers.

    The last are those with the next most speech, in the same share of their time; without two of them there
    are none.

    Raises:
        ValueError: The corpus is a folder of shards.
    """
    if task.corpus is None:
        raise ValueError("siamese joins all recordings of a speaker, which a stream of shards cannot")
    options: Options = task.stage.options
    order = by_speech(task.corpus)
    learnt, others = order[: options.speakers], order[options.speakers : 2 * options.speakers]
    parts = {
        "training": timelines(task.corpus, learnt, end=options.share),
        "test": timelines(task.corpus, learnt, begin=options.share),
    }
    if len(others) > 1:
        parts["unseen"] = timelines(task.corpus, others, begin=options.share)
    rng = np.random.default_rng(task.recipe.seed)
    samples = round(options.window_s * SAMPLE_RATE_HZ)
    return {name: Windows.drawn(part, options.measured, samples, rng) for name, part in parts.items()}


def about(task: Task, branch: keras.Model, groups: dict[str, Windows]) -> dict[str, str]:
    """What the report has to say of a run beside its figures."""
    stage, options = task.stage, task.stage.options
    counts = {name: len(np.unique(windows.speakers)) for name, windows in groups.items()}
    full = sum(pairs_of_all(counts["training"], options.similar, options.dissimilar))
    drawn = stage.steps * stage.batch
    vector = next((layer for layer in branch.layers if isinstance(layer, MeanOfWindows)), None)
    return {
        "speakers": ", ".join(f"{count} {name}" for name, count in counts.items()),
        "network": name_of(options.blocks) if vector else "that of the earlier stage",
        "weights to begin with": vector.began if vector else "those of the earlier stage",
        "pairs of an epoch": f"{drawn:,}, {100 * drawn / full:.1f} % of the {full:,} of a full epoch",
        "numbers in a vector": str(branch.output_shape[1]),
        "measured": f"all pairs of {options.measured} windows a speaker, without dropout or batch statistics",
    }


def name_of(blocks: Sequence[int]) -> str:
    """DenseNet and the number of its layers: two of each in a block, three between blocks, first and last."""
    return f"DenseNet{2 * sum(blocks) + 5}"


def weights_on_disk(blocks: Sequence[int], given: str = "") -> Path | None:
    """The file of ImageNet weights, where there is one.

    Args:
        blocks: Layers of the dense blocks.
        given: The file; without it, the one that Keras would have left in its cache.

    Raises:
        ValueError: The given file does not exist.
    """
    if given:
        if not Path(given).is_file():
            raise ValueError(f"there are no weights in {given}")
        return Path(given)
    cache = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    path = cache / f"{name_of(blocks).lower()}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return path if path.is_file() else None


def see(image: keras.KerasTensor, blocks: Sequence[int], weights: Path | None) -> keras.KerasTensor:
    """The last feature map of a DenseNet: (batch, height, width, 3) → (batch, h, w, channels)."""
    network = DenseNet(blocks, include_top=False, weights=None, input_tensor=image)
    if weights is not None:
        # Read by the network alone: a file of Keras counts the layers, and here the front end is among them.
        alone = DenseNet(blocks, include_top=False, weights=weights, input_shape=image.shape[1:])
        network.set_weights(alone.get_weights())
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9
    return network.output


@keras.saving.register_keras_serializable("timbre")
class CutWindows(layers.Layer):
    """Waveforms of any length as whole windows side by side: (batch, t) → (batch * n, samples).

    n is ceil(t / samples); the last window goes on with the waveform's beginning, as often as it takes.

    Args:
        samples: Length of a window.
    """

    def __init__(self, samples: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.samples = samples

    def call(self, waveform: keras.KerasTensor) -> keras.KerasTensor:
        length = ops.shape(waveform)[1]
        count = (length + self.samples - 1) // self.samples
        place = ops.arange(count * self.samples) % length
        return ops.reshape(ops.take(waveform, place, axis=1), (-1, self.samples))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None, self.samples)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "samples": self.samples}


@keras.saving.register_keras_serializable("timbre")
class MeanOfWindows(layers.Layer):
    """Mean over each waveform's windows: [(batch * n, dim), (batch, t)] → (batch, dim).

    Args:
        began: What weights the network before it began with; it says so wherever the network is taken.
    """

    def __init__(self, began: str = "random", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.began = began

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        vectors, waveform = inputs
        return ops.mean(ops.reshape(vectors, (ops.shape(waveform)[0], -1, vectors.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return (input_shape[1][0], input_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "began": self.began}


@keras.saving.register_keras_serializable("timbre")
class Sides(layers.Layer):
    """Rows 0, 2, 4 … and rows 1, 3, 5 …: (2 * pairs, dim) → two of (pairs, dim)."""

    def call(self, x: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        return x[0::2], x[1::2]


METHOD = Siamese()

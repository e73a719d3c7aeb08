"""Masked prediction in the manner of HuBERT: hidden spans, their clusters told from what is around.

The frames of a sample of the corpus are clustered once, before the first epoch. Then spans of frames are
hidden, and at each hidden step a softmax over the clusters says where the true frame would have been.

Source: Hsu et al., HuBERT: self-supervised speech representation learning by masked prediction of hidden
units, 2021. Differences: it is the first of their iterations, with clusters of the front end's frames rather
than of MFCC and their changes, and no second one with clusters of what was learnt; the embedding network of
this package takes the place of convolutions on the waveform under a transformer, so it hears frames on both
sides but not all alike; a dense layer rather than cosines with learnt codes gives the logits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers
from tqdm import tqdm

from training.frontend import front_end
from training.masking import MaskedCrossEntropy, NearestCluster, SpanMask, centroids_of
from training.method import Learning, Method, Task
from training.network import time_delay_frames
from training.reconstruction import STRIDE, Statistics, embedded, heard_by, learning_of

if TYPE_CHECKING:
    from training.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """Settings of a masked stage."""

    clusters: int = 100
    """Clusters that frames are told into."""
    cluster_crops: int = 2000
    """Crops whose frames are clustered."""
    chance: float = 0.08
    """Probability that a hidden span begins at a step of 20 ms."""
    span: int = 10
    """Steps in a hidden span."""


class Masked(Method):
    """Cross entropy of the clusters of hidden frames.

    Of the section [network] `dim` is not read: the embedding is the mean and the deviation of the frames,
    twice `aggregate`, since a projection after them would have nothing to learn from.
    """

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        mask = SpanMask(options.chance, options.span, recipe.seed, dtype="float32", name="mask")
        x, _ = mask(front_end(recipe.front_end)(waveform))
        x = time_delay_frames(x, recipe.network)
        return keras.Model(waveform, embedded(Statistics(name="pool")(x)), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        heard = heard_by(branch, task.recipe)
        nearest = NearestCluster(options.clusters, name="nearest")
        clusters, hidden = nearest(heard), branch.get_layer("mask").output[1]
        nearest.centroids.assign(self._centroids(keras.Model(branch.input, heard), task))
        logits = layers.Dense(options.clusters, dtype="float32", name="guess")(
            branch.get_layer("frames").output
        )
        return learning_of(branch, MaskedCrossEntropy(name="loss")([logits, clusters, hidden]))

    def _centroids(self, heard: keras.Model, task: Task) -> Any:
        options: Options = task.stage.options
        batches = self.batches(task, seed=task.recipe.seed)
        count = -(-options.cluster_crops // task.stage.batch)
        bar = tqdm(range(count), desc=f"frames for {options.clusters} clusters", unit="batch")
        frames = [heard.predict_on_batch(batches[number][0])[:, ::STRIDE] for number in bar]
        return centroids_of(
            np.concatenate([part.reshape(-1, part.shape[-1]) for part in frames]),
            options.clusters,
            task.recipe.seed,
        )


METHOD = Masked()

"""Masked prediction: spans of frames that are hidden, the clusters that they belong to, and the loss."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops
from sklearn.cluster import MiniBatchKMeans

from training.reconstruction import STRIDE


@keras.saving.register_keras_serializable("timbre")
class SpanMask(layers.Layer):
    """Hides spans of frames behind one learnt frame, in training only.

    float32 (batch, frames, features) → the same shape, and what is hidden: (batch, steps) of 0 and 1, in
    steps of STRIDE frames. Otherwise the frames are given back as they came, and nothing is hidden.

    Args:
        chance: Probability that a span begins at a step; spans may overlap.
        span: Steps in a span; at either end of a crop a span is cut.
        seed: Of the draw.

    Source: Hsu et al., HuBERT, 2021 (chance 0.08, spans of 10 steps of 20 ms).
    """

    def __init__(self, chance: float = 0.08, span: int = 10, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.chance, self.span, self.seed = chance, span, seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.filler = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="filler")

    def call(
        self, x: keras.KerasTensor, training: bool = False
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        nothing = ops.zeros_like(x[:, ::STRIDE, 0])
        if not training:
            return x, nothing
        begins = keras.random.uniform(ops.shape(nothing), seed=self.generator) < self.chance
        begins = ops.cast(begins, x.dtype)[:, :, None]
        hidden = ops.max_pool(begins, self.span, strides=1, padding="same")
        frames = ops.repeat(hidden, STRIDE, axis=1)[:, : ops.shape(x)[1]]
        return x + frames * (ops.cast(self.filler, x.dtype) - x), hidden[:, :, 0]

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        steps = None if input_shape[1] is None else -(-input_shape[1] // STRIDE)
        return input_shape, (input_shape[0], steps)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "chance": self.chance, "span": self.span, "seed": self.seed}


@keras.saving.register_keras_serializable("timbre")
class NearestCluster(layers.Layer):
    """Number of the nearest centroid of every STRIDE-th frame.

    float32 (batch, frames, features) → int32 (batch, steps).

    The centroids are weights that are not trained: a run that is resumed keeps them.
    """

    def __init__(self, clusters: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.clusters = clusters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.centroids = self.add_weight(
            shape=(self.clusters, input_shape[-1]), initializer="zeros", trainable=False, name="centroids"
        )

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        along = ops.matmul(frames[:, ::STRIDE], ops.transpose(self.centroids))
        # |x - c|² without |x|², which is the same for every centroid.
        return ops.argmin(ops.sum(ops.square(self.centroids), axis=-1) - 2 * along, axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None if input_shape[1] is None else -(-input_shape[1] // STRIDE))

    def compute_output_spec(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(frames.shape), dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "clusters": self.clusters}


@keras.saving.register_keras_serializable("timbre")
class MaskedCrossEntropy(layers.Layer):
    """Mean cross entropy of the hidden steps alone, (batch,); 0 where nothing is hidden.

    Takes logits (batch, steps, clusters), the true clusters int (batch, steps), and what is hidden, (batch,
    steps) of 0 and 1.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, all_three: list[keras.KerasTensor]) -> keras.KerasTensor:
        logits, clusters, hidden = all_three
        true = ops.sum(ops.one_hot(ops.cast(clusters, "int32"), ops.shape(logits)[-1]) * logits, axis=-1)
        each = hidden * (ops.logsumexp(logits, axis=-1) - true)
        return ops.sum(each, axis=-1) / ops.maximum(ops.sum(hidden, axis=-1), 1.0)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0][:1]


def centroids_of(frames: npt.NDArray[np.float32], clusters: int, seed: int) -> npt.NDArray[np.float32]:
    """Centroids of frames by k-means: float32 (frames, features) → float32 (clusters, features).

    Raises:
        ValueError: There are fewer frames than clusters.
    """
    means = MiniBatchKMeans(clusters, batch_size=4096, n_init=3, random_state=seed).fit(frames)
    return np.asarray(means.cluster_centers_, np.float32)

"""SimCLR: two crops of one recording, each changed in its own way, lie nearer than any two recordings.

Nobody says who speaks. That both crops are one voice is all that is known, and that the other recordings of
the batch are mostly of others: the few that are not are taken as others all the same.

Source: Chen et al., A simple framework for contrastive learning of visual representations, 2020. There the
views are distorted pictures; here they are two stretches of one recording in other rooms, noises and bands.
Adam and a batch that two cores can hold stand for LARS and thousands of pictures.
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from training.method import Learning, Method, Task
from training.pairs import Batches, RecordingBatches


@dataclass(frozen=True)
class Options:
    """Settings of a SimCLR stage."""

    temperature: float = 0.1
    """Divides the cosines: the smaller, the more the hardest negatives count."""
    hidden: int = 256
    """Width of the projection head, which is thrown away after the stage."""
    projection: int = 128
    """Length of what the head gives, on which the crops are compared."""


@keras.saving.register_keras_serializable("timbre")
class TwoViewContrast(layers.Layer):
    """NT-Xent: (2 * batch, dim) of unit length → loss of each recording, float32 (batch,), ≥ 0.

    The first half holds one view of each recording, the second half the other in the same order. Each view
    picks its partner out of the 2 * batch - 1 others by a softmax over cosines / temperature; the loss of a
    recording is the mean of its two cross entropies.

    Source: Chen et al., SimCLR, 2020, equation 1.
    """

    def __init__(self, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.temperature = temperature

    def call(self, views: keras.KerasTensor) -> keras.KerasTensor:
        count = ops.shape(views)[0]
        cosines = ops.matmul(views, ops.transpose(views)) / self.temperature
        others = ops.where(ops.eye(count, dtype="bool"), -1e9, cosines)
        partner = ops.sum(views * ops.roll(views, count // 2, axis=0), axis=-1) / self.temperature
        each = ops.logsumexp(others, axis=-1) - partner
        return ops.mean(ops.reshape(each, (2, -1)), axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None if input_shape[0] is None else input_shape[0] // 2,)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


class SimCLR(Method):
    """Contrast of two views of a recording against the other recordings of the batch."""

    Options = Options

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        return Learning(two_views(branch, task.stage.options))

    def batches(self, task: Task, **common: Any) -> Batches:
        stage = task.stage
        return RecordingBatches(
            task.recordings, task.recipe.balance, stage.batch, stage.steps, views=2, **common
        )


def two_views(branch: keras.Model, options: Options) -> keras.Model:
    """Both views through one branch and one head: two waveforms (batch, samples) → loss (batch,).

    They go through it as one batch, so that batch normalisation cannot tell the views apart.
    """
    left = keras.Input((None,), name="left", dtype="float32")
    right = keras.Input((None,), name="right", dtype="float32")
    x = branch(layers.Concatenate(axis=0, name="views")([left, right]))
    x = layers.Dense(options.hidden, activation="relu", name="head_hidden", dtype="float32")(x)
    x = layers.Dense(options.projection, name="head", dtype="float32")(x)
    x = layers.UnitNormalization(name="projection", dtype="float32")(x)
    return keras.Model([left, right], TwoViewContrast(options.temperature, name="loss")(x), name="simclr")


METHOD = SimCLR()

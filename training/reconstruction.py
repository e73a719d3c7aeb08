"""What the methods share that give back what they heard: error, pooling, recurrent layers, embedding."""

from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from training.method import AsComputed, Learning

if TYPE_CHECKING:
    from training.recipe import Recipe

STRIDE = 2
"""Frames of the front end in one step of a recurrent network: 20 ms, half the steps and half the time."""


@keras.saving.register_keras_serializable("timbre")
class Statistics(layers.Layer):
    """Mean and standard deviation over time: (batch, steps, channels) → (batch, 2 channels).

    Means alone would forget most: the front end has taken the mean over time off already.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        mean = ops.mean(x, axis=1, keepdims=True)
        deviation = ops.sqrt(ops.mean(ops.square(x - mean), axis=1) + 1e-5)
        return ops.concatenate([mean[:, 0], deviation], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 2 * (input_shape[-1] or 0))


@keras.saving.register_keras_serializable("timbre")
class ReconstructionError(layers.Layer):
    """Mean of |heard - guessed|^power: two of (batch, frames, bands) → (batch,).

    Frames that were guessed beyond the end of what was heard do not count.

    Args:
        power: 1 for the absolute error, 2 for the squared one.
    """

    def __init__(self, power: int = 2, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.power = power

    def call(self, both: list[keras.KerasTensor]) -> keras.KerasTensor:
        heard, guessed = both
        error = ops.abs(heard - guessed[:, : ops.shape(heard)[1]])
        return ops.mean(error**self.power, axis=(1, 2))

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0][:1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "power": self.power}


def recurrent(x: keras.KerasTensor, units: int, depth: int, name: str) -> keras.KerasTensor:
    """Layers of gated recurrent units, each adding to what it was given: → (batch, steps, units).

    Args:
        x: float32 (batch, steps, units).
        units: State of each layer.
        depth: Number of layers.
        name: Of the output, and before the layers' own.
    """
    for number in range(1, depth + 1):
        y = layers.GRU(units, return_sequences=True, name=f"{name}_gru{number}")(x)
        x = layers.Add(name=name if number == depth else f"{name}_{number}")([x, y])
    return x


def embedded(code: keras.KerasTensor) -> keras.KerasTensor:
    """The embedding of a code of free length: (batch, dim) → layer `embedding` (batch, dim), unit length.

    A code that was learnt for its reconstruction has a mean and a spread of its own in each dimension,
    which all recordings share and in which cosines would drown; they are taken off first, as they were
    in training.
    """
    centred = layers.BatchNormalization(
        momentum=0.95, epsilon=1e-5, center=False, scale=False, dtype="float32", name="embedding_norm"
    )(code)
    return layers.UnitNormalization(axis=-1, dtype="float32", name="embedding")(centred)


def heard_by(branch: keras.Model, recipe: "Recipe") -> keras.KerasTensor:
    """What a branch's front end gives: (batch, frames, bands)."""
    return branch.get_layer(recipe.front_end.kind).output


def learning_of(branch: keras.Model, loss: keras.KerasTensor) -> Learning:
    """The branch under a loss that is computed in the graph: (batch,).

    The embedding is an output as well: nothing of the loss may need it, but its statistics must be learnt.
    """
    network = keras.Model(branch.input, {"loss": loss, "embedding": branch.output}, name="reconstruction")
    return Learning(network, loss={"loss": AsComputed()})

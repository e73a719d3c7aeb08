"""Masked slices: what was said in a slice is given back from the states on both sides of it.

Source: Ling, Liu, Salazar, Kirchhoff, Deep Contextualized Acoustic Representations for Semi-Supervised
Speech Recognition (DeCoAR), 2020: layers that run forward and layers that run backward, neither of which
has heard the slice between them; a network for each place in the slice gives its frame back, L1 over every
slice of the recording. Here the recurrent layers are gated units instead of LSTMs, narrower and two deep
instead of four, take two frames at a step and give one of two back; the places of a slice share the first
of their two layers. An utterance's embedding is the mean and the deviation of the states of both
directions. The front end takes the mean over the whole recording off each band, so each side knows the
other's to that extent.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from training.frontend import front_end
from training.method import Learning, Method, Task
from training.reconstruction import (
    STRIDE,
    ReconstructionError,
    Statistics,
    embedded,
    heard_by,
    learning_of,
    recurrent,
)

if TYPE_CHECKING:
    from training.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """Settings of a slices stage."""

    steps_masked: int = 9
    """Length of a slice, in steps of 20 ms."""
    units: int = 96
    """State of each recurrent layer; the embedding has four times as many numbers."""
    depth: int = 2
    """Recurrent layers of each direction."""
    hidden: int = 256
    """Width of the layer between the states and the slice."""


@keras.saving.register_keras_serializable("timbre")
class Reversed(layers.Layer):
    """The same steps in the other order: (batch, steps, channels)."""

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.flip(x, axis=1)


@keras.saving.register_keras_serializable("timbre")
class BothSides(layers.Layer):
    """States beside each slice: two of (batch, steps, units) → (batch, steps - masked - 1, 2 units).

    The slice number t holds the steps t + 1 to t + masked: the forward state of step t has not come to it,
    and the backward state of step t + masked + 1 has not either.
    """

    def __init__(self, masked: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masked = masked

    def call(self, both: list[keras.KerasTensor]) -> keras.KerasTensor:
        forward, backward = both
        apart = self.masked + 1
        return ops.concatenate([forward[:, :-apart], backward[:, apart:]], axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        forward, backward = input_shape
        return (forward[0], None, (forward[-1] or 0) + (backward[-1] or 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "masked": self.masked}


@keras.saving.register_keras_serializable("timbre")
class Slices(layers.Layer):
    """What is between: frames (batch, frames, bands) → (batch, steps - masked - 1, masked * bands).

    The first frame of each step of the slice, one behind the other.
    """

    def __init__(self, masked: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masked = masked

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        steps = frames[:, ::STRIDE]
        count = ops.shape(steps)[1] - self.masked - 1
        return ops.concatenate([steps[:, n : n + count] for n in range(1, self.masked + 1)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None, self.masked * (input_shape[-1] or 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "masked": self.masked}


class MaskedSlices(Method):
    """L1 between a slice and what the states before and after it say of it."""

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        x = layers.Conv1D(options.units, STRIDE, strides=STRIDE, padding="same", name="pairs")(x)
        forward = recurrent(x, options.units, options.depth, "forward")
        backward = recurrent(Reversed(name="pairs_reversed")(x), options.units, options.depth, "reversed")
        states = [forward, Reversed(name="backward")(backward)]
        pooled = Statistics(name="pool")(layers.Concatenate(name="frames")(states))
        return keras.Model(waveform, embedded(pooled), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        heard = heard_by(branch, task.recipe)
        sides = [branch.get_layer(name).output for name in ("forward", "backward")]
        x = BothSides(options.steps_masked, name="both_sides")(sides)
        x = layers.Dense(options.hidden, activation="relu", name="between")(x)
        guessed = layers.Dense(options.steps_masked * heard.shape[-1], dtype="float32", name="guess")(x)
        slices = Slices(options.steps_masked, dtype="float32", name="slices")(heard)
        return learning_of(branch, ReconstructionError(power=1, name="loss")([slices, guessed]))


METHOD = MaskedSlices()

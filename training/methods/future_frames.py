"""Future frames: a recurrent network hears speech up to now and says the frame that comes a little later.

Source: Chung, Hsu, Tang, Glass, An Unsupervised Autoregressive Model for Speech Representation Learning,
2019 (autoregressive predictive coding: recurrent layers with residual connections, L1). Here the network
takes two frames at a step and is narrower, one frame of two is predicted, and an utterance's embedding is
the mean and the deviation of the last layer's states. The front end takes the mean over the whole recording
off each band, so what comes later is known to that extent.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

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
    """Settings of a future_frames stage."""

    ahead: int = 5
    """Frames (10 ms each) from the last one heard to the one that is predicted; windows overlap below 3."""
    units: int = 128
    """State of each recurrent layer; the embedding has twice as many numbers."""
    depth: int = 2
    """Recurrent layers."""


@keras.saving.register_keras_serializable("timbre")
class Later(layers.Layer):
    """The frame that lies `ahead` of the last one that each step has heard: → (batch, steps, bands).

    Step t has heard the frames up to STRIDE t + STRIDE - 1; the last steps have no such frame.
    """

    def __init__(self, ahead: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ahead = ahead

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        return frames[:, STRIDE - 1 + self.ahead :: STRIDE]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ahead": self.ahead}


class FutureFrames(Method):
    """L1 between a frame of the near future and what the states so far say of it."""

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        x = layers.Conv1D(options.units, STRIDE, strides=STRIDE, padding="same", name="pairs")(x)
        x = recurrent(x, options.units, options.depth, "frames")
        embedding = embedded(Statistics(name="pool")(x))
        return keras.Model(waveform, embedding, name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        heard, states = heard_by(branch, task.recipe), branch.get_layer("frames").output
        guessed = layers.Dense(heard.shape[-1], dtype="float32", name="guess")(states)
        later = Later(task.stage.options.ahead, dtype="float32", name="later")(heard)
        return learning_of(branch, ReconstructionError(power=1, name="loss")([later, guessed]))


METHOD = FutureFrames()

"""Audio2Vec: a two-dimensional convolutional autoencoder of mel spectrogram windows, one code each.

Two clips are as similar as their embeddings are near by Euclidean distance (`timbre similarity`). Source:
the method that goes by this name in the projects that index sounds by the bottleneck of a convolutional
autoencoder of mel spectrograms; not that of Tagliasacchi and others, 2020, whose words before and after
predict each other. Here a recording of any length is filled up from its beginning to whole windows, the
codes of its overlapping windows are averaged, and the embedding is brought to unit length, as every model
of the service gives it; the decoder starts from the code at its free length.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from training.frontend import front_end
from training.method import Learning, Method, Task
from training.reconstruction import ReconstructionError, embedded, learning_of

if TYPE_CHECKING:
    from training.recipe import Recipe

HALVINGS = 4
"""Convolutions with stride 2 in time and in frequency."""


@dataclass(frozen=True)
class Options:
    """Settings of an audio2vec stage."""

    frames: int = 96
    """Length of a window, in frames of 10 ms; a multiple of 16."""
    hop: int = 16
    """Distance between two windows, in frames; a multiple of 16. A crop of one window has one code."""
    channels: int = 32
    """Of the first convolution; the next have 2, 3 and 4 times as many."""
    dim: int = 128
    """Length of the code and of the embedding."""

    def __post_init__(self) -> None:
        for name in ("frames", "hop"):
            if getattr(self, name) < 1 or getattr(self, name) % 2**HALVINGS:
                raise ValueError(f"{name} must be a multiple of {2**HALVINGS}, not {getattr(self, name)}")


@keras.saving.register_keras_serializable("timbre")
class WholeWindows(layers.Layer):
    """Repeats frames from the first on until they fill whole windows: (batch, frames, bands).

    Args:
        width: Frames of a window; the output has the least multiple of it that holds every frame.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        count = ops.shape(frames)[1]
        windows = (count + self.width - 1) // self.width
        return ops.take(frames, ops.arange(windows * self.width) % count, axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class Audio2Vec(Method):
    """Squared error between a spectrogram and what its windows' codes say of it."""

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        x = WholeWindows(options.frames, name="windows")(x)
        x = layers.Reshape((-1, x.shape[-1], 1), name="picture")(x)
        for number in range(1, HALVINGS + 1):
            channels = options.channels * number
            x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"down{number}")(x)
            x = layers.BatchNormalization(momentum=0.95, name=f"down{number}_norm")(x)
            x = layers.LeakyReLU(0.1)(x)
        # One dense layer over all that is left of a window, written as a convolution from window to window.
        window = (options.frames // 2**HALVINGS, x.shape[2])
        hop = (options.hop // 2**HALVINGS, x.shape[2])
        code = layers.Conv2D(options.dim, window, strides=hop, name="code")(x)
        mean = layers.GlobalAveragePooling2D(dtype="float32", name="pool")(code)
        return keras.Model(waveform, embedded(mean), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        heard = branch.get_layer("windows").output
        code = branch.get_layer("code")
        x = layers.Conv2DTranspose(
            options.channels * HALVINGS, code.kernel_size, code.strides, activation="relu", name="spread"
        )(code.output)
        for number in range(HALVINGS - 1, -1, -1):
            channels = options.channels * max(number, 1)
            x = layers.Conv2DTranspose(channels, 3, strides=2, padding="same", name=f"up{number}")(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.95, name=f"up{number}_norm")(x))
        x = layers.Conv2D(1, 3, padding="same", dtype="float32", name="guess")(x)
        bands = heard.shape[-1]
        x = layers.Cropping2D(((0, 0), (0, x.shape[2] - bands)), name="bands")(x)
        guessed = layers.Reshape((-1, bands), name="frames_guessed")(x)
        return learning_of(branch, ReconstructionError(name="loss")([heard, guessed]))


METHOD = Audio2Vec()

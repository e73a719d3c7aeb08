"""Autoencoder over frames, plain or variational: a code each 40 ms, from which the spectrogram is given back.

Source: for speech Chorowski and others, Unsupervised speech representation learning using WaveNet
autoencoders, 2019, of which this has the plain and the variational bottleneck; the variational one and its
reparameterisation Kingma and Welling, Auto-Encoding Variational Bayes, 2014, its weight Higgins and others,
beta-VAE, 2017. Here both sides are a few convolutions over time, and the error is the squared one of
log-mel frames. An utterance's embedding is the mean and the deviation over time of its codes, of the
posterior's means where it is variational.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from training.frontend import front_end
from training.method import Learning, Method, Task
from training.network import block, convolution
from training.reconstruction import ReconstructionError, Statistics, embedded, heard_by, learning_of

if TYPE_CHECKING:
    from training.recipe import Recipe

HALVINGS = 2
"""Convolutions with stride 2 over time."""


@dataclass(frozen=True)
class Options:
    """Settings of an autoencoder stage."""

    variational: bool = False
    """Whether a code is a distribution, held near the standard normal one."""
    beta: float = 1.0
    """Weight of the divergence from the standard normal distribution; 1 is the evidence lower bound."""
    channels: int = 128
    """Width of the convolutions."""
    dim: int = 64
    """Length of a code; the embedding has twice as many numbers."""


@keras.saving.register_keras_serializable("timbre")
class Drawn(layers.Layer):
    """A code drawn from its posterior in training, the posterior's mean otherwise.

    Of the mean and the logarithm of the variance, each (batch, steps, dim).
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, both: list[keras.KerasTensor], training: bool = False) -> keras.KerasTensor:
        mean, log_variance = both
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.generator)
        return mean + ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable("timbre")
class EvidenceBound(layers.Layer):
    """Negative evidence lower bound, per number of the spectrogram, without its constant: → (batch,).

    Half the squared error (unit Gaussian noise) and `beta` times the divergence of the posteriors from the
    standard normal distribution: 0.5 sum(mean² + variance - 1 - log variance) over steps and dimensions.
    Of the squared error (batch,), the mean and the logarithm of the variance (batch, steps, dim), and what
    was heard (batch, frames, bands).
    """

    def __init__(self, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.beta = beta

    def call(self, all_four: list[keras.KerasTensor]) -> keras.KerasTensor:
        error, mean, log_variance, heard = all_four
        spread = ops.square(mean) + ops.exp(log_variance) - 1 - log_variance
        numbers = ops.cast(ops.shape(heard)[1] * ops.shape(heard)[2], "float32")
        return 0.5 * error + self.beta * 0.5 * ops.sum(spread, axis=(1, 2)) / numbers

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


class Autoencoder(Method):
    """Squared error of the spectrogram; with the divergence of the codes where they are variational."""

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        for number in range(1, HALVINGS + 1):
            x = layers.ReLU()(convolution(x, options.channels, 5, f"down{number}", strides=2))
            x = block(x, options.channels, number, options.channels // 4, f"block{number}")
        x = layers.Dense(options.dim, dtype="float32", name="frames")(x)
        return keras.Model(waveform, embedded(Statistics(name="pool")(x)), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        heard, mean = heard_by(branch, task.recipe), branch.get_layer("frames").output
        if not options.variational:
            return learning_of(branch, _error(heard, mean, options.channels, "loss"))
        # From the layer before the mean, as the mean itself.
        below = branch.get_layer("frames").input
        log_variance = layers.Dense(mean.shape[-1], dtype="float32", name="log_variance")(below)
        code = Drawn(task.recipe.seed, dtype="float32", name="drawn")([mean, log_variance])
        error = _error(heard, code, options.channels, "squared_error")
        bound = EvidenceBound(options.beta, name="loss")([error, mean, log_variance, heard])
        return learning_of(branch, bound)


def _error(heard: keras.KerasTensor, code: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    """Squared error of what a decoder makes of codes (batch, steps, dim): (batch,)."""
    x = layers.Dense(channels, activation="relu", name="spread")(code)
    for number in range(HALVINGS, 0, -1):
        x = layers.Conv1DTranspose(channels, 4, strides=2, padding="same", name=f"up{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.95, name=f"up{number}_norm")(x))
    guessed = layers.Conv1D(heard.shape[-1], 3, padding="same", dtype="float32", name="guess")(x)
    return ReconstructionError(name=name)([heard, guessed])


METHOD = Autoencoder()

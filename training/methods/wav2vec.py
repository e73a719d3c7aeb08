"""wav2vec: contrast on raw audio; convolutions on the waveform itself, no spectrogram anywhere.

Source: Schneider, Baevski, Collobert, Auli, wav2vec: unsupervised pre-training for speech recognition, 2019.
Differences: 20 ms between latents rather than 10 (one more halving), a narrower network, dilations rather
than more layers in the context network, normalisation inside each frame rather than over the recording, and
the InfoNCE loss over all negatives that `training.methods.cpc` has rather than a logistic one over ten.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from training.future_contrast import causal, learning_of_future
from training.method import Learning, Method, Task
from training.reconstruction import Statistics, embedded

if TYPE_CHECKING:
    from training.recipe import Recipe

_ENCODER = ((10, 5), (8, 4), (4, 2), (4, 2), (4, 2), (4, 2))
"""Width and stride of each convolution on the waveform: 320 samples, 20 ms, in the end."""


@dataclass(frozen=True)
class Options:
    """Settings of a wav2vec stage."""

    ahead: int = 12
    """Farthest step that is predicted, in steps of 20 ms."""


@keras.saving.register_keras_serializable("timbre")
class UnitPower(layers.Layer):
    """Waveform (batch, samples) → the same at unit RMS, one channel: float32 (batch, samples, 1)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, waveform: keras.KerasTensor) -> keras.KerasTensor:
        scale = ops.rsqrt(ops.mean(ops.square(waveform), axis=1, keepdims=True) + 1e-10)
        return (waveform * scale)[:, :, None]


class Wav2Vec(Method):
    """Strided convolutions on the waveform, causal convolutions over them, InfoNCE of the next latents.

    Of the section [network] it reads `channels` (the latents), `dilations` (one layer of the context network
    each) and `dim`: half of it is the width of the contexts, whose mean and deviation are the embedding.
    """

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        config = recipe.network
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = UnitPower(name="unit_power")(waveform)
        for number, (width, stride) in enumerate(_ENCODER, 1):
            # At 3,200 steps a second a wide first layer would cost more than all that follows.
            channels = config.channels // 4 if number == 1 else config.channels
            x = causal(x, channels, width, f"encode{number}", strides=stride)
        x = layers.Dense(config.channels, name="latents")(x)
        for number, dilation in enumerate(config.dilations, 1):
            x = layers.Add()([x, causal(x, config.channels, 3, f"context{number}", dilation=dilation)])
        contexts = layers.Dense(config.dim // 2, name="frames")(x)
        return keras.Model(waveform, embedded(Statistics(name="pool")(contexts)), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        return learning_of_future(branch, task.stage.options.ahead)


METHOD = Wav2Vec()

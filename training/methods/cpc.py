"""Contrastive predictive coding: from what it has heard, a recurrent network tells what comes next.

It need not say the next frames, only pick their latents out of others: those of the recording's other places
(what is said) and of other recordings (who says it, and where).

Source: van den Oord, Li, Vinyals, Representation learning with contrastive predictive coding, 2018. There the
encoder takes the raw waveform at 10 ms and predicts 12 steps; here it takes the frames of the front end at
20 ms and predicts fewer. `training.methods.wav2vec` is the form on raw audio. The front end takes each band's
mean over the whole recording off, so of what comes later that much is known.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from training.frontend import front_end
from training.future_contrast import causal, learning_of_future
from training.method import Learning, Method, Task
from training.reconstruction import Statistics, embedded

if TYPE_CHECKING:
    from training.recipe import Recipe


@dataclass(frozen=True)
class Options:
    """Settings of a CPC stage."""

    ahead: int = 8
    """Farthest step that is predicted, in steps of 20 ms."""


class ContrastivePredictiveCoding(Method):
    """Latents of strided convolutions, a GRU over them, InfoNCE of the next ones.

    Of the section [network] it reads `channels`, the width of the latents, and `dim`: half of it is the
    state of the GRU, whose mean and deviation over time are the embedding.
    """

    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        config = recipe.network
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        x = front_end(recipe.front_end)(waveform)
        x = causal(x, config.channels, 4, "encode1", strides=2)
        x = causal(x, config.channels, 1, "encode2")
        latents = layers.Dense(config.channels, name="latents")(x)
        contexts = layers.GRU(config.dim // 2, return_sequences=True, name="frames")(latents)
        return keras.Model(waveform, embedded(Statistics(name="pool")(contexts)), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        return learning_of_future(branch, task.stage.options.ahead)


METHOD = ContrastivePredictiveCoding()

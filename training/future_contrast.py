"""What the methods share that tell the future from other latents: causal layers and InfoNCE."""

from typing import Any

import keras
from keras import layers, ops

from training.method import Learning
from training.reconstruction import learning_of


def causal(
    x: keras.KerasTensor, channels: int, width: int, name: str, strides: int = 1, dilation: int = 1
) -> keras.KerasTensor:
    """Convolution that sees no later frame, normalised inside each frame, then ReLU.

    Statistics of a batch would tell one crop what is in the others, and so which latents are not its own.

    Args:
        x: float32 (batch, frames, features).
        channels: Width of the result.
        width: Frames that it sees.
        name: Before the layers' own.
        strides: Of the convolution.
        dilation: Of the convolution.

    Returns:
        float32 (batch, 1 + (frames - 1) // strides, channels).
    """
    x = layers.Conv1D(
        channels,
        width,
        strides=strides,
        dilation_rate=dilation,
        padding="causal",
        # Without a bias silence would be nothing but rounding, which the normalisation would raise.
        bias_initializer=keras.initializers.RandomNormal(stddev=0.1),
        name=f"{name}_conv",
    )(x)
    x = layers.LayerNormalization(epsilon=1e-3, dtype="float32", name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def learning_of_future(branch: keras.Model, ahead: int) -> Learning:
    """A branch with layers `frames`, its contexts, and `latents` under `FutureContrast`."""
    contexts, latents = branch.get_layer("frames").output, branch.get_layer("latents").output
    return learning_of(branch, FutureContrast(ahead, name="loss")([contexts, latents]))


@keras.saving.register_keras_serializable("timbre")
class FutureContrast(layers.Layer):
    """InfoNCE: contexts (batch, frames, c) and latents (batch, frames, d) → loss of each crop (batch,), ≥ 0.

    For each k from 1 to `ahead` a matrix of its own predicts from the context at t the latent at t + k. A
    softmax over dot products picks it out of the crop's latents at all other places and of the other
    crops' latents at the same place. The loss is the mean cross entropy over all t and k.

    Args:
        ahead: Farthest step that is predicted; a crop must be longer.

    Source: van den Oord, Li, Vinyals, Representation learning with contrastive predictive coding, 2018.
    There negatives are a random draw; here all of them are taken, which needs no chance.
    """

    def __init__(self, ahead: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.ahead = ahead

    def build(self, input_shape: list[tuple[int | None, ...]]) -> None:
        contexts, latents = input_shape
        self.maps = [
            self.add_weight(
                shape=(contexts[-1], latents[-1]), initializer="glorot_uniform", name=f"map{step}"
            )
            for step in range(1, self.ahead + 1)
        ]

    def call(self, both: list[keras.KerasTensor]) -> keras.KerasTensor:
        contexts, latents = both
        each = [self._ahead(contexts, latents, step) for step in range(1, self.ahead + 1)]
        return ops.mean(ops.concatenate(each, axis=1), axis=1)

    def _ahead(self, contexts: keras.KerasTensor, latents: keras.KerasTensor, step: int) -> keras.KerasTensor:
        """Cross entropies of the latents `step` ahead: (batch, frames - step)."""
        guessed, true = ops.matmul(contexts[:, :-step], self.maps[step - 1]), latents[:, step:]
        elsewhere = ops.einsum("btd,bsd->bts", guessed, latents)
        other_crops = ops.einsum("btd,ctd->btc", guessed, true)
        itself = ops.eye(ops.shape(latents)[0], dtype="bool")[:, None, :]
        # The true latent is among those of its own crop; here it would count a second time.
        other_crops = ops.where(itself, -1e9, other_crops)
        all_of_them = ops.logsumexp(ops.concatenate([elsewhere, other_crops], axis=-1), axis=-1)
        return all_of_them - ops.sum(guessed * true, axis=-1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0][:1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ahead": self.ahead}

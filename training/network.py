"""The embedding network: waveform → embedding. The one branch that a Siamese network uses twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from training.frontend import LOG_MEL, FrontEnd, SpecAugment, front_end


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network; the defaults are the shipped model's."""

    channels: int = 256
    """Width of the convolutions."""
    dilations: Sequence[int] = (1, 2, 3, 4)
    """One residual block each."""
    aggregate: int = 512
    """Channels that the pooling sees."""
    bottleneck: int = 96
    """Channels inside squeeze-excitation and attention."""
    dim: int = 192
    """Length of the embedding."""
    mask_bands: int = 8
    """Most mel bands that SpecAugment masks."""
    mask_frames: int = 10
    """Most frames that SpecAugment masks."""


def convolution(
    x: keras.KerasTensor, channels: int, width: int, name: str, dilation: int = 1, strides: int = 1
) -> keras.KerasTensor:
    """Convolution over time and batch normalisation."""
    x = layers.Conv1D(
        channels,
        width,
        strides=strides,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name=f"{name}_norm")(x)


def block(
    x: keras.KerasTensor, channels: int, dilation: int, bottleneck: int, name: str
) -> keras.KerasTensor:
    """Residual block: one dilated dense convolution, one pointwise, squeeze-excitation over time."""
    y = layers.ReLU()(convolution(x, channels, 3, f"{name}_a", dilation=dilation))
    y = convolution(y, channels, 1, f"{name}_b")
    gate = layers.GlobalAveragePooling1D(keepdims=True)(y)
    gate = layers.Dense(bottleneck, activation="relu", name=f"{name}_squeeze")(gate)
    gate = layers.Dense(channels, activation="sigmoid", name=f"{name}_excite")(gate)
    return layers.ReLU()(layers.Add()([x, layers.Multiply()([y, gate])]))


def time_delay_frames(x: keras.KerasTensor, config: NetworkConfig) -> keras.KerasTensor:
    """What is pooled: (batch, frames, features) → layer `frames` (batch, frames / 2, aggregate)."""
    # Half the frame rate from the first convolution on: half the cost of everything that follows.
    x = layers.ReLU()(convolution(x, config.channels, 5, "stem", strides=2))
    outputs = [x]
    for i, dilation in enumerate(config.dilations, 1):
        outputs.append(block(outputs[-1], config.channels, dilation, config.bottleneck, f"block{i}"))
    x = layers.Concatenate()(outputs[1:])
    return layers.ReLU(name="frames")(convolution(x, config.aggregate, 1, "aggregate"))


@keras.saving.register_keras_serializable("timbre")
class AttentiveStatistics(layers.Layer):
    """Attention-weighted mean and standard deviation over time: (batch, frames, c) → (batch, 2c).

    The attention sees each frame beside the clip's own mean and deviation, one weight per channel.

    Source: Okabe et al., 2018; channel- and context-dependent form: Desplanques et al. (ECAPA-TDNN), 2020.
    """

    def __init__(self, bottleneck: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bottleneck = bottleneck

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1] or 0
        kind = {"dtype": self.dtype_policy}
        self.frame = layers.Dense(self.bottleneck, name="frame", **kind)
        self.context = layers.Dense(self.bottleneck, use_bias=False, name="context", **kind)
        self.score = layers.Dense(channels, name="score", **kind)
        self.frame.build(input_shape)
        self.context.build((input_shape[0], 1, 2 * channels))
        self.score.build((*input_shape[:-1], self.bottleneck))

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        mean = ops.mean(x, axis=1, keepdims=True)
        deviation = ops.sqrt(ops.mean(ops.square(x - mean), axis=1, keepdims=True) + 1e-5)
        context = self.context(ops.concatenate([mean, deviation], axis=-1))
        weight = ops.softmax(self.score(ops.tanh(self.frame(x) + context)), axis=1)
        mean = ops.sum(weight * x, axis=1)
        # A difference of squares loses its digits where the deviation is small, hence the centring.
        variance = ops.sum(weight * ops.square(x - mean[:, None, :]), axis=1)
        return ops.concatenate([mean, ops.sqrt(variance + 1e-5)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 2 * (input_shape[-1] or 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bottleneck": self.bottleneck}


def build_network(config: NetworkConfig = NetworkConfig(), heard: FrontEnd = LOG_MEL) -> keras.Model:
    """Builds the embedding network, front end included.

    Args:
        config: Its size.
        heard: Its front end.

    Returns:
        A model from float32 waveforms (batch, samples), 16 kHz, [-1, 1], to float32 embeddings
        (batch, dim) of unit length. Any length of at least one window (400 samples) is taken.
    """
    waveform = keras.Input((None,), name="waveform", dtype="float32")
    x = front_end(heard)(waveform)
    x = SpecAugment(config.mask_bands, config.mask_frames, name="spec_augment")(x)
    x = time_delay_frames(x, config)
    # Under mixed precision the convolutions alone are half-sized: a variance over time wants its digits.
    single = {"dtype": "float32"}
    x = AttentiveStatistics(config.bottleneck, name="pool", **single)(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name="pool_norm", **single)(x)
    x = layers.Dense(config.dim, use_bias=False, name="project", **single)(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-5, name="project_norm", **single)(x)
    embedding = layers.UnitNormalization(axis=-1, name="embedding", **single)(x)
    return keras.Model(waveform, embedding, name="timbre")

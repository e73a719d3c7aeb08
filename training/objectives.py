"""Losses and learning rates that methods share: margin softmax, contrastive and prototypical loss."""

import math
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable("timbre")
class SpeakerCosines(layers.Layer):
    """Cosine of each embedding to the nearest of each speaker's centres: (batch, dim) → (batch, classes).

    Args:
        classes: Number of speakers.
        centres: Centres per speaker; more than one lets mislabelled or odd clips have their own.

    Source: Deng et al., Sub-center ArcFace, 2020.
    """

    def __init__(self, classes: int, centres: int = 1, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.classes, self.centres = classes, centres

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.weight = self.add_weight(
            shape=(input_shape[-1], self.classes * self.centres), initializer="glorot_normal", name="weight"
        )

    def call(self, embedding: keras.KerasTensor) -> keras.KerasTensor:
        cosines = ops.matmul(embedding, ops.normalize(self.weight, axis=0))
        if self.centres == 1:
            return cosines
        return ops.max(ops.reshape(cosines, (-1, self.classes, self.centres)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "centres": self.centres}


@keras.saving.register_keras_serializable("timbre")
class MarginSoftmax(keras.losses.Loss):
    """Additive angular margin softmax over cosines (batch, classes) and classes (batch,).

    Args:
        margin: Angle in radians added to the true speaker's; `margin_now` is the value in force,
            a variable that the schedule raises from 0.
        scale: Factor before the softmax.

    Source: Deng et al., ArcFace, 2019.
    """

    def __init__(
        self, margin: float = 0.2, scale: float = 30.0, name: str = "margin_softmax", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin, self.scale = margin, scale
        self.margin_now = keras.Variable(0.0, trainable=False, name="margin_now")

    def call(self, y_true: keras.KerasTensor, cosines: keras.KerasTensor) -> keras.KerasTensor:
        hot = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), ops.shape(cosines)[-1])
        target = ops.clip(ops.sum(hot * cosines, axis=-1), -1 + 1e-6, 1 - 1e-6)
        sine = ops.sqrt(1 - ops.square(target))
        with_margin = target * ops.cos(self.margin_now) - sine * ops.sin(self.margin_now)
        # Past pi - margin the cosine would rise again; there the margin becomes a constant penalty.
        with_margin = ops.where(
            target > -ops.cos(self.margin_now),
            with_margin,
            target - self.margin_now * ops.sin(self.margin_now),
        )
        logits = self.scale * (cosines + hot * (with_margin - target)[:, None])
        return ops.logsumexp(logits, axis=-1) - ops.sum(hot * logits, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}


class MarginInForce(keras.metrics.Metric):
    """Shows a loss's margin in the logs, and makes it part of the state of the model that holds this.

    JAX compiles a step over the model's state. A variable outside it would be compiled in as the
    constant that it was at the first step.
    """

    def __init__(self, loss: MarginSoftmax, name: str = "margin") -> None:
        super().__init__(name=name)
        self.margin_now = loss.margin_now

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the schedule sets it."""

    def reset_state(self) -> None:
        """Nothing: it outlives an epoch."""

    def result(self) -> keras.KerasTensor:
        return self.margin_now.value


@keras.saving.register_keras_serializable("timbre")
class PairDistance(layers.Layer):
    """Euclidean distance of two embeddings, `radius` times as large: 2 x (batch, dim) → (batch,).

    The published network compares embeddings of free length, radius 1, with a margin of 3. Unit
    embeddings lie at most 2 apart, so that margin needs a larger sphere: with radius 3 two embeddings
    60 degrees apart stand at the margin.
    """

    def __init__(self, radius: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.radius = radius

    def call(self, pair: list[keras.KerasTensor]) -> keras.KerasTensor:
        left, right = pair
        return self.radius * ops.sqrt(ops.sum(ops.square(left - right), axis=-1) + 1e-8)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "radius": self.radius}


@keras.saving.register_keras_serializable("timbre")
class ContrastiveLoss(keras.losses.Loss):
    """Pulls similar pairs together and pushes dissimilar ones beyond the margin.

    For a distance d: same * d² + (1 - same) * max(margin - d, 0)².

    Source: Hadsell, Chopra, LeCun, 2006; margin 3 as in the politicians' voices network.
    """

    def __init__(self, margin: float = 3.0, name: str = "contrastive", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def call(self, same: keras.KerasTensor, distance: keras.KerasTensor) -> keras.KerasTensor:
        same = ops.cast(ops.reshape(same, ops.shape(distance)), distance.dtype)
        return same * ops.square(distance) + (1 - same) * ops.square(ops.relu(self.margin - distance))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("timbre")
class PrototypicalLoss(keras.losses.Loss):
    """Each crop must lie nearer to its speaker's other crops than to the impostors of its set.

    A softmax over the batch, for each pair of crops of one speaker: the pair against every crop of
    another speaker of the same set, since between sets the channel would give the answer away. The
    scale makes the hardest impostors count most.

    Args:
        margin: Taken off the cosine of a pair of one speaker.
        scale: Factor before the softmax.

    Source: Snell et al., Prototypical Networks, 2017; for speakers Chung et al., In defence of metric
    learning for speaker recognition, 2020.
    """

    def __init__(
        self, margin: float = 0.1, scale: float = 30.0, name: str = "prototypical", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.margin, self.scale = margin, scale

    def call(self, who: keras.KerasTensor, embedding: keras.KerasTensor) -> keras.KerasTensor:
        """Loss of each crop, (batch,).

        Args:
            who: int (batch, 2), class and set of each crop.
            embedding: float32 (batch, dim), unit length.
        """
        speaker, home = who[:, 0], who[:, 1]
        same = ops.cast(speaker[:, None] == speaker[None, :], embedding.dtype)
        inside = ops.cast(home[:, None] == home[None, :], embedding.dtype)
        logits = self.scale * ops.matmul(embedding, ops.transpose(embedding))
        impostors = ops.logsumexp(ops.where(inside * (1 - same) > 0, logits, -1e9), axis=-1, keepdims=True)
        pairs = same - ops.eye(ops.shape(embedding)[0], dtype=embedding.dtype)
        each = ops.softplus(impostors - logits + self.scale * self.margin)
        return ops.sum(pairs * each, axis=-1) / ops.maximum(ops.sum(pairs, axis=-1), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}


@keras.saving.register_keras_serializable("timbre")
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` in `warm_up` steps, then falls as a half cosine to `last` at `steps`."""

    def __init__(self, peak: float, warm_up: int, steps: int, last: float = 1e-5) -> None:
        self.peak, self.warm_up, self.steps, self.last = peak, warm_up, steps, last

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        step = ops.cast(step, "float32")
        rise = self.peak * (step + 1) / max(self.warm_up, 1)
        done = ops.clip((step - self.warm_up) / max(self.steps - self.warm_up, 1), 0.0, 1.0)
        fall = self.last + 0.5 * (self.peak - self.last) * (1 + ops.cos(math.pi * done))
        return ops.where(step < self.warm_up, rise, fall)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warm_up": self.warm_up, "steps": self.steps, "last": self.last}


@keras.saving.register_keras_serializable("timbre")
class WarmUpPolynomial(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` in `warm_up` steps, then falls to `last` at `steps` as a power."""

    def __init__(self, peak: float, warm_up: int, steps: int, last: float = 0.0, power: float = 1.0) -> None:
        self.peak, self.warm_up, self.steps, self.last, self.power = peak, warm_up, steps, last, power

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        step = ops.cast(step, "float32")
        rise = self.peak * (step + 1) / max(self.warm_up, 1)
        left = ops.clip((self.steps - step) / max(self.steps - self.warm_up, 1), 0.0, 1.0)
        fall = self.last + (self.peak - self.last) * left**self.power
        return ops.where(step < self.warm_up, rise, fall)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warm_up": self.warm_up,
            "steps": self.steps,
            "last": self.last,
            "power": self.power,
        }

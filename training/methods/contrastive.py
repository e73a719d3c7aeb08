"""The Siamese network on the embedding network of any other method: one branch, used for both of a pair."""

from dataclasses import dataclass
from typing import Any

import keras

from training.method import Learning, Method, Task
from training.objectives import ContrastiveLoss, PairDistance
from training.pairs import PairBatches


@dataclass(frozen=True)
class Options:
    """Settings of a contrastive stage."""

    margin: float = 3.0
    """Distance beyond which a dissimilar pair costs nothing."""
    radius: float = 3.0
    """Radius of the sphere on which distances are taken."""


class Contrastive(Method):
    """Contrastive loss of pairs; impostors are of one set."""

    labels = "speakers"
    Options = Options

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        return Learning(siamese(branch, options.radius), ContrastiveLoss(options.margin))

    def batches(self, task: Task, **common: Any) -> PairBatches:
        stage = task.stage
        return PairBatches(task.recordings, task.recipe.balance, stage.batch, stage.steps, **common)


def siamese(branch: keras.Model, radius: float = 3.0) -> keras.Model:
    """The same branch twice: two waveforms → distance (batch,)."""
    left = keras.Input((None,), name="left", dtype="float32")
    right = keras.Input((None,), name="right", dtype="float32")
    distance = PairDistance(radius, name="distance")([branch(left), branch(right)])
    return keras.Model([left, right], distance, name="siamese")


METHOD = Contrastive()

"""A classifier of the training speakers with an angular margin; the shipped model is learnt by it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from training.method import Learning, Method, Task
from training.objectives import MarginInForce, MarginSoftmax, PrototypicalLoss, SpeakerCosines
from training.pairs import ImpostorBatches, SpeakerBatches
from training.progress import MarginSchedule
from training.streaming import ShardedBatches, ShardedCrops


@dataclass(frozen=True)
class Options:
    """Settings of a margin_softmax stage."""

    margin: float = 0.2
    """Angle in radians that is added to the true speaker's."""
    margin_from: float = 0.2
    """Share of the stage after which the margin starts to rise from zero."""
    margin_until: float = 0.6
    """Share of the stage after which the margin stands at its full value."""
    scale: float = 30.0
    """Factor before the softmax."""
    centres: int = 1
    """Centres per speaker."""
    per_speaker: int = 1
    """Crops of each speaker in a batch, of different recordings where there are several."""
    together: int = 1
    """Speakers of a batch that are drawn from one set, as hard impostors."""
    impostor_weight: float = 0.0
    """Weight of the prototypical loss beside the softmax; needs per_speaker and together above 1."""


class MarginSoftmaxMethod(Method):
    """Additive angular margin softmax, with a prototypical loss over hard impostors where asked for."""

    labels = "speakers"
    Options = Options

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        hold_statistics(branch, options.together > 1)
        softmax = MarginSoftmax(options.margin, options.scale)
        impostors = options.impostor_weight > 0
        network = classifier(branch, task.crops.classes, options.centres, with_embedding=impostors)
        if not impostors:
            return Learning(network, softmax, metrics=["accuracy"])
        return Learning(
            network,
            loss={"speakers": softmax, "embedding": PrototypicalLoss(scale=options.scale)},
            loss_weights={"speakers": 1.0, "embedding": options.impostor_weight},
            metrics={"speakers": "accuracy"},
        )

    def batches(self, task: Task, **common: Any) -> SpeakerBatches | ShardedBatches:
        options: Options = task.stage.options
        stage, crops, balance = task.stage, task.crops, task.recipe.balance
        if isinstance(crops, ShardedCrops):
            if options.per_speaker * options.together > 1:
                raise ValueError(
                    "a stream of shards serves margin_softmax with per_speaker = 1 and together = 1 only: "
                    "it cannot choose who comes next"
                )
            readers = os.cpu_count() or 2
            return ShardedBatches(
                crops, balance, stage.batch, stage.steps, seed=common["seed"], readers=readers
            )
        kind = ImpostorBatches if options.impostor_weight > 0 else SpeakerBatches
        return kind(
            crops,
            balance,
            stage.batch,
            stage.steps,
            per_speaker=options.per_speaker,
            together=options.together,
            **common,
        )

    def take_over(self, network: keras.Model, before: Path) -> None:
        """The speakers' centres, when both stages classify the same speakers."""
        learnt = keras.saving.load_model(before / "training.keras", compile=False)
        if any(layer.name == "speakers" for layer in learnt.layers):
            old, new = learnt.get_layer("speakers"), network.get_layer("speakers")
            if [w.shape for w in old.weights] == [w.shape for w in new.weights]:
                new.set_weights(old.get_weights())

    def callbacks(
        self, network: keras.Model, branch: keras.Model, task: Task, folder: Path
    ) -> list[keras.callbacks.Callback]:
        options: Options = task.stage.options
        softmax = network.loss["speakers"] if isinstance(network.loss, dict) else network.loss
        network.margin_in_force = MarginInForce(softmax)
        span = (options.margin_from, options.margin_until)
        return [MarginSchedule(softmax, task.stage.epochs, span)]


def classifier(
    branch: keras.Model, classes: int, centres: int = 1, with_embedding: bool = False
) -> keras.Model:
    """The embedding branch under a speaker classifier: waveform → cosines (batch, classes).

    Args:
        branch: The embedding network.
        classes: Number of speakers.
        centres: Centres per speaker.
        with_embedding: Adds the embedding as a second output; the outputs then have names.
    """
    cosines = SpeakerCosines(classes, centres, name="speakers")(branch.output)
    outputs = {"speakers": cosines, "embedding": branch.output} if with_embedding else cosines
    return keras.Model(branch.input, outputs, name="classifier")


def hold_statistics(branch: keras.Model, held: bool) -> None:
    """Holds batch normalisation at what it has learnt, or lets it learn again.

    A batch of a few sets has the statistics of those sets. Normalised by them, a network would be trained
    in one way and used in another.
    """
    for layer in branch.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = not held


METHOD = MarginSoftmaxMethod()

"""What a method is: a network, an objective and the batches that it learns from.

Each published way of learning an embedding is one file of `training.methods`. The loop, the data, the front
end, the checkpoints and the export know none of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from training.corpus import Corpus
from training.groups import Columns
from training.network import build_network
from training.pairs import Batches, Crops, RecordingBatches
from training.streaming import ShardedBatches, ShardedCrops

if TYPE_CHECKING:
    from training.recipe import Recipe, Stage


@keras.saving.register_keras_serializable("timbre")
class AsComputed(keras.losses.Loss):
    """The mean of what the network itself computed: its output is the loss of each example, (batch,)."""

    def __init__(self, name: str = "as_computed", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        return y_pred


@dataclass(frozen=True)
class Task:
    """What one stage has to learn from.

    Attributes:
        recipe: The whole recipe.
        stage: The stage; `stage.options` are those of its method.
        corpus: Every training recording; of shards only the index is there, and this is None.
        crops: Where crops come from: of what `Method.corpus` left of the corpus.
        columns: The manifest's columns by utterance id; empty for a corpus that is no manifest.
    """

    recipe: "Recipe"
    stage: "Stage"
    corpus: Corpus | None
    crops: Crops | ShardedCrops
    columns: Columns

    @property
    def recordings(self) -> Crops:
        """Where crops come from, for a method that chooses among recordings.

        Raises:
            ValueError: They come in a stream of shards, in which nothing can be chosen or read as a whole.
        """
        if isinstance(self.crops, ShardedCrops):
            raise ValueError(
                f"{self.stage.objective} does not learn from a stream of shards; margin_softmax does"
            )
        return self.crops


@dataclass(frozen=True)
class Learning:
    """A network that is ready to be compiled and fitted.

    Attributes:
        network: What Keras fits. The branch is in it, see `branch_of`.
        loss: As Keras takes it: one, or by name of output.
        loss_weights: By name of output.
        metrics: As Keras takes them.
        weighted_metrics: The same, of examples by their weights: those without a label do not count.
    """

    network: keras.Model
    loss: Any = field(default_factory=AsComputed)
    loss_weights: Mapping[str, float] | None = None
    metrics: Any = None
    weighted_metrics: Any = None


class Method(ABC):
    """One way of learning. A stage names it as its `objective`."""

    labels: ClassVar[str] = "none"
    """What it is told about a recording, in words: `none`, `speakers`, `words` …"""
    Options: ClassVar[type[Any]]
    """Frozen dataclass of the settings that a stage may give beside the common ones."""

    def corpus(self, corpus: Corpus, options: Any) -> Corpus:
        """The part or the form of the corpus that is learnt from; all of it where a method does not say."""
        return corpus

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        """The embedding network where no earlier stage left one: `waveform` → layer `embedding`, unit length.

        Any length of at least one window (400 samples) is taken, and rows do not depend on each other.
        """
        return build_network(recipe.network, recipe.front_end)

    @abstractmethod
    def learning(self, branch: keras.Model, task: Task) -> Learning:
        """The branch under its objective."""

    def batches(self, task: Task, **common: Any) -> Batches | ShardedBatches:
        """Where batches come from: here, single crops of recordings, drawn without their speakers."""
        stage = task.stage
        return RecordingBatches(task.recordings, task.recipe.balance, stage.batch, stage.steps, **common)

    def take_over(self, network: keras.Model, before: Path) -> None:  # noqa: B027  most have nothing to take
        """Takes what the stage in the folder `before` learnt outside the branch, where it fits."""

    def callbacks(
        self, network: keras.Model, branch: keras.Model, task: Task, folder: Path
    ) -> list[keras.callbacks.Callback]:
        """What else happens during the stage, whose folder is `folder`; they run before the checkpoint."""
        return []


def branch_of(network: keras.Model) -> keras.Model:
    """The embedding network inside one that was read from its checkpoint.

    It is either a layer, named `timbre`, or the part of the graph from `waveform` to `embedding`.
    """
    if any(layer.name == "timbre" for layer in network.layers):
        return network.get_layer("timbre")
    return keras.Model(
        network.get_layer("waveform").output, network.get_layer("embedding").output, name="timbre"
    )

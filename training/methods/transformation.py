"""Transformation prediction: is a crop as it was, backwards, mirrored in frequency, or both?

Source: Gidaris, Singh, Komodakis, Unsupervised representation learning by predicting image rotations, 2018.
A spectrogram has no meaningful quarter turn: its axes are time and frequency. The four ways of turning each
of them round or not are its own group of four, and both are done exactly on the waveform: reversed, and
multiplied by (-1)^n, which takes a frequency f to 8000 Hz - f. The stage's `speeds`, where there are
several, make as many times four classes.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from app.arrays import Waveform
from training.method import Learning, Method, Task
from training.pairs import Batches, RecordingBatches

WAYS = 4
"""As it is, backwards, mirrored in frequency, both."""


@dataclass(frozen=True)
class Options:
    """Settings of a transformation stage."""

    hidden: int = 128
    """Width of the layer between the embedding and the answer."""


def transformed(waveform: Waveform, way: int) -> Waveform:
    """A waveform (samples,) as it is (0), backwards (1), mirrored in frequency (2), or both (3)."""
    if way & 2:
        waveform = waveform * np.where(np.arange(len(waveform)) % 2, -1, 1).astype(np.float32)
    return waveform[::-1] if way & 1 else waveform


class TransformedBatches(RecordingBatches):
    """Batches of (waveforms float32 (batch, samples), classes int64 (batch,)).

    A class is the way it was transformed, plus WAYS for each speed before its own. The transformation
    comes last: what noise and rooms left on the crop is turned round with it.
    """

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        rng, speeds = self.generator(index), self.crops.speeds
        drawn = rng.choice(len(self.recording_weights), self.batch, p=self.recording_weights)
        classes = rng.integers(WAYS * len(speeds), size=self.batch)
        crops = [
            transformed(self.crops.crop(int(recording), speeds[number // WAYS], rng), number % WAYS)
            for recording, number in zip(drawn, classes, strict=True)
        ]
        return np.stack(crops), classes


class Transformation(Method):
    """Cross entropy of what was done to a crop; the history shows how often it was told rightly."""

    Options = Options

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        x = layers.Dense(options.hidden, activation="relu", dtype="float32", name="hidden")(branch.output)
        ways = layers.Dense(WAYS * len(task.stage.speeds), dtype="float32", name="ways")(x)
        return Learning(
            keras.Model(branch.input, ways, name="transformation"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    def batches(self, task: Task, **common: Any) -> Batches:
        stage = task.stage
        return TransformedBatches(task.recordings, task.recipe.balance, stage.batch, stage.steps, **common)


METHOD = Transformation()

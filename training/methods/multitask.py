"""Spoken-sentence embedding by multi-task learning: what is said, who says it and how, over one encoder.

The manifest decides what is learnt. Recordings with a `text` are recognised, character by character, by CTC
over the frames of the encoder; recordings with an `emotion` have a softmax over emotions on the embedding;
all have one over speakers. What a recording lacks costs it nothing, and a task that no recording has is left
out.

Recognition needs the whole text, so a recording that is shorter than the crop is heard whole, from its
beginning. It is repeated until it fills the crop, as the crops of all methods are, and recognition reads the
first utterance only: the other heads hear speech from end to end and no padding. Of a longer recording a
random crop is heard, and nothing is recognised.

Characters are the most frequent ones of the texts, whatever their script, in lower case and without
punctuation (`training.transcripts`). A text with a character beyond them, or with a digit, is not recognised:
with many scripts in one corpus, those of few recordings.

Source: that a sentence's embedding can hold both sound and words by learning several tasks is shown by Haque,
Guo, Verma, Fei-Fei, Audio-linguistic embeddings for spoken sentences, 2019. Their encoder learns to give back
acoustic and linguistic features, and is then tried on recognition and emotion; here such tasks themselves
teach the shared encoder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from app.arrays import SAMPLE_RATE_HZ
from training.corpus import Corpus
from training.method import Learning, Method, Task
from training.objectives import SpeakerCosines
from training.sentences import CharacterErrors, Labels, SentenceBatches, labels_of


@dataclass(frozen=True)
class Options:
    """Settings of a multitask stage. A weight of 0 leaves its task out."""

    recognition: float = 1.0
    """Weight of the recognition loss, in nats per character."""
    speaker: float = 1.0
    """Weight of the speaker loss."""
    emotion: float = 1.0
    """Weight of the emotion loss."""
    characters: int = 64
    """Most characters that are recognised."""
    longest: int = 40
    """Most characters of a text that is recognised: TensorFlow's loss costs as much as their square."""
    glossed: tuple[str, ...] = ()
    """Sets whose text is not what is said, such as a translation; they are not recognised."""
    scale: float = 30.0
    """Factor between cosines and the softmax of speakers and of emotions."""
    held_out: float = 0.02
    """Share of the speakers who are not learnt, for the character error rate."""


@keras.saving.register_keras_serializable("timbre")
class TranscriptLoss(keras.losses.Loss):
    """Negative log-likelihood of a text per character, over all its alignments with the steps.

    Called with targets (batch, 1 + most characters), the steps that count and then the text, behind which
    stand zeros; and with logits (batch, steps, 1 + alphabet), of which the first is the blank.

    Source: Graves and others, Connectionist temporal classification, 2006.
    """

    def __init__(self, name: str = "transcript", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        targets = ops.cast(y_true, "int32")
        steps, text = targets[:, 0], targets[:, 1:]
        count = ops.sum(ops.cast(text > 0, "int32"), axis=1)
        loss = ops.ctc_loss(text, logits, count, steps, mask_index=0)
        return loss / ops.cast(ops.maximum(count, 1), loss.dtype)


class Multitask(Method):
    """Recognition, speaker and emotion heads over one encoder; the manifest switches them on."""

    labels = "speakers, words and emotions, as far as the manifest has them"
    Options = Options

    def corpus(self, corpus: Corpus, options: Any) -> Corpus:
        return corpus.divided(options.held_out)[0]

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        outputs, losses = {}, {}
        for name, classes in tasks(_labels(task), options).items():
            if name == "recognition":
                outputs[name] = layers.Dense(classes, name=name)(branch.get_layer("frames").output)
                losses[name] = TranscriptLoss(reduction="mean_with_sample_weight")
                continue
            cosines = SpeakerCosines(classes, name=f"{name}_cosines")(branch.output)
            outputs[name] = layers.Rescaling(options.scale, name=name)(cosines)
            losses[name] = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        if set(losses) <= {"recognition"}:
            raise ValueError("multitask learns its embedding from speakers or emotions: here is neither")
        return Learning(
            keras.Model(branch.input, outputs, name="multitask"),
            losses,
            {name: getattr(options, name) for name in losses},
            weighted_metrics={name: ["accuracy"] for name in losses if name != "recognition"},
        )

    def batches(self, task: Task, **common: Any) -> SentenceBatches:
        stage, labels = task.stage, _labels(task)
        known: dict[str, Any] = {"labels": labels, "tasks": tuple(tasks(labels, stage.options))}
        return SentenceBatches(
            task.recordings, task.recipe.balance, stage.batch, stage.steps, **known, **common
        )

    def callbacks(
        self, network: keras.Model, branch: keras.Model, task: Task, folder: Path
    ) -> list[keras.callbacks.Callback]:
        """Says what the heads mean, in tasks.json, and how well texts are recognised."""
        options: Options = task.stage.options
        labels = _labels(task)
        learnt = tasks(labels, options)
        told = {
            "tasks": learnt,
            "characters": "".join(labels.alphabet.characters),
            "recordings_with_text": sum(text is not None for text in labels.texts),
            "emotions": labels.emotions,
            "recordings_with_emotion": int(np.sum(labels.feelings >= 0)),
        }
        (folder / "tasks.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"tasks: {', '.join(f'{name} ({classes})' for name, classes in learnt.items())}")
        if "recognition" not in learnt or task.corpus is None:
            return []
        kept = task.corpus.divided(options.held_out)[1]
        recogniser = keras.Model(network.input, network.get_layer("recognition").output)
        length = int(task.stage.crop_s * SAMPLE_RATE_HZ)
        wanted = labels_of(kept, task.columns, labels.alphabet, options.longest, options.glossed)
        return [CharacterErrors(recogniser, kept, wanted, length, task.recipe.signal_every)]


def tasks(labels: Labels, options: Options) -> dict[str, int]:
    """What is learnt, and how many classes each head has."""
    characters, speakers = len(labels.alphabet), len(np.unique(labels.speakers))
    classes = {
        "recognition": 1 + characters if characters else 0,  # the blank is one more
        "speaker": speakers,
        "emotion": len(labels.emotions),
    }
    return {name: count for name, count in classes.items() if count and getattr(options, name) > 0}


def _labels(task: Task) -> Labels:
    """The labels of what is learnt from.

    Raises:
        ValueError: The corpus is a stream of shards.
    """
    options: Options = task.stage.options
    return labels_of(
        task.recordings.corpus, task.columns, options.characters, options.longest, options.glossed
    )


METHOD = Multitask()

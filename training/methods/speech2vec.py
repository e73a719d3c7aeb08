"""Speech2Vec: a recurrent network hears a word and says its neighbours, or hears them and says the word.

Skip-gram encodes a word and decodes each of its neighbours from the embedding; CBOW encodes the neighbours
and decodes the word from the sum of their embeddings. What is decoded are the frames of the front end, one by
one, none of them told to the decoder; frames beyond the end of a word do not count.

The published network heard 500 hours of audiobooks, cut into words by forced alignment. Here words are clips
of one word where the corpus has them, and elsewhere pieces of sentences, cut where they are quiet
(`training.segments`). The neighbours of a clip are the clips beside it in the corpus, which are no sentences:
where a set is sorted by word they are often the same word, and something of the labels comes in by the order.
Cells are gated recurrent units for long short-term memory; their states are averaged over time rather than
the last one taken, so that recordings of any length can be embedded; the embedding has unit length.

Source: Chung, Glass, Speech2Vec: a sequence-to-sequence framework for learning word embeddings from speech,
2018.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from app.arrays import SAMPLE_RATE_HZ
from training.frontend import HOP, WINDOW, front_end
from training.method import Learning, Method, Task
from training.pairs import RecordingBatches
from training.reconstruction import STRIDE, embedded
from training.segments import Around, Words, filled

if TYPE_CHECKING:
    from training.recipe import Recipe

_TRIES = 100


@dataclass(frozen=True)
class Options:
    """Settings of a speech2vec stage; its `crop_s` is how much of a word is heard."""

    kind: Literal["skip_gram", "cbow"] = "skip_gram"
    """Word to neighbours, or neighbours to word."""
    window: int = 2
    """Neighbours on each side."""
    units: int = 128
    """State of the encoder in each direction, and of the decoder."""
    dim: int = 128
    """Length of the embedding."""

    def __post_init__(self) -> None:
        if self.kind not in ("skip_gram", "cbow"):
            raise ValueError(f"kind is skip_gram or cbow, not {self.kind!r}")


class Speech2Vec(Method):
    """Words are predicted from their neighbours, or the other way round."""

    labels = "which clips are one word"
    Options = Options

    def branch(self, recipe: "Recipe", options: Any) -> keras.Model:
        waveform = keras.Input((None,), name="waveform", dtype="float32")
        heard = front_end(recipe.front_end)(waveform)
        heard = layers.BatchNormalization(momentum=0.95, name="heard_norm")(heard)
        # Half the frames from here on: a recurrent network costs by the frame.
        stem = layers.Conv1D(options.units, 3, strides=STRIDE, padding="same", activation="relu", name="stem")
        states = layers.Bidirectional(layers.GRU(options.units, return_sequences=True), name="frames")(
            stem(heard)
        )
        code = layers.Dense(options.dim, name="code")(layers.GlobalAveragePooling1D(name="pool")(states))
        return keras.Model(waveform, embedded(code), name="timbre")

    def learning(self, branch: keras.Model, task: Task) -> Learning:
        options: Options = task.stage.options
        length = int(task.stage.crop_s * SAMPLE_RATE_HZ)
        words = keras.Input((1 + 2 * options.window, length), name="words", dtype="float32")
        samples = keras.Input((1 + 2 * options.window,), name="samples", dtype="float32")
        centre, neighbours = slice(0, 1), slice(1, None)
        given, wanted = (centre, neighbours) if options.kind == "skip_gram" else (neighbours, centre)
        embedding = encoded(branch, words[:, given], samples[:, given])
        heard = frames_of(words[:, wanted], front_end(task.recipe.front_end))
        steps, features = heard.shape[2:]
        states = layers.GRU(options.units, return_sequences=True, name="decoder")(
            layers.RepeatVector(steps, name="every_step")(embedding)
        )
        said = layers.Dense(features, name="said")(states)
        loss = WordError(name="loss")([heard, said, samples[:, wanted]])
        return Learning(keras.Model({"words": words, "samples": samples}, loss, name="speech2vec"))

    def batches(self, task: Task, **common: Any) -> "WordBatches":
        stage, options = task.stage, task.stage.options
        words = Words(task.recordings.corpus, task.columns, options.window)
        return WordBatches(
            task.recordings, task.recipe.balance, stage.batch, stage.steps, words=words, **common
        )


def encoded(branch: keras.Model, words: keras.KerasTensor, samples: keras.KerasTensor) -> keras.KerasTensor:
    """The sum of the embeddings of the words that are there: (batch, words, length) → (batch, dim)."""
    count, length = words.shape[1:]
    each = ops.reshape(branch(ops.reshape(words, (-1, length))), (-1, count, branch.output_shape[-1]))
    return ops.sum(each * ops.cast(samples > 0, each.dtype)[..., None], axis=1)


def frames_of(words: keras.KerasTensor, front: keras.layers.Layer) -> keras.KerasTensor:
    """Every second frame of each word: (batch, words, length) → (batch, words, steps, features)."""
    count, length = words.shape[1:]
    frames = front(ops.reshape(words, (-1, length)))[:, ::STRIDE]
    return ops.reshape(frames, (-1, count, *frames.shape[1:]))


@keras.saving.register_keras_serializable("timbre")
class WordError(layers.Layer):
    """Mean squared error of the frames of words, each coefficient by its own deviation in its word: (batch,).

    A decoder that always says zero has a loss near 1. Called with the words' frames (batch, words, steps,
    features), of mean zero over time; with what was decoded (batch, steps, features), which is held against
    each of them; and with the samples of each word (batch, words), behind which frames do not count. A word
    of no samples is none.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, parts: list[keras.KerasTensor]) -> keras.KerasTensor:
        heard, said, samples = parts
        deviation = ops.sqrt(ops.mean(ops.square(heard), axis=2, keepdims=True) + 1e-4)
        errors = ops.mean(ops.square(heard / deviation - said[:, None]), axis=-1)
        begins = HOP * STRIDE * ops.cast(ops.arange(ops.shape(heard)[2]), "float32")
        counts = ops.cast(begins + WINDOW <= samples[..., None], "float32")
        return ops.sum(counts * errors, axis=(1, 2)) / ops.maximum(ops.sum(counts, axis=(1, 2)), 1.0)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        return input_shape[0][:1]


class WordBatches(RecordingBatches):
    """Batches of words and their neighbours; nothing is changed about them, and the targets are zeros.

    `words` is float32 (batch, 1 + neighbours, length), the word itself first; `samples` float32 (batch, 1 +
    neighbours) says how many samples of each are its first utterance, 0 where there is no neighbour.
    """

    def __init__(self, *args: Any, words: Words, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.words = words

    def __getitem__(self, index: int) -> tuple[Any, npt.NDArray[np.float32]]:
        rng = self.generator(index)
        length, drawn = self.crops.length, [self._around(rng) for _ in range(self.batch)]
        silence = np.zeros(length, np.float32)
        words = [[silence if word is None else filled(word, length) for word in row] for row in drawn]
        samples = [[0 if word is None else min(len(word), length) for word in row] for row in drawn]
        inputs = {"words": np.array(words, np.float32), "samples": np.array(samples, np.float32)}
        return inputs, np.zeros(self.batch, np.float32)

    def _around(self, rng: np.random.Generator) -> Around:
        """A word that has a neighbour."""
        for recording in rng.choice(len(self.recording_weights), _TRIES, p=self.recording_weights):
            around = self.words.around(int(recording), rng)
            if around[0] is not None and any(word is not None for word in around[1:]):
                return around
        raise ValueError(f"{_TRIES} recordings in a row have no two words beside each other")


METHOD = Speech2Vec()

"""Whole short recordings with what a manifest says of them: the words, the speaker, the emotion."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from app.arrays import Waveform
from training.corpus import Corpus
from training.frontend import HOP, WINDOW
from training.groups import Columns
from training.pairs import Crops, RecordingBatches
from training.reconstruction import STRIDE
from training.segments import filled
from training.transcripts import Alphabet, alphabet_of, edits, frames_needed

_MOST_HELD_OUT = 64


@dataclass(frozen=True)
class Labels:
    """What the manifest says of each recording.

    Attributes:
        alphabet: The characters; none where nothing is recognised.
        texts: Numbers of the characters of each recording; None where it has no text that can be recognised.
        speakers: int64 (recordings,), number of the speaker.
        emotions: Their names; none where there are not two to tell apart.
        feelings: int64 (recordings,), number of the emotion, -1 where it is not known.
    """

    alphabet: Alphabet
    texts: Sequence[list[int] | None]
    speakers: npt.NDArray[np.int64]
    emotions: tuple[str, ...]
    feelings: npt.NDArray[np.int64]


def labels_of(
    corpus: Corpus,
    columns: Columns,
    characters: int | Alphabet,
    longest: int,
    glossed: Collection[str] = (),
) -> Labels:
    """Reads what a manifest says of the recordings of a corpus.

    Args:
        corpus: The recordings.
        columns: The manifest's columns, of which `text` and `emotion` are read where they are.
        characters: The alphabet, or how many of the texts' own characters it has at most.
        longest: Most characters of a text that is recognised.
        glossed: Sets whose text is not what is said.
    """
    rows = [columns.get(name, {}) for name in corpus.utterance_ids]
    said = [
        "" if home in glossed else row.get("text") or "" for row, home in zip(rows, corpus.sets, strict=True)
    ]
    alphabet = alphabet_of(said, characters) if isinstance(characters, int) else characters
    texts = [
        numbers
        if numbers and len(numbers) <= longest and frames_needed(numbers) <= steps_of(int(length))
        else None
        for numbers, length in zip(map(alphabet.encode, said), corpus.lengths, strict=True)
    ]
    felt = [row.get("emotion") or "" for row in rows]
    emotions = tuple(sorted(set(felt) - {""}))
    emotions = emotions if len(emotions) > 1 else ()
    feelings = np.array([emotions.index(name) if name in emotions else -1 for name in felt], np.int64)
    return Labels(alphabet, texts, corpus.speakers, emotions, feelings)


def steps_of(samples: int) -> int:
    """Steps of the encoder over so many samples, 20 ms each."""
    return max(-(-(1 + (samples - WINDOW) // HOP) // STRIDE), 0)


class SentenceBatches(RecordingBatches):
    """Batches of (waveforms, targets by task, weights by task), each recording whole where it fits the crop.

    Waveforms are float32 (batch, samples). Targets are `speaker` and `emotion`, int64 (batch,), and
    `recognition`, int64 (batch, 1 + most characters): the steps of the first utterance, then its text, then
    zeros. A weight is 1 where the recording has that label, else 0. Half of a batch is drawn among the
    recordings that can be recognised, the other half among all.

    Args:
        labels: Of every recording.
        tasks: Those that are learnt.
    """

    def __init__(self, *args: Any, labels: Labels, tasks: Collection[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.labels, self.tasks = labels, tasks
        texts = [text if fits(self.crops, place) else None for place, text in enumerate(labels.texts)]
        self.texts, self.longest = texts, max((len(text) for text in texts if text), default=1)
        if "recognition" in tasks and any(texts):
            spoken = self.recording_weights * [text is not None for text in texts]
            self.recording_weights = (self.recording_weights + spoken / spoken.sum()) / 2

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:  # type: ignore[override]  # weights as well
        rng = self.generator(index)
        drawn = rng.choice(len(self.recording_weights), self.batch, p=self.recording_weights)
        waveforms = np.stack([self._heard(int(recording), rng) for recording in drawn])
        feelings = self.labels.feelings[drawn]
        transcripts = np.stack([self._transcript(int(recording)) for recording in drawn])
        targets = {
            "speaker": self.labels.speakers[drawn],
            "emotion": np.maximum(feelings, 0),
            "recognition": transcripts,
        }
        known = {
            "speaker": np.ones(self.batch, np.float32),
            "emotion": (feelings >= 0).astype(np.float32),
            "recognition": (transcripts[:, 1:] > 0).any(axis=1).astype(np.float32),
        }
        return waveforms, self._of_tasks(targets), self._of_tasks(known)

    def _of_tasks(self, values: dict[str, Any]) -> dict[str, Any]:
        return {task: values[task] for task in self.tasks}

    def _heard(self, recording: int, rng: np.random.Generator) -> Waveform:
        """The whole recording from its beginning, repeated to the crop's length; of a longer one a crop."""
        if not fits(self.crops, recording):
            return self.crops.crop(recording, 1.0, rng)
        waveform = filled(self.crops.corpus.waveform(recording), self.crops.length)
        return waveform if self.crops.augmenter is None else self.crops.augmenter(waveform, rng)

    def _transcript(self, recording: int) -> npt.NDArray[np.int64]:
        """Steps and text of a recording; no text where the crop does not hold all of it."""
        found = np.zeros(1 + self.longest, np.int64)
        found[0] = steps_of(min(int(self.crops.corpus.lengths[recording]), self.crops.length))
        text = self.texts[recording]
        if text:
            found[1 : 1 + len(text)] = text
        return found


def fits(crops: Crops, recording: int) -> bool:
    """Whether a crop holds the whole recording."""
    return int(crops.corpus.lengths[recording]) <= crops.length


class CharacterErrors(keras.callbacks.Callback):
    """Adds a character error rate to the logs each few epochs and after the last: edits per character.

    The best character of each step is taken, alike ones beside each other count once, and no language model
    knows what is likely. Does nothing where no recording has a text.

    Args:
        recogniser: Waveforms (batch, samples) → logits (batch, steps, 1 + characters).
        corpus: Recordings that are not learnt; the first few that fit the crop are recognised.
        labels: Theirs.
        length: Samples of a crop.
        every: Epochs between two measurements.
    """

    def __init__(
        self, recogniser: keras.Model, corpus: Corpus, labels: Labels, length: int, every: int
    ) -> None:
        super().__init__()
        self.recogniser, self.alphabet, self.every = recogniser, labels.alphabet, every
        places = [
            place for place, text in enumerate(labels.texts) if text and int(corpus.lengths[place]) <= length
        ][:_MOST_HELD_OUT]
        self.wanted = [labels.alphabet.decode(labels.texts[place] or []) for place in places]
        self.steps = np.array([steps_of(int(corpus.lengths[place])) for place in places], np.int32)
        self.waveforms = np.array([filled(corpus.waveform(place), length) for place in places], np.float32)

    def transcribe(self) -> list[str]:
        """What the recogniser says of every recording."""
        logits = self.recogniser.predict_on_batch(self.waveforms)
        decoded, _ = ops.ctc_decode(logits, self.steps, strategy="greedy", mask_index=0)
        return [self.alphabet.decode(row) for row in ops.convert_to_numpy(decoded)[0].tolist()]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        if logs is None or not self.wanted or not (last or (epoch + 1) % self.every == 0):
            return
        pairs = list(zip(self.wanted, self.transcribe(), strict=True))
        logs["character_error_rate"] = sum(edits(*pair) for pair in pairs) / sum(map(len, self.wanted))

"""What a network sees: crops of speakers in balanced batches, or pairs of crops."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from app.arrays import SAMPLE_RATE_HZ, Waveform
from training.augment import Augmenter, speed
from training.corpus import Corpus


@dataclass(frozen=True)
class Balance:
    """How often a set and a speaker are drawn: weights are powers of what they hold.

    A set is also a channel. Drawn by size alone, the largest sets would decide everything and
    the network would learn them; drawn alike, the smallest would be learnt by heart.
    """

    hours: float = 0.4
    """Power of a set's hours."""
    speakers: float = 0.3
    """Power of a set's number of speakers."""
    clips: float = 0.5
    """Power of a speaker's number of clips, inside its set."""

    def weights(self, corpus: Corpus) -> npt.NDArray[np.float64]:
        """Probability of each speaker: (speakers,), sums to 1."""
        clips = np.bincount(corpus.speakers, minlength=len(corpus.speaker_ids)) ** self.clips
        seconds: Counter[str] = Counter()
        for name, length in zip(corpus.sets, corpus.lengths, strict=True):
            seconds[name] += length / SAMPLE_RATE_HZ
        names = np.array(corpus.set_of_speaker)
        weight = np.zeros(len(names))
        for name, total in seconds.items():
            inside = names == name
            share = (total / 3600) ** self.hours * inside.sum() ** self.speakers
            weight[inside] = share * clips[inside] / clips[inside].sum()
        return np.asarray(weight / weight.sum())


class Crops:
    """Draws augmented crops of a speaker; the same speaker at another speed is another speaker."""

    def __init__(
        self, corpus: Corpus, augmenter: Augmenter | None, crop_s: float, speeds: tuple[float, ...] = (1.0,)
    ) -> None:
        self.corpus, self.augmenter, self.speeds = corpus, augmenter, speeds
        self.length = int(crop_s * SAMPLE_RATE_HZ)
        order = np.argsort(corpus.speakers, kind="stable")
        ends = np.cumsum(np.bincount(corpus.speakers, minlength=len(corpus.speaker_ids)))
        self.of_speaker = np.split(order, ends[:-1])

    @property
    def classes(self) -> int:
        """Speakers times speeds."""
        return len(self.of_speaker) * len(self.speeds)

    def draw(self, label: int, rng: np.random.Generator) -> Waveform:
        """One crop of class `label` = speed number * speakers + speaker number."""
        factor = self.speeds[label // len(self.of_speaker)]
        recordings = self.of_speaker[label % len(self.of_speaker)]
        return self.crop(int(recordings[rng.integers(len(recordings))]), factor, rng)

    def crop(self, recording: int, factor: float, rng: np.random.Generator) -> Waveform:
        """One crop of one recording, sped up by `factor` and augmented: float32 (samples,)."""
        length = math.ceil(self.length * factor)
        waveform = speed(self.corpus.crop(recording, length, rng), factor, self.length)
        return waveform if self.augmenter is None else self.augmenter(waveform, rng)


class Batches(keras.utils.PyDataset):
    """What both kinds of batches share.

    Every batch is drawn from its own seed, so a run that is resumed sees what it would have seen,
    provided that somebody sets `epoch` at each epoch's begin.

    Args:
        crops: Where crops come from.
        balance: How often each speaker is drawn.
        batch: Crops, or pairs, in a batch.
        steps: Batches in an epoch.
        seed: First part of every batch's seed.
    """

    def __init__(
        self, crops: Crops, balance: Balance, batch: int, steps: int, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.crops, self.batch, self.steps, self.seed = crops, batch, steps, seed
        self.weights = balance.weights(crops.corpus)
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def generator(self, index: int) -> np.random.Generator:
        """The source of chance of one batch of the epoch."""
        return np.random.default_rng((self.seed, self.epoch, index))


class SpeakerBatches(Batches):
    """Batches of (waveforms float32 (batch, samples), classes int64 (batch,)), balanced.

    Args:
        per_speaker: Crops of each drawn speaker; `batch` is a multiple of it.
    """

    def __init__(self, *args: Any, per_speaker: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.per_speaker = per_speaker

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        rng = self.generator(index)
        speakers = rng.choice(
            len(self.weights), self.batch // self.per_speaker, replace=False, p=self.weights
        )
        labels = speakers + len(self.weights) * rng.integers(len(self.crops.speeds), size=len(speakers))
        labels = np.repeat(labels, self.per_speaker)
        return np.stack([self.crops.draw(int(label), rng) for label in labels]), labels


class PairBatches(Batches):
    """Batches of ((left, right), same): half of the pairs similar, half dissimilar.

    left and right are float32 (batch, samples); same is float32 (batch,), 1 for one speaker.
    A similar pair is of two recordings where the speaker has two. A dissimilar pair is of one
    set, since between sets the channel would give the answer away.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.home = self.crops.corpus.set_of_speaker
        self.members = {name: np.flatnonzero(np.array(self.home) == name) for name in set(self.home)}
        several = np.array([len(r) > 1 for r in self.crops.of_speaker])
        self.similar = self.weights * several if several.any() else self.weights
        self.similar = self.similar / self.similar.sum()
        self.dissimilar = self.weights * [len(self.members[name]) > 1 for name in self.home]
        if self.dissimilar.sum() == 0:
            raise ValueError(
                "no set of the corpus has two speakers: there is no dissimilar pair to learn from"
            )
        self.dissimilar = self.dissimilar / self.dissimilar.sum()

    def __getitem__(
        self, index: int
    ) -> tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
        rng = self.generator(index)
        same = (np.arange(self.batch) % 2 == 0).astype(np.float32)
        pairs = [self._similar(rng) if s else self._dissimilar(rng) for s in same]
        left, right = (np.stack(side) for side in zip(*pairs, strict=True))
        return (left, right), same

    def _similar(self, rng: np.random.Generator) -> tuple[Waveform, Waveform]:
        recordings = self.crops.of_speaker[rng.choice(len(self.weights), p=self.similar)]
        one, other = rng.choice(recordings, 2, replace=len(recordings) < 2)
        factor = self.crops.speeds[rng.integers(len(self.crops.speeds))]
        return self.crops.crop(int(one), factor, rng), self.crops.crop(int(other), factor, rng)

    def _dissimilar(self, rng: np.random.Generator) -> tuple[Waveform, Waveform]:
        one = int(rng.choice(len(self.weights), p=self.dissimilar))
        others = self.members[self.home[one]]
        other = int(rng.choice(others[others != one]))
        return self.crops.draw(one, rng), self.crops.draw(other, rng)

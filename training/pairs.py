"""What a network sees: crops of speakers in balanced batches, or pairs of crops."""

import math
from collections.abc import Callable, Sequence
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
        count = len(corpus.speaker_ids)
        seconds = np.bincount(corpus.speakers, corpus.lengths, minlength=count) / SAMPLE_RATE_HZ
        return self.of_speakers(np.bincount(corpus.speakers, minlength=count), seconds, corpus.set_of_speaker)

    def of_recordings(self, corpus: Corpus) -> npt.NDArray[np.float64]:
        """Probability of each recording, blind to its speaker: (recordings,), sums to 1."""
        names, sets = np.unique(corpus.sets, return_inverse=True)
        share = np.bincount(sets, corpus.lengths, minlength=len(names)) ** self.hours
        weight = (share / np.bincount(sets))[sets]
        return np.asarray(weight / weight.sum())

    def of_speakers(
        self, clips: npt.ArrayLike, seconds: npt.ArrayLike, sets: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """The same from each speaker's number of clips, seconds and set."""
        names, hours = np.array(sets), np.asarray(seconds) / 3600
        powers = np.asarray(clips) ** self.clips
        weight = np.zeros(len(names))
        for name in set(sets):
            inside = names == name
            share = hours[inside].sum() ** self.hours * inside.sum() ** self.speakers
            weight[inside] = share * powers[inside] / powers[inside].sum()
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

    def of_class(self, label: int) -> tuple[npt.NDArray[np.intp], float]:
        """Recordings and speed of class `label` = speed number * speakers + speaker number."""
        speed_number, speaker = divmod(label, len(self.of_speaker))
        return self.of_speaker[speaker], self.speeds[speed_number]

    def draw(self, label: int, rng: np.random.Generator) -> Waveform:
        """One crop of a class."""
        recordings, factor = self.of_class(label)
        return self.crop(int(recordings[rng.integers(len(recordings))]), factor, rng)

    def draw_several(self, label: int, count: int, rng: np.random.Generator) -> list[Waveform]:
        """`count` crops of a class, of different recordings as far as the speaker has them."""
        recordings, factor = self.of_class(label)
        drawn = np.resize(rng.permutation(recordings), count)
        return [self.crop(int(recording), factor, rng) for recording in drawn]

    def crop(self, recording: int, factor: float, rng: np.random.Generator) -> Waveform:
        """One crop of one recording, sped up by `factor` and augmented: float32 (samples,)."""
        length = math.ceil(self.length * factor)
        waveform = speed(self.corpus.crop(recording, length, rng), factor, self.length)
        return waveform if self.augmenter is None else self.augmenter(waveform, rng)


def voices_of(corpus: Corpus) -> Callable[[int, np.random.Generator], Waveform]:
    """Random crops of any speaker of a corpus, for babble."""
    return lambda length, rng: corpus.crop(int(rng.integers(len(corpus))), length, rng)


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
        self.balance, self.weights = balance, balance.weights(crops.corpus)
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def weights_of_several(self) -> npt.NDArray[np.float64]:
        """The weights of the speakers with several recordings, sum 1; of all when nobody has several."""
        several = np.array([len(recordings) > 1 for recordings in self.crops.of_speaker])
        weights = self.weights * several if several.any() else self.weights
        return np.asarray(weights / weights.sum())

    def generator(self, index: int) -> np.random.Generator:
        """The source of chance of one batch of the epoch."""
        return np.random.default_rng((self.seed, self.epoch, index))


class RecordingBatches(Batches):
    """Batches of (waveforms float32 (batch, samples), zeros (batch,)), drawn without speaker labels.

    A recording is drawn by its set, as a power of the set's hours, and is of one weight inside it.

    Args:
        views: Crops of each recording, each changed in its own way; with 2 the batch's input is a pair
            of arrays.
    """

    def __init__(self, *args: Any, views: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.views = views
        self.recording_weights = self.balance.of_recordings(self.crops.corpus)

    def __getitem__(self, index: int) -> tuple[Any, npt.NDArray[np.float32]]:
        rng = self.generator(index)
        drawn = rng.choice(len(self.recording_weights), self.batch, p=self.recording_weights)
        sides = [
            np.stack([self.crops.crop(int(recording), 1.0, rng) for recording in drawn])
            for _ in range(self.views)
        ]
        return sides[0] if self.views == 1 else tuple(sides), np.zeros(self.batch, np.float32)


class SpeakerBatches(Batches):
    """Batches of (waveforms float32 (batch, samples), classes int64 (batch,)), balanced.

    Args:
        per_speaker: Crops of each drawn speaker; `batch` is a multiple of it.
        together: Speakers that are drawn from one set, at one speed, so that a batch holds
            impostors whom the channel does not give away; 1 draws every speaker by itself.
    """

    def __init__(self, *args: Any, per_speaker: int = 1, together: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.batch % (per_speaker * together):
            raise ValueError(f"a batch of {self.batch} is no multiple of {per_speaker} x {together}")
        self.per_speaker, self.together = per_speaker, together
        names, self.homes = np.unique(self.crops.corpus.set_of_speaker, return_inverse=True)
        if per_speaker > 1:
            self.weights = self.weights_of_several()
        self.of_set = np.bincount(self.homes, self.weights, minlength=len(names))

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Any]:
        rng = self.generator(index)
        labels = self._speakers(self.batch // self.per_speaker, rng)
        crops = [crop for label in labels for crop in self.crops.draw_several(label, self.per_speaker, rng)]
        return np.stack(crops), np.repeat(labels, self.per_speaker)

    def _speakers(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Classes of a batch: (count,)."""
        speeds = len(self.crops.speeds)
        if self.together == 1:
            drawn = rng.choice(len(self.weights), count, replace=False, p=self.weights)
            return np.asarray(drawn + len(self.weights) * rng.integers(speeds, size=count))
        groups = []
        for home in rng.choice(len(self.of_set), count // self.together, p=self.of_set):
            members = np.flatnonzero((self.homes == home) & (self.weights > 0))
            weights = self.weights[members] / self.weights[members].sum()
            # A set with fewer speakers gives some twice; the loss takes both as one speaker.
            drawn = rng.choice(members, self.together, replace=len(members) < self.together, p=weights)
            groups.append(drawn + len(self.weights) * rng.integers(speeds))
        return np.concatenate(groups)


class ImpostorBatches(SpeakerBatches):
    """The same batches for both losses: targets are `speakers` (batch,) and `embedding` (batch, 2).

    The second says class and set of each crop, as `PrototypicalLoss` takes them.
    """

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.int64]]]:
        waveforms, labels = super().__getitem__(index)
        homes = self.homes[labels % len(self.weights)]
        return waveforms, {"speakers": labels, "embedding": np.stack([labels, homes], axis=1)}


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
        self.similar = self.weights_of_several()
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

"""What a network sees when the corpus is a folder of shards: batches of a stream that is shuffled."""

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np
import numpy.typing as npt
from webdataset.filters import shuffle

from training.augment import Augmenter
from training.corpus import Silence, corpus_of, samples_of
from training.pairs import Balance, Crops, voices_of
from training.shards import Clip, ShardIndex, read_shards

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

BUFFER = 2000
"""Compressed recordings that a reader shuffles; about 100 MB of VoxCeleb."""


class ShardedCrops:
    """Where crops come from: `training.pairs.Crops`, for a folder of shards.

    Args:
        index: The shards.
        augmenter: Changes each crop; the voices that it mixes in are those of the batch.
        crop_s: Length of a crop, in seconds.
        speeds: Playing speeds; each makes new speakers.
        silence: Splits silence off when given.
    """

    def __init__(
        self,
        index: ShardIndex,
        augmenter: Augmenter | None,
        crop_s: float,
        speeds: tuple[float, ...] = (1.0,),
        silence: Silence | None = None,
    ) -> None:
        self.index, self.augmenter, self.silence = index, augmenter, silence
        self.crop_s, self.speeds = crop_s, speeds
        self.label = {speaker.speaker_id: number for number, speaker in enumerate(index.speakers)}

    @property
    def classes(self) -> int:
        """Speakers times speeds."""
        return len(self.label) * len(self.speeds)

    def batch(self, clips: list[Clip], rng: np.random.Generator) -> Batch:
        """One crop of each recording: (waveforms float32 (clips, samples), classes int64 (clips,)).

        The recordings in hand become a corpus, so that the cropping is that of any corpus.
        """
        pcm = [samples_of(clip.audio, self.silence) for clip in clips]
        rows = [(c.utterance_id, c.speaker_id, c.set_name, len(p)) for c, p in zip(clips, pcm, strict=True)]
        corpus = corpus_of(np.concatenate(pcm), rows)
        augmenter = self.augmenter and self.augmenter.among(voices_of(corpus))
        crops = Crops(corpus, augmenter, self.crop_s, self.speeds)
        speeds = rng.integers(len(self.speeds), size=len(clips))
        waveforms = [crops.crop(i, self.speeds[number], rng) for i, number in enumerate(speeds)]
        labels = np.array([self.label[clip.speaker_id] for clip in clips], np.int64)
        return np.stack(waveforms), labels + len(self.label) * speeds


class ShardedBatches(keras.utils.PyDataset):
    """Batches of (waveforms float32 (batch, samples), classes int64 (batch,)) out of a folder of shards.

    Several readers each stream shards of their own, in an order drawn for the epoch, through a shuffle
    buffer of compressed recordings; they take turns in giving a batch. Memory is the buffers and the
    speakers' table, however large the corpus. A recording passes as often as the balance wants its
    speaker: some several times, some only in every few epochs.

    Batches follow from the seed, the epoch and the number of readers, so a run that is resumed at an
    epoch sees what it would have seen, provided that somebody sets `epoch` at each epoch's begin.

    Args:
        crops: Where crops come from.
        balance: How often each speaker is drawn.
        batch: Crops in a batch.
        steps: Batches in an epoch; shards begin anew when they are read through before its end.
        seed: Of the order and of the augmentation.
        readers: Threads that read, decode and augment.
        buffer: Recordings in each reader's shuffle buffer.
        part: (number, count) of the process among those that share the shards.
    """

    def __init__(
        self,
        crops: ShardedCrops,
        balance: Balance,
        batch: int,
        steps: int,
        seed: int = 0,
        readers: int = 2,
        buffer: int = BUFFER,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(workers=0)  # the readers are the workers; Keras asks for one batch after the other
        self.crops, self.batch, self.steps, self.seed = crops, batch, steps, seed
        self.buffer, self.part = buffer, part
        index = crops.index
        self.files = [index.folder / name for name in index.files[part[0] :: part[1]]]
        if not self.files:
            raise ValueError(
                f"{len(index.files)} shards are too few for {part[1]} processes; write smaller ones"
            )
        self.readers = min(readers, len(self.files))
        clips = [speaker.clips for speaker in index.speakers]
        weights = balance.of_speakers(
            clips, [s.seconds for s in index.speakers], [s.set_name for s in index.speakers]
        )
        self.rate = weights / clips * sum(clips)
        """How often a recording of each speaker passes in one reading of all shards."""
        self.epoch = 0
        self._next: tuple[int, int] | None = None
        self._streams: list[Iterator[Batch]] = []
        self._ahead: list[Future[Batch]] = []
        self._threads = ThreadPoolExecutor(self.readers, thread_name_prefix="shards")

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        if self._next != (self.epoch, index):  # a new epoch, or Keras that looks at the first batches
            self._restart()
            for passed in range(index):
                self._take(passed)
        batch = self._take(index)
        self._next = (self.epoch, index + 1)
        return batch

    def close(self) -> None:
        """Stops the readers; the next batch that is asked for starts them again."""
        for future in self._ahead:
            if not future.cancel():
                future.exception()  # waits for a batch that is being made
        self._ahead, self._streams, self._next = [], [], None

    def _restart(self) -> None:
        self.close()
        self._streams = [self._stream(reader) for reader in range(self.readers)]
        self._ahead = [self._threads.submit(next, stream) for stream in self._streams]

    def _take(self, index: int) -> Batch:
        """The next batch of the reader whose turn it is; it goes on to the one after at once."""
        reader = index % self.readers
        batch = self._ahead[reader].result()
        self._ahead[reader] = self._threads.submit(next, self._streams[reader])
        return batch

    def _stream(self, reader: int) -> Iterator[Batch]:
        """Endless batches of one reader."""
        rng = np.random.default_rng((self.seed, self.epoch, self.part[0], reader))
        mixed = shuffle(self.buffer, initial=self.buffer, rng=random.Random(int(rng.integers(2**32))))
        clips = mixed(self._passes(reader, np.random.default_rng(rng.integers(2**32))))
        while True:
            yield self.crops.batch(list(itertools.islice(clips, self.batch)), rng)

    def _passes(self, reader: int, rng: np.random.Generator) -> Iterator[Clip]:
        """The recordings of a reader's shards, over and over, each as often as the balance wants it."""
        shared = np.random.default_rng((self.seed, self.epoch, self.part[0]))
        order = shared.permutation(len(self.files))[reader :: self.readers]
        while True:
            passed = 0
            for clip in read_shards(self.files[number] for number in rng.permutation(order)):
                label = self.crops.label.get(clip.speaker_id)  # None for a speaker who is kept aside
                if label is not None:
                    times = int(self.rate[label] + rng.random())
                    passed += 1
                    yield from itertools.repeat(clip, times)
            if not passed:
                raise ValueError("some shards hold only speakers who are kept aside; write larger ones")

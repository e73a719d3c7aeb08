"""Speakers as the Siamese network on spectrograms hears them: one timeline each, and pairs of its windows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from training.corpus import Corpus, corpus_of
from training.pairs import Batches

Speakers = npt.NDArray[np.int64]
"""Numbers of speakers."""


def by_speech(corpus: Corpus) -> Speakers:
    """Every speaker of a corpus, who has most speech first: (speakers,)."""
    spoken = np.bincount(corpus.speakers, corpus.lengths, minlength=len(corpus.speaker_ids))
    return np.argsort(-spoken, kind="stable")


def timelines(corpus: Corpus, speakers: Speakers, begin: float = 0.0, end: float = 1.0) -> Corpus:
    """Each speaker's recordings joined in the corpus's order, and of that the stretch between two shares.

    Args:
        corpus: The recordings.
        speakers: Whose; they are numbered anew, by their labels.
        begin: Share of each speaker's time at which the stretch begins.
        end: Share at which it ends.

    Returns:
        A corpus of one recording a speaker, named by the speaker.
    """
    home, stretches, rows = corpus.set_of_speaker, [], []
    for speaker in speakers:
        own = np.flatnonzero(corpus.speakers == speaker)
        spans = zip(corpus.offsets[own], corpus.lengths[own], strict=True)
        joined = np.concatenate([corpus.samples[start : start + length] for start, length in spans])
        stretch = joined[round(begin * len(joined)) : round(end * len(joined))]
        name = corpus.speaker_ids[speaker]
        stretches.append(stretch)
        rows.append((name, name, home[speaker], len(stretch)))
    return corpus_of(np.concatenate(stretches), rows)


def pairs_of_all(speakers: int, similar: int, dissimilar: int) -> tuple[int, int]:
    """Similar and dissimilar pairs of a full epoch.

    Args:
        speakers: How many there are.
        similar: Pairs of each speaker with itself.
        dissimilar: Pairs of each two speakers.
    """
    return similar * speakers, dissimilar * speakers * (speakers - 1) // 2


def draw_pairs(
    speakers: int, count: int, similar: int, dissimilar: int, rng: np.random.Generator
) -> Speakers:
    """The speakers of `count` pairs in random order: (count, 2).

    Similar and dissimilar pairs stand to each other as in a full epoch, and each speaker and each two
    speakers have as many as any other, but for one. A full epoch is met exactly.
    """
    own = np.repeat(np.arange(speakers)[:, None], 2, axis=1)
    others = np.stack(np.triu_indices(speakers, 1), axis=1)
    full = pairs_of_all(speakers, similar, dissimilar)
    of_one = round(count * full[0] / sum(full))
    drawn = [
        np.resize(rng.permutation(own), (of_one, 2)),
        np.resize(rng.permutation(others), (count - of_one, 2)),
    ]
    return np.asarray(rng.permutation(np.concatenate(drawn)), np.int64)


class TimelinePairs(Batches):
    """Batches of (waveforms float32 (2 * batch, samples), {"distance": same float32 (batch,)}).

    Rows 2i and 2i + 1 are a pair, and `same` is 1 where one speaker is in both. Windows stand at random
    places of the timelines. The pairs are drawn anew for each epoch.

    Args:
        similar: Pairs of each speaker with itself in a full epoch.
        dissimilar: Pairs of each two speakers in a full epoch.
    """

    def __init__(self, *args: Any, similar: int, dissimilar: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.similar, self.dissimilar = similar, dissimilar
        if len(self.crops.of_speaker) < 2:
            raise ValueError("a dissimilar pair needs two speakers")

    def pairs(self) -> Speakers:
        """The speakers of every pair of the epoch: (steps * batch, 2)."""
        rng = self.generator(self.steps)  # no batch has that number
        count = self.steps * self.batch
        return draw_pairs(len(self.crops.of_speaker), count, self.similar, self.dissimilar, rng)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]:
        rng = self.generator(index)
        pairs = self.pairs()[index * self.batch : (index + 1) * self.batch]
        waveforms = np.stack([self.crops.draw(int(speaker), rng) for speaker in pairs.ravel()])
        return waveforms, {"distance": (pairs[:, 0] == pairs[:, 1]).astype(np.float32)}

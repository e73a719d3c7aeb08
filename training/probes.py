"""What embeddings know of speakers, beyond what their cosine says: distances and a linear probe."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

from app.arrays import Embeddings
from app.scoring.rates import Floats
from training.corpus import Source, place_of

LEAST_TAKES, MOST_TAKES = 4, 6
"""Recordings of a speaker of the linear probe; every third is held out."""
MOST_DIMENSIONS: Final = 256
"""Longer embeddings are brought to this length by their principal components before the probe."""
SHRINKAGE: Final = 0.1
"""Share of the spread inside speakers that is taken as alike in all directions; the same for every method."""


def distances(scores: Floats) -> Floats:
    """Euclidean distances of unit vectors from their cosines, in [0, 2]."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * scores, 0.0)))


def distance_figures(scores: Floats, labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Mean Euclidean distance of the trials of each kind, and how far apart the two kinds are.

    Args:
        scores: float64 (trials,), cosines.
        labels: int64 (trials,), 1 = one speaker.

    Returns:
        `same` and `different`, means in [0, 2]; `separation`, d': their difference in units of the root of
        the mean of both variances; 0 where nothing varies.
    """
    found = distances(scores)
    same, different = found[labels == 1], found[labels == 0]
    spread = float(np.sqrt((same.var() + different.var()) / 2))
    gap = float(different.mean() - same.mean())
    return {
        "same": float(same.mean()),
        "different": float(different.mean()),
        "separation": gap / spread if spread > 0 else 0.0,
    }


@dataclass(frozen=True)
class Takes:
    """Recordings of the speakers of a linear probe.

    Attributes:
        sources: All of them.
        held_out: bool (recordings,), those that the probe does not see.
    """

    sources: Sequence[Source]
    held_out: npt.NDArray[np.bool_]

    @property
    def speakers(self) -> npt.NDArray[np.str_]:
        """Who speaks in each recording."""
        return np.array([source.speaker_id for source in self.sources], np.str_)

    @property
    def chance(self) -> float:
        """Share of the recordings that a guess names rightly."""
        return 1 / len({source.speaker_id for source in self.sources})

    def among(self, heard: Sequence[Source]) -> "Takes":
        """Without the recordings that were refused, and without speakers of whom none is held out then.

        Raises:
            ValueError: Fewer than two speakers are left.
        """
        names = {source.utterance_id for source in heard}
        known = np.array([source.utterance_id in names for source in self.sources])
        speakers = self.speakers
        usable = set(speakers[known & self.held_out]) & set(speakers[known & ~self.held_out])
        keep = known & np.isin(speakers, sorted(usable))
        if len(usable) < 2:
            raise ValueError(f"a linear probe needs 2 speakers with {LEAST_TAKES} recordings each")
        return Takes([s for s, kept in zip(self.sources, keep, strict=True) if kept], self.held_out[keep])


def probe_takes(sources: Sequence[Source], most_speakers: int) -> Takes:
    """Chooses speakers and recordings by their labels alone, so that every run chooses the same ones.

    Args:
        sources: Recordings of the training split.
        most_speakers: Speakers of the probe; those with fewer than `LEAST_TAKES` recordings are none.
    """
    by_speaker: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        by_speaker[source.speaker_id].append(source)
    usable = [speaker for speaker, takes in by_speaker.items() if len(takes) >= LEAST_TAKES]
    chosen: list[Source] = []
    held_out: list[bool] = []
    for speaker in sorted(usable, key=lambda name: (place_of(name), name))[:most_speakers]:
        takes = sorted(by_speaker[speaker], key=lambda source: place_of(source.utterance_id))[:MOST_TAKES]
        chosen += takes
        held_out += [number % 3 == 2 for number in range(len(takes))]
    return Takes(chosen, np.array(held_out, np.bool_))


class LinearProbe:
    """Linear discriminants of speakers over frozen embeddings.

    Principal components where the embedding is long, then the directions that tell the speakers apart in
    units of the spread inside speakers. The covariance is shrunk by a fixed share: each speaker has too few
    recordings to estimate one.

    Args:
        embeddings: float32 (recordings, dim).
        speakers: (recordings,), who speaks in each.

    Source: R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """

    def __init__(self, embeddings: Embeddings, speakers: npt.NDArray[np.str_]) -> None:
        dimensions = min(MOST_DIMENSIONS, embeddings.shape[1], len(embeddings) - 1)
        self.steps: Pipeline = make_pipeline(
            PCA(dimensions, svd_solver="full"),
            LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE),
        )
        # Threads of the linear algebra wait for each other far longer than matrices so small take.
        with threadpool_limits(1):
            self.steps.fit(embeddings.astype(np.float64), speakers)

    def project(self, embeddings: Embeddings) -> Embeddings:
        """Discriminants, of unit length, to be compared by cosine: float32 (recordings, dimensions)."""
        found = self.steps.transform(embeddings.astype(np.float64))
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)

    def accuracy(self, embeddings: Embeddings, speakers: npt.NDArray[np.str_]) -> float:
        """Share of recordings whose speaker, one of those fitted, is named rightly; in [0, 1]."""
        return float(np.mean(self.steps.predict(embeddings.astype(np.float64)) == speakers))

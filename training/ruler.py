"""The ruler of the methods: trials, speakers of the linear probe, and what embeddings are worth by them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from app.arrays import Embeddings
from app.scoring.rates import Floats, equal_error_rate
from training.baseline import standardised
from training.corpus import read_sources
from training.figures import Row
from training.heard import Heard, hear
from training.metrics import Trials, min_dcf
from training.plots import Scored
from training.probes import LinearProbe, Takes, distance_figures, distances, probe_takes
from training.scored import cosines, sources_of

BINS: Final = 50
"""Of the histograms of distances, which reach from 0 to 2."""


@dataclass(frozen=True)
class Ruler:
    """The trials and the speakers by which every method is measured.

    Attributes:
        dev: Recordings of the trials.
        pairs: By set: places of both recordings of each trial in `dev`, and the labels.
        train: Recordings of the linear probe's speakers.
        takes: Those of them that the probe uses, and which are held out.
    """

    dev: Heard
    pairs: Mapping[str, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int64]]]
    train: Heard
    takes: Takes

    @classmethod
    def of(
        cls, corpus: Path, lists: Mapping[str, Trials], speakers: int, cache: Path, threads: int
    ) -> "Ruler":
        """Hears what the trials and the linear probe need.

        Raises:
            ValueError: The corpus lacks recordings of the trials, or speakers for the probe.
        """
        wanted = {name for trials in lists.values() for name in (*trials.enroll, *trials.test)}
        sources = [s for s in sources_of(lists, read_sources(corpus)) if s.utterance_id in wanted]
        takes = probe_takes(read_sources(corpus, "train"), speakers)
        dev, train = (hear(some, cache, threads) for some in (sources, takes.sources))
        place = {source.utterance_id: i for i, source in enumerate(dev.sources)}
        pairs = {}
        for name, trials in sorted(lists.items()):
            known = trials.among(place, place)
            left, right = (np.array([place[u] for u in side]) for side in (known.enroll, known.test))
            pairs[name] = (left, right, known.labels)
        return cls(dev, pairs, train, takes.among(train.sources))

    def scored(self, embeddings: Embeddings) -> dict[str, Scored]:
        """Cosines and labels of every trial by set, of embeddings (recordings of `dev`, dim)."""
        return {
            name: (cosines(embeddings[left], embeddings[right]), labels)
            for name, (left, right, labels) in self.pairs.items()
        }

    def taken(self, embeddings: Embeddings) -> Embeddings:
        """Of embeddings (recordings of `train`, dim), those of `takes`."""
        place = {source.utterance_id: i for i, source in enumerate(self.train.sources)}
        return embeddings[[place[source.utterance_id] for source in self.takes.sources]]

    def mfcc(self) -> tuple[Embeddings, Embeddings]:
        """The baseline in place of embeddings, of `dev` and of `train`; each set has its own mean."""
        sets = [np.unique(np.concatenate([left, right])) for left, right, _ in self.pairs.values()]
        homes = np.array([source.set_name for source in self.train.sources])
        return (
            _by_group(self.dev.statistics, sets),
            _by_group(self.train.statistics, [np.flatnonzero(homes == home) for home in np.unique(homes)]),
        )


def _by_group(statistics: Floats, groups: Iterable[npt.NDArray[np.intp]]) -> Embeddings:
    found = np.zeros(statistics.shape, np.float32)
    for rows in groups:
        found[rows] = standardised(statistics[rows])
    return found


def rates(scored: Mapping[str, Scored]) -> Row:
    """EER and minDCF (p_target 0.01) of every set, and their means over sets."""
    sets = {
        name: {"eer": equal_error_rate(scores, labels), "min_dcf": min_dcf(scores, labels)}
        for name, (scores, labels) in scored.items()
    }
    return {**_mean(sets.values()), "sets": sets}


def distance_row(scored: Mapping[str, Scored]) -> Row:
    """Means over sets of the distance figures, and the histograms of the distances of both kinds of trial."""
    means = _mean([distance_figures(*trials) for trials in scored.values()])
    histogram = {
        word: np.mean(
            [
                np.histogram(distances(scores[labels == label]), BINS, (0, 2), density=True)[0]
                for scores, labels in scored.values()
            ],
            axis=0,
        ).round(4)
        for word, label in (("same", 1), ("different", 0))
    }
    return {**means, "histogram": {word: values.tolist() for word, values in histogram.items()}}


def _mean(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found = list(rows)
    return {key: float(np.mean([row[key] for row in found])) for key in found[0]}


def measured(ruler: Ruler, dev: Embeddings, train: Embeddings) -> Row:
    """What one set of embeddings is worth: frozen by cosine, its distances, and under the linear probe."""
    scored, takes = ruler.scored(dev), ruler.takes
    rows, speakers = ruler.taken(train), takes.speakers
    probe = LinearProbe(rows[~takes.held_out], speakers[~takes.held_out])
    linear = rates(ruler.scored(probe.project(dev)))
    linear["accuracy"] = probe.accuracy(rows[takes.held_out], speakers[takes.held_out])
    return {
        "dimensions": dev.shape[1],
        "frozen": rates(scored),
        "distances": distance_row(scored),
        "linear": linear,
    }

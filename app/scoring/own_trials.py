"""Comparisons of one tenant whose truth is known: confirmed decisions, and the gallery against itself."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.arrays import Embeddings
from app.scoring.intervals import Labels, Names
from app.scoring.rates import Floats
from app.scoring.vectors import centroid

MOST_SPEAKERS: Final = 1000
MOST_TAKES: Final = 5
"""Takes of one speaker that are compared; all of them make the centroid."""
MOST_IMPOSTORS: Final = 20_000


@dataclass(frozen=True)
class OwnTrials:
    """Comparisons whose truth is known; every array has one row for each.

    Attributes:
        labels: int64, 1 = target.
        similarity: float64, cosine.
        enrolled_speech_s: float64, speech behind the speaker's centroid, in seconds.
        speech_s: float64, speech in the recording, in seconds.
        enroll_speakers: Who is enrolled.
        test_speakers: Who spoke; a name of its own for a stranger.
        confirmed: bool, a decision that somebody confirmed, not a comparison inside the gallery.
    """

    labels: Labels
    similarity: Floats
    enrolled_speech_s: Floats
    speech_s: Floats
    enroll_speakers: Names
    test_speakers: Names
    confirmed: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: "Sequence[OwnTrials]") -> "OwnTrials":
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @property
    def speakers(self) -> int:
        """Voices among whom there are target trials."""
        return len(np.unique(self.enroll_speakers[self.labels == 1]))


@dataclass(frozen=True)
class Takes:
    """Recordings that make up a gallery; every array has one row for each.

    Attributes:
        speakers: Who.
        embeddings: float32 (takes, dim), unit length.
        speech_s: float64 (takes,), in seconds.
    """

    speakers: Names
    embeddings: Embeddings
    speech_s: Floats


def gallery_trials(takes: Takes, required_s: float, seed: int = 0) -> OwnTrials:
    """Every take against the gallery: the speaker's other takes are targets, the other speakers impostors.

    At most `MOST_SPEAKERS` speakers and `MOST_TAKES` takes of each are compared, and `MOST_IMPOSTORS`
    impostor trials kept, drawn at random.

    Args:
        takes: Of everybody.
        required_s: Speech that makes an enrolment, in seconds. Without the take itself half of it will do
            for a target trial: else a speaker with two takes would hardly have one.
        seed: Of the draws.

    Returns:
        The trials; none at all from an empty gallery.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(takes.speakers)
    names = np.sort(rng.permutation(names)[:MOST_SPEAKERS])
    targets, centroids, seconds, probes = [], [], [], []
    for name in names:
        own = np.flatnonzero(takes.speakers == name)
        compared = rng.permutation(own)[:MOST_TAKES]
        probes.append(compared)
        centroids.append(centroid(takes.embeddings[own], takes.speech_s[own]))
        seconds.append(float(takes.speech_s[own].sum()))
        for one in compared:
            rest = own[own != one]
            rest_s = float(takes.speech_s[rest].sum())
            if len(rest) and rest_s >= required_s / 2:
                mean = centroid(takes.embeddings[rest], takes.speech_s[rest])
                targets.append((float(mean @ takes.embeddings[one]), rest_s, one))
    return OwnTrials.joined(
        [
            _targets(takes, targets),
            _impostors(takes, names, np.array(seconds), centroids, probes, required_s, rng),
        ]
    )


def _targets(takes: Takes, found: Sequence[tuple[float, float, int]]) -> OwnTrials:
    similarity, rest_s, places = np.array(found, np.float64).reshape(-1, 3).T
    tested = places.astype(np.int64)
    return _compared(takes, tested, takes.speakers[tested], similarity, rest_s, label=1)


def _impostors(
    takes: Takes, names: Names, seconds: Floats, centroids: Sequence[Any], probes: Sequence[Any],
    required_s: float, rng: np.random.Generator,
) -> OwnTrials:  # fmt: skip
    enrolled = np.flatnonzero(seconds >= required_s)
    tested = np.concatenate(probes) if probes else np.zeros(0, np.int64)
    if not len(enrolled) or not len(tested):
        return _compared(takes, tested[:0], names[:0], np.zeros(0), np.zeros(0), label=0)
    others = np.flatnonzero(takes.speakers[tested][:, None] != names[enrolled][None])
    if len(others) > MOST_IMPOSTORS:
        others = np.sort(rng.choice(others, MOST_IMPOSTORS, replace=False, shuffle=False))
    rows, columns = np.divmod(others, len(enrolled))
    left, right = takes.embeddings[tested[rows]], np.stack(centroids)[enrolled[columns]]
    similarity = np.asarray(np.sum(left * right, axis=1, dtype=np.float64))
    return _compared(
        takes, tested[rows], names[enrolled[columns]], similarity, seconds[enrolled[columns]], label=0
    )


def _compared(
    takes: Takes, tested: npt.NDArray[np.int64], enrolled: Names,
    similarity: Floats, enrolled_s: Floats, *, label: int,
) -> OwnTrials:  # fmt: skip
    return OwnTrials(
        labels=np.full(len(tested), label),
        similarity=similarity,
        enrolled_speech_s=enrolled_s,
        speech_s=takes.speech_s[tested],
        enroll_speakers=enrolled,
        test_speakers=takes.speakers[tested],
        confirmed=np.zeros(len(tested), bool),
    )

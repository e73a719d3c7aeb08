"""Embeddings → similarity: directions, centroids, cosines, distances."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.arrays import Embedding, Embeddings

_VANISHING: Final = 1e-6
"""A vector shorter than this has no direction left that float32 embeddings could vouch for."""


class Candidate(NamedTuple):
    """A speaker who may be the voice.

    Attributes:
        speaker_id: Who.
        score: Log-likelihood ratio of "the same voice" to "another voice", natural log.
        similarity: Cosine to the speaker's centroid, in [-1, 1].
        speaker_key: The number under which the speaker is stored.
        enrolled_speech_s: Speech behind the centroid, in seconds.
    """

    speaker_id: str
    score: float
    similarity: float
    speaker_key: int = 0
    enrolled_speech_s: float = 0.0


def unit(vector: npt.ArrayLike) -> Embedding:
    """Scales a vector to unit Euclidean length.

    Args:
        vector: Shape (dim,), finite, not zero.

    Returns:
        float32, shape (dim,), length 1.

    Raises:
        ValueError: The vector is not one-dimensional, not finite or has no direction.
    """
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if values.ndim != 1 or not np.isfinite(length) or length == 0.0:
        raise ValueError("only a finite vector other than zero, shape (dim,), has a direction")
    return (values / length).astype(np.float32)


def centroid(embeddings: Embeddings, weights: npt.ArrayLike | None = None) -> Embedding:
    """The direction of the weighted mean of embeddings: what stands for a speaker.

    Each embedding counts with unit length, so a loud direction cannot outvote the others.
    Embeddings that cancel each other out have no mean direction; then the one with the
    greatest weight stands (the first of equals), so that every set of takes has a centroid.

    Args:
        embeddings: float32, shape (count, dim), count at least 1.
        weights: Shape (count,), above 0: seconds of speech. None counts all alike.

    Returns:
        float32, shape (dim,), unit length.

    Raises:
        ValueError: No embeddings, shapes that do not fit, or weights that are not above 0.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError("a centroid needs embeddings of shape (count, dim), at least one")
    share = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(rows),) or not np.all((share > 0) & np.isfinite(share)):
        raise ValueError("a centroid needs one weight above 0 for each embedding")
    units = np.stack([unit(row) for row in rows]).astype(np.float64)
    mean = (share / share.sum()) @ units
    return unit(mean if np.linalg.norm(mean) > _VANISHING else units[int(np.argmax(share))])


def cosine(a: Embedding, b: Embedding) -> float:
    """Similarity of two embeddings: the cosine of the angle between them, in [-1, 1].

    Raises:
        ValueError: The shapes differ, or one of them has no direction.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"embeddings of shapes {np.shape(a)} and {np.shape(b)} cannot be compared")
    return float(np.clip(np.dot(unit(a).astype(np.float64), unit(b).astype(np.float64)), -1.0, 1.0))


def distance(a: Embedding, b: Embedding) -> float:
    """Euclidean distance of two embeddings at unit length, in [0, 2]: sqrt(2 - 2 cosine).

    Taken from the difference, since near a cosine of 1 that root has few digits left.

    Raises:
        ValueError: The shapes differ, or one of them has no direction.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"embeddings of shapes {np.shape(a)} and {np.shape(b)} cannot be compared")
    return min(float(np.linalg.norm(unit(a).astype(np.float64) - unit(b).astype(np.float64))), 2.0)

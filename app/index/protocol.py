"""What the service asks of a search index, whichever engine stands behind it."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from app.arrays import Embedding, Embeddings

Keys = npt.NDArray[np.int64]
"""int64, shape (count,): the never reused `speakers.key` of the store."""


class Partition(NamedTuple):
    """One searchable gallery: embeddings of different tenants or models never meet."""

    tenant_id: str
    model_id: str


class SpeakerIndex(Protocol):
    """A cache of one centroid per speaker; SQL stays the truth.

    Every method may be called from any thread. A partition that was never written is empty.
    """

    def upsert(self, partition: Partition, keys: Keys, embeddings: Embeddings) -> None:
        """Puts each key's centroid, in the place of the one it had.

        Args:
            partition: The gallery.
            keys: int64, shape (count,). Where a key stands twice the last one counts.
            embeddings: float32, shape (count, dim), unit length.

        Raises:
            ValueError: The shapes do not fit each other or the partition's dimension.
        """

    def erase(self, partition: Partition, keys: Keys) -> None:
        """Removes the rows of these keys; keys that are not there do no harm."""

    def search(
        self, partition: Partition, embedding: Embedding, top_k: int, allowed_keys: Keys | None = None
    ) -> list[tuple[int, float]]:
        """Finds the nearest centroids.

        Args:
            partition: The gallery.
            embedding: float32, shape (dim,), unit length.
            top_k: Most results, at least 1.
            allowed_keys: Only these are candidates; filtered before the search, so that
                top_k counts allowed speakers only. None allows all.

        Returns:
            (key, similarity) with cosine similarity in [-1, 1], best first, equal ones by key.

        Raises:
            ValueError: The dimension is not the partition's, or top_k is below 1.
        """

    def count(self, partition: Partition) -> int:
        """Number of speakers in the partition."""

    def clear(self, partition: Partition) -> None:
        """Empties the partition; the next upsert may bring another dimension."""

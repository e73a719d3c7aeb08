"""The embedded index: an exact FAISS scan over unit vectors, one flat index per partition."""

import threading
from typing import Any, Final

import faiss
import numpy as np

from app.arrays import Embedding, Embeddings
from app.index.protocol import Keys, Partition

_SEARCH_THREADS: Final = 1
"""A search holds one query and runs beside others: a second thread per search only takes a core away."""


class _Rows:
    """One partition: a flat inner-product index that knows its rows by key, behind one lock."""

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self.index: Any = None

    def count(self) -> int:
        return 0 if self.index is None else int(self.index.ntotal)

    def check_dim(self, dim: int) -> None:
        if self.index is not None and self.index.d != dim:
            raise ValueError(f"the partition holds embeddings of {self.index.d} values, these have {dim}")


class FaissIndex:
    """SpeakerIndex on faiss-cpu: exact, in memory, rebuilt from SQL, never persisted.

    IndexFlat moves the last rows together when one is removed, so an erased embedding is
    out of the searched matrix, unlike the tombstones of a graph index. A removal at
    100,000 speakers of 192 values costs 2.5 ms.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.RLock()
        self._partitions: Final[dict[Partition, _Rows]] = {}

    def upsert(self, partition: Partition, keys: Keys, embeddings: Embeddings) -> None:
        """See SpeakerIndex.upsert."""
        keys = np.ascontiguousarray(keys, dtype=np.int64)
        embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
        if keys.ndim != 1 or embeddings.ndim != 2 or len(keys) != len(embeddings):
            raise ValueError(f"keys {keys.shape} and embeddings {embeddings.shape} do not belong together")
        if not len(keys):
            return
        # FAISS would keep both rows of a repeated key; the first seen from the end is the last given.
        last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        if len(last) < len(keys):
            keys, embeddings = keys[last], np.ascontiguousarray(embeddings[last])
        rows = self._rows(partition)
        with rows.lock:
            rows.check_dim(embeddings.shape[1])
            if rows.index is None:
                rows.index = faiss.IndexIDMap2(faiss.IndexFlatIP(embeddings.shape[1]))
            if rows.count():
                rows.index.remove_ids(keys)
            rows.index.add_with_ids(embeddings, keys)

    def erase(self, partition: Partition, keys: Keys) -> None:
        """See SpeakerIndex.erase."""
        keys = np.ascontiguousarray(keys, dtype=np.int64)
        rows = self._rows(partition)
        with rows.lock:
            if len(keys) and rows.count():
                rows.index.remove_ids(keys)

    def search(
        self, partition: Partition, embedding: Embedding, top_k: int, allowed_keys: Keys | None = None
    ) -> list[tuple[int, float]]:
        """See SpeakerIndex.search."""
        if top_k < 1:
            raise ValueError("top_k must be at least 1")
        query = np.ascontiguousarray(embedding, dtype=np.float32).reshape(1, -1)
        rows = self._rows(partition)
        with rows.lock:
            rows.check_dim(query.shape[1])
            if not rows.count() or (allowed_keys is not None and not len(allowed_keys)):
                return []
            # OpenMP keeps this number per calling thread, so setting it once at start would not do.
            faiss.omp_set_num_threads(_SEARCH_THREADS)
            similarities, found = rows.index.search(
                query, min(top_k, rows.count()), params=_parameters(allowed_keys)
            )
        hits = [
            (int(key), max(-1.0, min(1.0, float(similarity))))
            for key, similarity in zip(found[0], similarities[0], strict=True)
            if key >= 0  # FAISS fills up with -1 when fewer are allowed
        ]
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))

    def count(self, partition: Partition) -> int:
        """See SpeakerIndex.count."""
        rows = self._rows(partition)
        with rows.lock:
            return rows.count()

    def clear(self, partition: Partition) -> None:
        """See SpeakerIndex.clear."""
        rows = self._rows(partition)
        with rows.lock:
            rows.index = None

    def _rows(self, partition: Partition) -> _Rows:
        with self._lock:
            return self._partitions.setdefault(partition, _Rows())


def _parameters(allowed_keys: Keys | None) -> Any:
    """Search parameters with the filter inside; the batch selector asks a Bloom filter first."""
    if allowed_keys is None:
        return None
    parameters: Any = faiss.SearchParameters  # its keyword arguments exist at run time only
    return parameters(sel=faiss.IDSelectorBatch(np.ascontiguousarray(allowed_keys, np.int64)))

"""Search over centroids: a rebuildable cache in front of SQL."""

from app.index.faiss import FaissIndex
from app.index.protocol import Keys, Partition, SpeakerIndex

__all__ = ["FaissIndex", "Keys", "Partition", "SpeakerIndex"]

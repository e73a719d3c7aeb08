"""The galleries: one for each tenant and model that was asked for, all on one index."""

import threading
from typing import Final

from app.index import Partition, SpeakerIndex
from app.service.gallery import Gallery
from app.service.shelf import Serving
from app.store import Repository


class Galleries:
    """Makes galleries and keeps them; safe to share between threads."""

    def __init__(self, repository: Repository, index: SpeakerIndex, required_speech_s: float) -> None:
        """Make none yet.

        Args:
            repository: The truth.
            index: The cache that they all share, a partition for each.
            required_speech_s: Speech that makes a speaker a member, in seconds.
        """
        self._repository: Final = repository
        self._index: Final = index
        self._required_speech_s: Final = required_speech_s
        self._lock: Final = threading.Lock()
        self._made: Final[dict[Partition, Gallery]] = {}

    def of(self, tenant_id: str, serving: Serving) -> Gallery:
        """The gallery of a tenant under a model; a new one fills itself with its first search."""
        partition = Partition(tenant_id, serving.model_id)
        found = self._made.get(partition)
        if found is not None:
            return found
        with self._lock:
            return self._made.setdefault(
                partition, Gallery(self._repository, self._index, partition, self._required_speech_s)
            )

    @property
    def all(self) -> tuple[Gallery, ...]:
        """Every gallery that was asked for."""
        return tuple(self._made.values())

    @property
    def size(self) -> int:
        """Speakers in the index, all tenants and models together."""
        return sum(gallery.size for gallery in self.all)

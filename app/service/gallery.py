"""The gallery: the index kept in step with SQL, and candidates that SQL has confirmed."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.arrays import Embedding
from app.errors import StorageUnavailable
from app.index.protocol import Keys, Partition, SpeakerIndex
from app.scoring import Candidate, ScoreModel, cosine
from app.service.trace import stage
from app.store.records import Change
from app.store.repository import Repository

_ATTEMPTS: Final = 3
"""Searches before an answer, when candidates disappear between the index and SQL."""
_BEYOND: Final = 16
"""Candidates asked of the index beyond those wanted: it orders by similarity, but a score also depends on
how much speech each speaker has enrolled, so the best score need not have the greatest similarity."""


@dataclass(frozen=True)
class Nearest:
    """Candidates by falling score, each as SQL held it a moment ago, and how many were searched."""

    candidates: tuple[Candidate, ...]
    gallery_size: int


class Gallery:
    """One partition of the index beside the SQL that it mirrors.

    Only speakers with enough speech are in it. Every search first takes over what any
    process has committed since, so an enrolment or a deletion is seen at once.
    """

    def __init__(
        self,
        repository: Repository,
        index: SpeakerIndex,
        partition: Partition,
        required_speech_s: float,
    ) -> None:
        """Make an empty gallery; the first `sync` fills it.

        Args:
            repository: The truth.
            index: The cache; this gallery is the only writer of `partition`.
            partition: Tenant and model.
            required_speech_s: Speech that makes a speaker a member, in seconds.
        """
        self._repository: Final = repository
        self._index: Final = index
        self._partition: Final = partition
        self._required_speech_s: Final = required_speech_s
        self._lock: Final = threading.Lock()
        self._keys: set[int] = set()
        self._version = 0
        self._begun = 0
        self._failure: StorageUnavailable | None = None

    @property
    def partition(self) -> Partition:
        """Whose speakers, under which model."""
        return self._partition

    @property
    def size(self) -> int:
        """Speakers in the index."""
        return self._index.count(self._partition)

    def sync(self) -> None:
        """Take over every change committed so far; from nothing, this is the rebuild.

        Whoever comes while another thread asks the database waits for the next round, and all who wait share
        it: were each to ask for itself, they would wait one after the other for a database that is gone.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        come = self._begun  # a round that runs already may have read before what our caller knows of
        with self._lock:
            if self._begun <= come:
                self._round()
            if self._failure is not None:
                raise StorageUnavailable from self._failure

    def follow(self) -> None:
        """Take over what was just committed, if that works: the commit stands either way.

        Other processes follow before their next search, and so does this one if it fails here.
        """
        with suppress(StorageUnavailable):
            self.sync()

    def rebuild(self) -> None:
        """Drop the index and read it from SQL again.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._lock:
            self._forget()
        self.sync()

    def nearest(
        self,
        embedding: Embedding,
        speech_s: float,
        top_k: int,
        score_model: ScoreModel,
        *,
        speaker_ids: Sequence[str] | None = None,
        group: str | None = None,
    ) -> Nearest:
        """Search the gallery, or the part of it that is named, and score the finds against SQL.

        Args:
            embedding: float32, shape (dim,), unit length.
            speech_s: Speech in the recording that it came from, in seconds.
            top_k: Most candidates, at least 1.
            score_model: From similarity and seconds of speech to the score.
            speaker_ids: Only these speakers; ids that nobody has are left out.
            group: Only speakers whose metadata says this group.

        Returns:
            The candidates, best first, and the number of speakers searched.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        for _ in range(_ATTEMPTS):
            self.sync()
            allowed = self._allowed(speaker_ids, group)
            with stage("search"):
                found = self._index.search(self._partition, embedding, top_k + _BEYOND, allowed)
            candidates = self._confirmed(embedding, speech_s, [key for key, _ in found], score_model)
            if len(candidates) == len(found):
                break
        size = self.size if allowed is None else len(allowed)
        return Nearest(tuple(candidates[:top_k]), size)

    def _round(self) -> None:
        """Ask for what is new and apply it, under the lock; a database that is gone is noted as a failure."""
        self._begun += 1
        try:
            self._follow()
            self._failure = None
        except StorageUnavailable as problem:
            self._failure = problem
        except BaseException:
            self._begun -= 1  # whoever waits tries for itself
            raise

    def _follow(self) -> None:
        with stage("store"):
            version, changes = self._repository.changes_since(*self._partition, self._version)
            if version < self._version:
                # SQL went back in time, as a restored backup does: nothing held here can be trusted.
                self._forget()
                version, changes = self._repository.changes_since(*self._partition, 0)
        with stage("search"):
            try:
                self._apply(changes)
            except BaseException:
                self._forget()
                raise
        self._version = version

    def _allowed(self, speaker_ids: Sequence[str] | None, group: str | None) -> Keys | None:
        if speaker_ids is None and group is None:
            return None
        with stage("store"):
            keys = self._repository.keys_of(*self._partition, speaker_ids, group=group)
        with self._lock:
            return np.array([key for key in keys.tolist() if key in self._keys], dtype=np.int64)

    def _confirmed(
        self, embedding: Embedding, speech_s: float, keys: list[int], score_model: ScoreModel
    ) -> list[Candidate]:
        """The candidates that SQL still has, by falling score with the centroids that it has now."""
        if not keys:
            return []
        with stage("store"):
            stored = self._repository.centroids_by_key(*self._partition, keys)
        with stage("search"):
            members = [each for each in stored if each.speech_s >= self._required_speech_s]
            similarities = [cosine(embedding, each.embedding) for each in members]
            scores = score_model.llr(similarities, [each.speech_s for each in members], speech_s)
            candidates = [
                Candidate(each.speaker_id, score, similarity, each.speaker_key, each.speech_s)
                for each, score, similarity in zip(members, scores.tolist(), similarities, strict=True)
            ]
        return sorted(candidates, key=lambda candidate: -candidate.score)

    def _apply(self, changes: Sequence[Change]) -> None:
        joined: dict[int, Embedding] = {}
        left: list[int] = []
        for key, embedding, speech_s in changes:
            if embedding is not None and speech_s >= self._required_speech_s:
                joined[key] = embedding
            else:
                left.append(key)
        if left:
            self._index.erase(self._partition, np.array(left, dtype=np.int64))
            self._keys.difference_update(left)
        if joined:
            keys = np.fromiter(joined, dtype=np.int64, count=len(joined))
            self._index.upsert(self._partition, keys, np.stack(list(joined.values())))
            self._keys.update(joined)

    def _forget(self) -> None:
        self._index.clear(self._partition)
        self._keys.clear()
        self._version = 0

"""Centroids as readers want them: one, several, or all that changed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session

from app.arrays import Embedding
from app.store.records import Change, Changes, StoredCentroid
from app.store.rows import in_group, lock_in, unexpired
from app.store.sealing import of_centroid, opened
from app.store.sessions import Sessions
from app.store.tables import Centroid, Gallery, Speaker
from app.store.vault import Vault

_Value = TypeVar("_Value", int, str)
_Live: TypeAlias = Select[int, str, bytes | None, bytes | None, float, int, int]
_CHUNK: Final = 1_000
"""Values in one IN list. A longer one takes long to be put into words, while the transaction stands still."""


class Centroids(Sessions):
    """The repository's methods on centroids and galleries."""

    def centroid_of(self, tenant_id: str, model_id: str, speaker_id: str) -> StoredCentroid | None:
        """Reads a speaker's centroid under one model, and its lock; None when it has none.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            found = find_centroid(session, self._vault, tenant_id, model_id, speaker_id)
            return found and replace(found, lock=lock_in(session, found.speaker_key))

    def centroids_by_key(self, tenant_id: str, model_id: str, keys: Sequence[int]) -> list[StoredCentroid]:
        """Reads centroids again, in the order of the keys; those deleted meanwhile are missing.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        found: dict[int, StoredCentroid] = {}
        with self._reading() as session:
            for some in _chunks([int(key) for key in keys]):
                query = _live(model_id).where(Centroid.tenant_id == tenant_id, Centroid.speaker_key.in_(some))
                found |= {row.speaker_key: row for row in _records(session, self._vault, query, model_id)}
        return [found[key] for key in keys if key in found]

    def keys_of(
        self,
        tenant_id: str,
        model_id: str,
        speaker_ids: Sequence[str] | None = None,
        *,
        group: str | None = None,
    ) -> npt.NDArray[np.int64]:
        """Finds the keys of enrolled speakers, to narrow a search.

        Args:
            tenant_id: Whose speakers.
            model_id: The model under which they are enrolled.
            speaker_ids: Only these; unknown ones are passed over. None allows all.
            group: Only speakers whose metadata has this "group".

        Returns:
            int64, shape (count,), rising.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Centroid.speaker_key).join(Speaker, Speaker.key == Centroid.speaker_key)
        query = query.where(Speaker.tenant_id == tenant_id, *_alive(model_id))
        if group is not None:
            query = query.where(in_group(group))
        with self._reading() as session:
            if speaker_ids is None:
                keys = list(session.scalars(query))
            else:
                named = _chunks(sorted(set(speaker_ids)))
                keys = [
                    k for some in named for k in session.scalars(query.where(Speaker.speaker_id.in_(some)))
                ]
        return np.sort(np.asarray(keys, dtype=np.int64))

    def changes_since(self, tenant_id: str, model_id: str, version: int) -> Changes:
        """Reads what a cache of this gallery has missed.

        Version and changes come from one statement, so from one snapshot: whoever asks again
        from the version returned misses nothing and sees nothing twice.

        Args:
            tenant_id: Whose gallery.
            model_id: The model of the gallery.
            version: Up to where the cache has followed; 0 for an empty cache, which is told of
                the living only.

        Returns:
            The gallery's version (0 for one never written) and each speaker that changed, once.
            A version below the one asked from means that the database was replaced by an older
            one: empty the cache and begin at 0.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        changed = and_(
            Centroid.tenant_id == Gallery.tenant_id,
            Centroid.model_id == Gallery.model_id,
            Centroid.version > version,
            *([Centroid.embedding.is_not(None)] if version <= 0 else []),
        )
        query: Any = (  # the outer join makes columns null that SQLAlchemy's types call never null
            select(
                Gallery.version, Centroid.speaker_key, Centroid.embedding, Speaker.data_key, Centroid.speech_s
            )
            .outerjoin(Centroid, changed)
            .outerjoin(Speaker, Speaker.key == Centroid.speaker_key)
            .where(Gallery.tenant_id == tenant_id, Gallery.model_id == model_id)
            .order_by(Centroid.version, Centroid.speaker_key)
        )
        with self._reading() as session:
            rows = session.execute(query).all()
        changes = [
            Change(key, self._opened(key, model_id, sealed, data_key), speech_s)
            for _, key, sealed, data_key, speech_s in rows
            if key is not None
        ]
        return Changes(rows[0][0] if rows else 0, changes)

    def _opened(
        self, key: int, model_id: str, sealed: bytes | None, data_key: bytes | None
    ) -> Embedding | None:
        if sealed is None:
            return None
        return opened(self._vault.opener(data_key), sealed, of_centroid(key, model_id))

    def count_enrolled(self, tenant_id: str, model_id: str, min_speech_s: float = 0.0) -> int:
        """Counts speakers with a centroid that rests on at least this much speech, in seconds.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(func.count()).select_from(Centroid)
        query = query.where(Centroid.tenant_id == tenant_id, *_alive(model_id))
        with self._reading() as session:
            return session.scalars(query.where(Centroid.speech_s >= min_speech_s)).one()

    def partitions(self) -> list[tuple[str, str]]:
        """Names every gallery that was ever written: (tenant_id, model_id), sorted.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        query = select(Gallery.tenant_id, Gallery.model_id)
        with self._reading() as session:
            return sorted((tenant_id, model_id) for tenant_id, model_id in session.execute(query))

    def ping(self) -> None:
        """Asks the database for a sign of life.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            session.execute(select(1)).one()


def find_centroid(
    session: Session, vault: Vault, tenant_id: str, model_id: str, speaker_id: str
) -> StoredCentroid | None:
    """The centroid of one speaker, None when there is none or a tombstone."""
    # The tenant of the speaker, not of the centroid: the index on names leads to one row.
    query = _live(model_id).where(Speaker.tenant_id == tenant_id, Speaker.speaker_id == speaker_id)
    return next(iter(_records(session, vault, query, model_id)), None)


def _alive(model_id: str) -> tuple[ColumnElement[bool], ...]:
    return Centroid.model_id == model_id, Centroid.embedding.is_not(None)


def _live(model_id: str) -> _Live:
    return (
        select(
            Centroid.speaker_key,
            Speaker.speaker_id,
            Centroid.embedding,
            Speaker.data_key,
            Centroid.speech_s,
            Centroid.enrollments_count,
            Centroid.version,
        )
        .join(Speaker, Speaker.key == Centroid.speaker_key)
        .where(*_alive(model_id), unexpired())
    )


def _records(session: Session, vault: Vault, query: _Live, model_id: str) -> list[StoredCentroid]:
    found = []
    for key, speaker_id, sealed, data_key, speech_s, count, version in session.execute(query):
        assert sealed is not None  # only living centroids are asked for
        found.append(
            StoredCentroid(
                speaker_key=key,
                speaker_id=speaker_id,
                embedding=opened(vault.opener(data_key), sealed, of_centroid(key, model_id)),
                speech_s=speech_s,
                enrollments_count=count,
                version=version,
            )
        )
    return found


def _chunks(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]

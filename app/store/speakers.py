"""Speakers: find, list, update, delete."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.errors import ConcurrentModification, SpeakerNotFound, ValidationFailed
from app.store.database import erase_traces
from app.store.records import UNSET, Holding, SpeakerPage, StoredSpeaker, Unset
from app.store.sessions import Sessions
from app.store.tables import Centroid, Speaker
from app.store.writes import check_storable, derive_centroids, drop_enrollments, lock_galleries, lock_speaker

MAX_LIMIT: Final = 1000
"""Most speakers on one page."""


class Speakers(Sessions):
    """The repository's methods on speakers."""

    def get_speaker(self, tenant_id: str, speaker_id: str) -> StoredSpeaker:
        """Reads one speaker.

        Raises:
            SpeakerNotFound: There is none of that name.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return stored_speakers(session, [find_speaker(session, tenant_id, speaker_id)])[0]

    def list_speakers(
        self, tenant_id: str, *, cursor: str | None = None, limit: int = 50, group: str | None = None
    ) -> SpeakerPage:
        """Reads one page of speakers, in the order of their creation.

        Args:
            tenant_id: Whose speakers.
            cursor: `next_cursor` of the page before; None begins.
            limit: Most speakers on the page, 1 to 1000.
            group: Only speakers whose metadata has this "group".

        Raises:
            ValidationFailed: The cursor is not one of ours, or the limit is out of range.
            StorageUnavailable: The database does not answer.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ValidationFailed("limit", f"it must lie between 1 and {MAX_LIMIT}")
        query = select(Speaker).where(Speaker.tenant_id == tenant_id)
        if cursor is not None:
            query = query.where(Speaker.key > _read_cursor(cursor))
        if group is not None:
            query = query.where(in_group(group))
        with self._reading() as session:
            # One more than asked for tells whether there is a next page.
            rows = session.scalars(query.order_by(Speaker.key).limit(limit + 1)).all()
            page = stored_speakers(session, rows[:limit])
        return SpeakerPage(tuple(page), _write_cursor(page[-1].key) if len(rows) > limit else None)

    def update_speaker(
        self,
        tenant_id: str,
        speaker_id: str,
        *,
        display_name: str | Unset | None = UNSET,
        metadata_patch: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
    ) -> StoredSpeaker:
        """Changes what is known about a speaker; its enrollments stay.

        Args:
            tenant_id: Whose speaker.
            speaker_id: Which speaker.
            display_name: The new name, None for no name; UNSET leaves it.
            metadata_patch: JSON merge patch (RFC 7396) of the metadata: null removes a key.
            expected_version: Change only a speaker that still has this version.

        Raises:
            SpeakerNotFound: There is none of that name.
            ConcurrentModification: The version is another one, or others were first every time.
            ValidationFailed: A value cannot be stored.
            StorageUnavailable: The database does not answer.
        """
        if display_name is not UNSET:
            check_storable("display_name", display_name)
        check_storable("metadata", metadata_patch)

        def work(session: Session) -> StoredSpeaker:
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if speaker is None:
                raise SpeakerNotFound(speaker_id)
            if expected_version is not None and speaker.version != expected_version:
                raise ConcurrentModification(speaker_id)
            if display_name is not UNSET:
                speaker.display_name = display_name
            if metadata_patch is not None:
                speaker.details = merge_patch(speaker.details, metadata_patch)
            touch(speaker)
            return stored_speakers(session, [speaker])[0]

        return self._write(speaker_id, work)

    def delete_speaker(self, tenant_id: str, speaker_id: str) -> bool:
        """Deletes a speaker with every embedding of it; deleting it again is no error.

        Returns:
            Whether there was one.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> bool:
            galleries = lock_galleries(session, tenant_id)
            speaker = lock_speaker(session, tenant_id, speaker_id)
            if speaker is None:
                return False
            known_to = drop_enrollments(session, speaker.key)
            derive_centroids(session, speaker.key, known_to, galleries)
            session.delete(speaker)
            return True

        deleted = self._write(speaker_id, work)
        if deleted:
            erase_traces(self._engine)
        return deleted


# ---------------------------------------------------------------- rows and records


def find_speaker(session: Session, tenant_id: str, speaker_id: str) -> Speaker:
    """The row of a speaker; raises SpeakerNotFound."""
    query = select(Speaker).where(Speaker.tenant_id == tenant_id, Speaker.speaker_id == speaker_id)
    speaker = session.scalars(query).one_or_none()
    if speaker is None:
        raise SpeakerNotFound(speaker_id)
    return speaker


def stored_speakers(session: Session, rows: Sequence[Speaker]) -> list[StoredSpeaker]:
    """The records of these rows, with what each speaker has enrolled."""
    session.flush()
    holdings: dict[int, list[Holding]] = {row.key: [] for row in rows}
    centroids = (
        select(Centroid.speaker_key, Centroid.model_id, Centroid.speech_s, Centroid.enrollments_count)
        .where(Centroid.speaker_key.in_(holdings), Centroid.embedding.is_not(None))
        .order_by(Centroid.model_id)
    )
    for key, model_id, speech_s, count in session.execute(centroids):
        holdings[key].append(Holding(model_id, speech_s, count))
    return [_stored(row, tuple(holdings[row.key])) for row in rows]


def _stored(row: Speaker, holdings: tuple[Holding, ...]) -> StoredSpeaker:
    return StoredSpeaker(
        key=row.key,
        tenant_id=row.tenant_id,
        speaker_id=row.speaker_id,
        display_name=row.display_name,
        metadata=row.details,
        consent=row.consent,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        holdings=holdings,
    )


def touch(speaker: Speaker) -> None:
    """Marks a change of the speaker or of its enrollments."""
    speaker.version += 1
    speaker.updated_at = datetime.now(UTC)


def in_group(group: str) -> ColumnElement[bool]:
    """Speakers whose metadata has this "group"."""
    named: ColumnElement[bool] = Speaker.details["group"].as_string() == group
    return named


def merge_patch(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Applies a JSON merge patch and returns the result; neither argument changes.

    Source: RFC 7396, section 2.
    """
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value) if isinstance(value, Mapping) else value
    return merged


def _write_cursor(key: int) -> str:
    return base64.urlsafe_b64encode(b"speaker:%d" % key).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        kind, _, key = base64.b64decode(padded.encode(), b"-_", validate=True).partition(b":")
        if kind == b"speaker" and key.isdigit() and int(key) < 2**63:
            return int(key)
    except ValueError:
        pass
    raise ValidationFailed("cursor", "it is not a cursor of this list; leave it out to begin again")

"""Speakers as rows: found, read into records, marked as changed; and the cursors of lists."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.errors import SpeakerNotFound, ValidationFailed
from app.store.records import UNLOCKED, Holding, Lock, StoredSpeaker
from app.store.tables import Centroid, Lockout, Speaker


def find_speaker(session: Session, tenant_id: str, speaker_id: str) -> Speaker:
    """The row of a speaker; raises SpeakerNotFound."""
    query = select(Speaker).where(Speaker.tenant_id == tenant_id, Speaker.speaker_id == speaker_id)
    speaker = session.scalars(query.where(unexpired())).one_or_none()
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
        retain_until=row.retain_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        holdings=holdings,
    )


def touch(speaker: Speaker) -> None:
    """Marks a change of the speaker or of its enrollments."""
    speaker.version += 1
    speaker.updated_at = datetime.now(UTC)


def unexpired() -> ColumnElement[bool]:
    """Speakers whose time to be kept is not over; the others are as good as deleted, and soon are."""
    return or_(Speaker.retain_until.is_(None), Speaker.retain_until > datetime.now(UTC))


def is_expired(speaker: Speaker) -> bool:
    """The same for a row at hand, the other way round."""
    return speaker.retain_until is not None and speaker.retain_until <= datetime.now(UTC)


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


def lock_in(session: Session, speaker_key: int) -> Lock:
    """Failed verifications of a speaker in a row, and until when no further one is tried."""
    row = session.get(Lockout, speaker_key)
    return Lock(row.failures, row.locked_until) if row is not None else UNLOCKED


def write_cursor(kind: str, key: int) -> str:
    """A place in a list, as a text that clients hand back and do not read."""
    return base64.urlsafe_b64encode(f"{kind}:{key}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str) -> int:
    """The place in a cursor of a list of this kind.

    Raises:
        ValidationFailed: It is none.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found, _, key = base64.b64decode(padded.encode(), b"-_", validate=True).partition(b":")
        if found == kind.encode() and key.isdigit() and int(key) < 2**63:
            return int(key)
    except ValueError:
        pass
    raise ValidationFailed("cursor", "it is not a cursor of this list; leave it out to begin again")

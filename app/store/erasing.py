"""Erasing a voice: everything stored of it, in one transaction, with a receipt that outlives it."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from app.failpoints import reach
from app.store.audit import By, record
from app.store.jobs import forget_in_jobs
from app.store.ledger import Act, Entry, note
from app.store.records import Receipt
from app.store.replays import drop_replays
from app.store.rows import touch
from app.store.tables import (
    Challenge,
    Enrollment,
    Erasure,
    Feedback,
    Gallery,
    HeardClip,
    Lockout,
    OptOut,
    Recording,
    Speaker,
)
from app.store.vault import Vault
from app.store.writes import derive_centroids, drop_enrollments

Reason: TypeAlias = Literal["request", "opt-out", "retention", "reset", "replace", "merge"]
"""Why a voice was erased."""
POINT_OF: Final[Mapping[str, str]] = {"request": "delete", "opt-out": "opt_out"}
"""Names of the failpoints on the way of a deletion, by its reason."""
ACTION: Final[Mapping[Act, str]] = {
    "erase": "voice.erased",
    "take-back": "enrollment.deleted",
    "object": "speaker.opted_out",
    "withdraw": "speaker.opted_in",
    "end-key": "key.ended",
}
"""What the audit log calls it."""
_TOLD: Final = ("enrollments", "key_id", "replaced_by")


def erase_voice(
    session: Session,
    vault: Vault,
    speaker: Speaker,
    galleries: Mapping[str, Gallery],
    reason: Reason,
    by: By,
    *,
    into: str | None = None,
    again: Entry | None = None,
) -> Receipt:
    """Deletes what a speaker has enrolled, kept recordings and all that was derived from them.

    The speaker gets a new data key: whatever copy remains of the old rows, nothing opens them any more.

    Args:
        session: The transaction; the tenant's galleries and the speaker are locked in it.
        vault: Makes the new key.
        speaker: Whose voice. The row itself stays; its deletion is the caller's.
        galleries: Every gallery of the tenant.
        reason: Why.
        by: Who does it.
        into: Who was given the takes, with `merge`.
        again: What the ledger says of it, when a backup has brought the voice back: the receipt stays.

    Raises:
        LostRace: A model came to the speaker after the galleries were locked.
    """
    mine = speaker.key
    takes = _count(session, select(func.count()).where(Enrollment.speaker_key == mine))
    kept = _count(session, select(func.count()).where(Recording.speaker_key == mine))
    subject = vault.subject(speaker.tenant_id, speaker.speaker_id)
    known_to = drop_enrollments(session, mine)
    for table in (Recording, Feedback, Lockout, HeardClip, Challenge):
        session.execute(delete(table).where(table.speaker_key == mine))
    reach(f"{POINT_OF.get(reason)}.rows_gone")
    drop_replays(session, speaker.tenant_id, subject, by.begun)
    derive_centroids(session, vault, speaker, known_to, galleries)
    forget_in_jobs(session, speaker.tenant_id, speaker.speaker_id)
    speaker.data_key = vault.new_data_key()
    told = {"reason": reason, "enrollments": takes, "recordings": kept}
    given = {} if into is None else {"into": vault.subject(speaker.tenant_id, into)}
    entry = again or new_entry("erase", speaker.tenant_id, subject, **told, **given)
    erasure = receipt_row(entry)
    session.add(erasure)
    session.flush()
    reach(f"{POINT_OF.get(reason)}.receipt")
    facts = told | {"receipt_id": erasure.receipt_id}
    record(session, vault, speaker.tenant_id, by, "voice.erased", speaker.speaker_id, facts)
    note(session, entry)
    reach(f"{POINT_OF.get(reason)}.audited")
    return receipt_of(erasure)


def take_back(
    session: Session,
    vault: Vault,
    speaker: Speaker,
    galleries: Mapping[str, Gallery],
    chosen: ColumnElement[bool],
    by: By,
    *,
    again: Entry | None = None,
) -> bool:
    """Deletes uploads of a speaker: every take that any model made of them, and the recordings.

    Args:
        session: The transaction; the tenant's galleries and the speaker are locked in it.
        vault: Seals the centroids anew.
        speaker: Whose.
        galleries: Every gallery of the tenant.
        chosen: Takes by which the uploads are named.
        by: Who does it.
        again: What the ledger says of it, when a backup has brought the takes back.

    Returns:
        Whether there were any.
    """
    mine = Enrollment.speaker_key == speaker.key
    clips = set(session.scalars(select(Enrollment.audio_sha256).where(mine, chosen)))
    if not clips:
        return False
    forget_in_jobs(session, speaker.tenant_id, speaker.speaker_id)
    takes = delete(Enrollment).where(mine, Enrollment.audio_sha256.in_(clips))
    gone = session.execute(takes.returning(Enrollment.model_id, Enrollment.enrollment_id)).all()
    kept = Recording.speaker_key == speaker.key, Recording.audio_sha256.in_(clips)
    session.execute(delete(Recording).where(*kept))
    reach("take_back.rows_gone")
    derive_centroids(session, vault, speaker, {model_id for model_id, _ in gone}, galleries)
    touch(speaker)
    entry = again or new_entry(
        "take-back",
        speaker.tenant_id,
        vault.subject(speaker.tenant_id, speaker.speaker_id),
        enrollments=sorted(enrollment_id for _, enrollment_id in gone),
    )
    noted(session, vault, entry, by)
    return True


def set_opt_out(session: Session, vault: Vault, entry: Entry, by: By) -> None:
    """Stores that somebody must not be enrolled, or takes that back; once more is no error."""
    assert entry.subject is not None
    objection = session.get(OptOut, (entry.tenant_id, entry.subject))
    if entry.act == "object" and objection is None:
        session.add(OptOut(tenant_id=entry.tenant_id, subject=entry.subject, created_at=entry.at))
    if entry.act == "withdraw" and objection is not None:
        session.delete(objection)
    session.flush()
    noted(session, vault, entry, by)


def new_entry(act: Act, tenant_id: str, subject: str | None, **facts: Any) -> Entry:
    """What the ledger is to say of something that is done now and has no receipt."""
    now = datetime.now(UTC)
    return Entry(
        entry_id=uuid.uuid4().hex, at=now, tenant_id=tenant_id, act=act, subject=subject, facts=facts
    )


def noted(session: Session, vault: Vault, entry: Entry, by: By) -> None:
    """Writes an entry of the audit log that names the ledger's, by which it is known to have been done."""
    facts: dict[str, Any] = {name: entry.facts[name] for name in _TOLD if name in entry.facts}
    facts["entry"] = entry.entry_id
    record(session, vault, entry.tenant_id, by, ACTION[entry.act], None, facts, subject=entry.subject)
    note(session, entry)


def receipt_row(entry: Entry) -> Erasure:
    """The receipt of what the ledger has an entry of."""
    return Erasure(
        receipt_id=entry.entry_id,
        tenant_id=entry.tenant_id,
        subject=entry.subject,
        reason=entry.facts["reason"],
        enrollments=entry.facts["enrollments"],
        recordings=entry.facts["recordings"],
        erased_at=entry.at,
    )


def receipt_of(row: Erasure) -> Receipt:
    """The record of a row."""
    return Receipt(
        receipt_id=row.receipt_id,
        subject=row.subject,
        reason=row.reason,
        enrollments=row.enrollments,
        recordings=row.recordings,
        erased_at=row.erased_at,
    )


def _count(session: Session, query: object) -> int:
    return int(session.scalar(query) or 0)  # type: ignore[call-overload]

"""Erasing a voice: everything stored of it, in one transaction, with a receipt that outlives it."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.store.audit import By, record
from app.store.jobs import forget_in_jobs
from app.store.records import Receipt
from app.store.replays import drop_replays
from app.store.tables import (
    Enrollment,
    Erasure,
    Feedback,
    Gallery,
    Lockout,
    OptOut,
    Recording,
    Speaker,
)
from app.store.vault import Vault
from app.store.writes import derive_centroids, drop_enrollments

Reason: TypeAlias = Literal["request", "opt-out", "retention", "reset", "replace", "merge"]
"""Why a voice was erased."""


def erase_voice(
    session: Session,
    vault: Vault,
    speaker: Speaker,
    galleries: Mapping[str, Gallery],
    reason: Reason,
    by: By,
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

    Raises:
        LostRace: A model came to the speaker after the galleries were locked.
    """
    mine = speaker.key
    takes = _count(session, select(func.count()).where(Enrollment.speaker_key == mine))
    kept = _count(session, select(func.count()).where(Recording.speaker_key == mine))
    subject = vault.subject(speaker.tenant_id, speaker.speaker_id)
    known_to = drop_enrollments(session, mine)
    for table in (Recording, Feedback, Lockout):
        session.execute(delete(table).where(table.speaker_key == mine))
    drop_replays(session, speaker.tenant_id, subject)
    derive_centroids(session, vault, speaker, known_to, galleries)
    forget_in_jobs(session, speaker.tenant_id, speaker.speaker_id)
    speaker.data_key = vault.new_data_key()
    erasure = Erasure(
        receipt_id=uuid.uuid4().hex,
        tenant_id=speaker.tenant_id,
        subject=subject,
        reason=reason,
        enrollments=takes,
        recordings=kept,
        erased_at=datetime.now(UTC),
    )
    session.add(erasure)
    facts = {"reason": reason, "enrollments": takes, "recordings": kept, "receipt_id": erasure.receipt_id}
    record(session, vault, speaker.tenant_id, by, "voice.erased", speaker.speaker_id, facts)
    return receipt_of(erasure)


def add_opt_out(session: Session, vault: Vault, tenant_id: str, speaker_id: str, by: By) -> None:
    """Stores that somebody must not be enrolled."""
    subject = vault.subject(tenant_id, speaker_id)
    if session.get(OptOut, (tenant_id, subject)) is None:
        session.add(OptOut(tenant_id=tenant_id, subject=subject, created_at=datetime.now(UTC)))
        session.flush()
    record(session, vault, tenant_id, by, "speaker.opted_out", speaker_id)


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

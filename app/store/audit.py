"""The audit log: what was done to whom by which key, each entry chained to the one before.

No names and no audio: a speaker is a keyed digest, a caller the id of a key. Whoever changes, removes or
inserts an entry afterwards breaks every hash that follows.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.records import StoredAuditEntry
from app.store.replays import Begun, note_carried_out
from app.store.rows import read_cursor, write_cursor
from app.store.sessions import Sessions
from app.store.tables import AuditEntry, AuditHead
from app.store.vault import Vault

_START: Final = "0" * 64


class By(NamedTuple):
    """Who does something: a key id, `anonymous`, `cli` or `service`; in which request, under which key."""

    actor: str
    request_id: str | None = None
    begun: Begun | None = None


SERVICE: Final = By("service")


class Chain(NamedTuple):
    """The state of a tenant's log."""

    entries: int
    head: str
    broken_at: int | None
    """Number of the first entry that does not fit the one before; None when all do."""


def record(
    session: Session,
    vault: Vault,
    tenant_id: str,
    by: By,
    action: str,
    speaker_id: str | None = None,
    facts: Mapping[str, Any] | None = None,
    *,
    subject: str | None = None,
) -> None:
    """Append an entry in the transaction of what it tells, and mark the request's key as carried out.

    The end of the chain stays locked until the commit, so this comes last of all locks.

    Args:
        session: The transaction.
        vault: Makes the digest that stands for the speaker.
        tenant_id: Whose log.
        by: Who did it.
        action: What, as `speaker.deleted`.
        speaker_id: To whom.
        facts: Counts and words; never names.
        subject: The digest itself, where nobody knows the name any more.

    Raises:
        IdempotencyInProgress: A retry has taken the request's key.
    """
    subject = vault.subject(tenant_id, speaker_id) if speaker_id is not None else subject
    if by.begun is not None and subject is not None:
        note_carried_out(session, tenant_id, by.begun, subject)
    head = session.scalars(
        select(AuditHead).where(AuditHead.tenant_id == tenant_id).with_for_update()
    ).one_or_none()
    if head is None:
        head = AuditHead(tenant_id=tenant_id, number=0, hash=_START)
        session.add(head)
        session.flush()  # now, so that a second creator waits here and not at its commit
    entry = AuditEntry(
        tenant_id=tenant_id,
        number=head.number + 1,
        at=datetime.now(UTC),
        actor=by.actor,
        action=action,
        subject=subject,
        facts=dict(facts or {}),
        request_id=by.request_id,
        hash="",
    )
    entry.hash = _hash(head.hash, entry)
    session.add(entry)
    head.number, head.hash = entry.number, entry.hash
    session.flush()


class Audit(Sessions):
    """The repository's methods on the audit log."""

    def append_audit(
        self, tenant_id: str, by: By, action: str, speaker_id: str | None = None, **facts: Any
    ) -> None:
        """Append an entry about something that changed nothing in the database.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        self._write(
            speaker_id or action,
            lambda session: record(session, self._vault, tenant_id, by, action, speaker_id, facts),
        )

    def list_audit(
        self, tenant_id: str, *, cursor: str | None, limit: int, speaker_id: str | None = None
    ) -> tuple[list[StoredAuditEntry], str | None]:
        """Read a page of the log, oldest first, of one speaker when it is named.

        Returns:
            The entries, and the cursor of the next page or None.

        Raises:
            ValidationFailed: The cursor is none of this list.
            StorageUnavailable: The database does not answer.
        """
        query = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id)
        if cursor is not None:
            query = query.where(AuditEntry.number > read_cursor("audit", cursor))
        if speaker_id is not None:
            query = query.where(AuditEntry.subject == self._vault.subject(tenant_id, speaker_id))
        with self._reading() as session:
            rows = session.scalars(query.order_by(AuditEntry.number).limit(limit + 1)).all()
            entries = [_stored(row) for row in rows[:limit]]
        return entries, write_cursor("audit", entries[-1].number) if len(rows) > limit else None

    def check_audit(self, tenant_id: str) -> Chain:
        """Compute every hash of a tenant's log anew.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            head = session.get(AuditHead, tenant_id)
            query = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id).order_by(AuditEntry.number)
            before, number = _START, 0
            with closing(session.scalars(query.execution_options(yield_per=500))) as rows:
                for row in rows:
                    number += 1
                    if row.number != number or row.hash != _hash(before, row):
                        return Chain(number, before, number)
                    before = row.hash
        if head is not None and (head.number, head.hash) != (number, before):
            return Chain(number, before, number + 1)
        return Chain(number, before, None)


def _hash(before: str, entry: AuditEntry) -> str:
    told = {
        "tenant_id": entry.tenant_id,
        "number": entry.number,
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "facts": entry.facts,
        "request_id": entry.request_id,
    }
    text = before + json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _stored(row: AuditEntry) -> StoredAuditEntry:
    return StoredAuditEntry(
        number=row.number,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        facts=row.facts,
        request_id=row.request_id,
        hash=row.hash,
    )

"""What the ledger says, held against the database: how a crash ended, what a backup has brought back."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.errors import DatabaseOlder, LedgerUnavailable, SpeakerNotFound
from app.store.access import Access
from app.store.audit import By, record
from app.store.database import erase_traces
from app.store.erasing import ACTION, erase_voice, noted, receipt_row, set_opt_out, take_back
from app.store.ledger import Entry
from app.store.merging import Merging
from app.store.rows import is_expired, touch
from app.store.tables import ApiKey, AuditEntry, AuditHead, Enrollment, Erasure, Speaker
from app.store.vault import Vault
from app.store.writes import lock_galleries, lock_speaker

RESTORE: Final = By("restore")
_KEEPING: Final = ("reset", "replace")
"""Reasons of erasures after which the speaker stays, without a voice."""
_AT_ONCE: Final = 500


class Reerasing(Merging, Access):
    """The repository's methods on the erasure ledger."""

    def check_ledger(self) -> None:
        """Make sure that the database holds what the ledger says, and settle what a crash has left open.

        Raises:
            DatabaseOlder: It lacks an erasure that was carried out: it is a copy from before.
            LedgerDamaged: The ledger was changed.
            LedgerUnavailable: The ledger cannot be read or written.
            StorageUnavailable: The database does not answer.
        """
        if self._ledger is None:
            return
        last = self._ledger.read().last_done
        if last is not None and not self.carried_out([last]):
            raise DatabaseOlder(str(self._ledger.path))
        self.settle_ledger()

    def settle_ledger(self) -> None:
        """Ask the database how every erasure ended of which the ledger does not say it.

        Raises:
            LedgerDamaged: The ledger was changed.
            LedgerUnavailable: The ledger cannot be read or written.
            StorageUnavailable: The database does not answer.
        """
        left = list(self._ledger.read().open.values()) if self._ledger is not None else []
        if not left or self._ledger is None:
            return

        def work(session: Session) -> set[str]:
            # PostgreSQL may be about to commit what a process asked for that is dead by now: it holds these.
            tenants = sorted({entry.tenant_id for entry in left})
            heads = select(AuditHead).where(AuditHead.tenant_id.in_(tenants)).order_by(AuditHead.tenant_id)
            session.scalars(heads.with_for_update()).all()
            return _carried_out(session, left)

        done = self._write("", work)
        with suppress(LedgerUnavailable):  # then the next sweep says it
            self._ledger.conclude(done=sorted(done), void=sorted({entry.entry_id for entry in left} - done))

    def check_ledger_writable(self) -> None:
        """Raises LedgerUnavailable when an erasure would be refused."""
        if self._ledger is not None:
            self._ledger.check_writable()

    def carried_out(self, entries: Sequence[Entry]) -> set[str]:
        """Ids of those entries that this database has carried out, here or before it was backed up.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            return _carried_out(session, entries)

    def erase_again(self, entries: Sequence[Entry]) -> int:
        """Carry out what the database has not; each entry in a transaction, in the order given.

        Returns:
            How many there were.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        there = self.carried_out(entries)
        missing = [entry for entry in entries if entry.entry_id not in there]
        names = self._names() if missing else {}
        for entry in missing:
            self._write("", partial(self._again, entry=entry, names=names))
        if missing:
            erase_traces(self._engine)
        return len(missing)

    def note_restored(self, made_at: datetime, erased: int) -> None:
        """Write into every tenant's log that the database comes from a backup.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        facts = {"backup_of": made_at.isoformat(), "erased_again": erased}
        for tenant in self.list_tenants():
            self._write("", partial(_note_restored, self._vault, tenant.tenant_id, facts))

    def _names(self) -> dict[tuple[str, str], str]:
        """Who stands behind the digests: speaker_id by tenant and subject."""
        with self._reading() as session:
            everybody = session.execute(select(Speaker.tenant_id, Speaker.speaker_id))
            return {(tenant, self._vault.subject(tenant, name)): name for tenant, name in everybody}

    def _again(self, session: Session, entry: Entry, names: Mapping[tuple[str, str], str]) -> None:
        if entry.act == "end-key":
            _end_key(session, entry)
            noted(session, self._vault, entry, RESTORE)
        elif entry.act in ("object", "withdraw"):
            set_opt_out(session, self._vault, entry, RESTORE)
        else:
            assert entry.subject is not None
            name = names.get((entry.tenant_id, entry.subject))
            into = names.get((entry.tenant_id, entry.facts.get("into", "")))
            if entry.act == "take-back":
                self._take_back_again(session, entry, name)
            elif name is None or into is None or not self._merged_again(session, entry, name, into):
                self._erase_again(session, entry, name)

    def _merged_again(self, session: Session, entry: Entry, name: str, into: str) -> bool:
        try:
            self._merge(session, entry.tenant_id, into, name, RESTORE, again=entry)
        except SpeakerNotFound:  # then there is nobody to be given the takes
            return False
        return True

    def _erase_again(self, session: Session, entry: Entry, name: str | None) -> None:
        galleries = lock_galleries(session, entry.tenant_id)
        speaker = lock_speaker(session, entry.tenant_id, name) if name is not None else None
        reason = entry.facts["reason"]
        if speaker is None:
            # Enrolled after the backup, so not in it; but the receipt that was given must be found.
            session.add(receipt_row(entry))
            session.flush()
            facts = {**entry.facts, "receipt_id": entry.entry_id}
            record(
                session,
                self._vault,
                entry.tenant_id,
                RESTORE,
                ACTION["erase"],
                None,
                facts,
                subject=entry.subject,
            )
            return
        erase_voice(session, self._vault, speaker, galleries, reason, RESTORE, again=entry)
        if reason in _KEEPING and not is_expired(speaker):
            touch(speaker)
        else:
            session.delete(speaker)

    def _take_back_again(self, session: Session, entry: Entry, name: str | None) -> None:
        galleries = lock_galleries(session, entry.tenant_id)
        speaker = lock_speaker(session, entry.tenant_id, name) if name is not None else None
        chosen = Enrollment.enrollment_id.in_(entry.facts["enrollments"])
        found = speaker is not None and take_back(
            session, self._vault, speaker, galleries, chosen, RESTORE, again=entry
        )
        if not found:
            noted(session, self._vault, entry, RESTORE)


def _carried_out(session: Session, entries: Sequence[Entry]) -> set[str]:
    found: set[str] = set()
    for some in (entries[start : start + _AT_ONCE] for start in range(0, len(entries), _AT_ONCE)):
        ids = [entry.entry_id for entry in some]
        found |= set(session.scalars(select(Erasure.receipt_id).where(Erasure.receipt_id.in_(ids))))
        left = [entry for entry in some if entry.entry_id not in found]
        subjects = {entry.subject for entry in left if entry.subject is not None}
        facts = select(AuditEntry.facts).where(
            AuditEntry.tenant_id.in_({entry.tenant_id for entry in left}),
            AuditEntry.action.in_({ACTION[entry.act] for entry in left}),
            or_(AuditEntry.subject.in_(subjects), AuditEntry.subject.is_(None)),
        )
        wanted = {entry.entry_id for entry in left}
        found |= wanted & {told.get("entry") for told in session.scalars(facts)} if left else set()
    return found


def _note_restored(vault: Vault, tenant_id: str, facts: Mapping[str, Any], session: Session) -> None:
    record(session, vault, tenant_id, RESTORE, "database.restored", facts=facts)


def _end_key(session: Session, entry: Entry) -> None:
    row = session.get(ApiKey, entry.facts["key_id"])
    if row is not None:
        ends = datetime.fromisoformat(entry.facts["ends"])
        row.expires_at = min(ends, row.expires_at) if row.expires_at is not None else ends

"""Opt-outs, receipts of erasures, and lock-outs after failed verifications."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import ReceiptNotFound
from app.store.audit import SERVICE, By
from app.store.erasing import new_entry, receipt_of, set_opt_out
from app.store.records import UNLOCKED, Lock, Receipt
from app.store.rows import read_cursor, write_cursor
from app.store.sessions import Sessions
from app.store.tables import Erasure, Lockout, OptOut


class Duties(Sessions):
    """The repository's methods on what is owed to the people behind the voices."""

    def is_opted_out(self, tenant_id: str, speaker_id: str) -> bool:
        """Whether somebody of this name must not be enrolled or compared.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            subject = self._vault.subject(tenant_id, speaker_id)
            return session.get(OptOut, (tenant_id, subject)) is not None

    def opt_in(self, tenant_id: str, speaker_id: str, *, by: By = SERVICE) -> bool:
        """Takes an objection back; returns whether there was one.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> bool:
            subject = self._vault.subject(tenant_id, speaker_id)
            if session.get(OptOut, (tenant_id, subject)) is None:
                return False
            set_opt_out(session, self._vault, new_entry("withdraw", tenant_id, subject), by)
            return True

        return self._write(speaker_id, work)

    def list_erasures(
        self, tenant_id: str, speaker_id: str | None, *, cursor: str | None, limit: int
    ) -> tuple[list[Receipt], str | None]:
        """Reads a page of receipts, the oldest first; those of one speaker when it is named.

        Returns:
            The receipts, and the cursor of the next page or None.

        Raises:
            ValidationFailed: The cursor is none of this list.
            StorageUnavailable: The database does not answer.
        """
        query = select(Erasure).where(Erasure.tenant_id == tenant_id)
        if speaker_id is not None:
            query = query.where(Erasure.subject == self._vault.subject(tenant_id, speaker_id))
        # Receipts are only ever added at the end, so a place in the list stays the same.
        passed = 0 if cursor is None else read_cursor("erasure", cursor)
        query = query.order_by(Erasure.erased_at, Erasure.receipt_id).offset(passed).limit(limit + 1)
        with self._reading() as session:
            found = [receipt_of(row) for row in session.scalars(query)]
        return found[:limit], write_cursor("erasure", passed + limit) if len(found) > limit else None

    def get_erasure(self, tenant_id: str, receipt_id: str) -> Receipt:
        """Reads one receipt.

        Raises:
            ReceiptNotFound: There is none.
            StorageUnavailable: The database does not answer.
        """
        with self._reading() as session:
            row = session.get(Erasure, receipt_id)
            if row is None or row.tenant_id != tenant_id:
                raise ReceiptNotFound(receipt_id)
            return receipt_of(row)

    def count_failure(self, speaker_key: int, after: int, first_s: float, longest_s: float) -> Lock:
        """Counts a failed verification, and locks from the `after`th on, each time twice as long.

        Args:
            speaker_key: Whose.
            after: Failures in a row that lock.
            first_s: First lock, in seconds.
            longest_s: Longest lock, in seconds.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> Lock:
            row = session.scalars(
                select(Lockout).where(Lockout.speaker_key == speaker_key).with_for_update()
            ).one_or_none()
            if row is None:
                row = Lockout(speaker_key=speaker_key, failures=0, locked_until=None)
                session.add(row)
            row.failures += 1
            if row.failures >= after:
                doublings = min(row.failures - after, 30)
                seconds = min(first_s * 2**doublings, longest_s)
                row.locked_until = datetime.now(UTC) + timedelta(seconds=seconds)
            session.flush()
            return Lock(row.failures, row.locked_until)

        try:
            return self._write("", work)
        except IntegrityError:  # the speaker was deleted in this moment
            return UNLOCKED

    def forgive_failures(self, speaker_key: int) -> None:
        """Begins to count anew after a verification that succeeded.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        self._write("", lambda s: s.execute(delete(Lockout).where(Lockout.speaker_key == speaker_key)))

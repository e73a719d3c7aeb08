"""Another master key: every data key that stands wrapped somewhere is wrapped anew; what they seal stays."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from sqlalchemy import inspect, select, text, tuple_
from sqlalchemy.orm import Session

from app.store.audit import SERVICE, record
from app.store.database import erase_traces
from app.store.replays import WRAPPED_BYTES
from app.store.sessions import Sessions
from app.store.tables import Base, Job, Replay, Speaker, Tenant
from app.store.vault import Vault

_ROWS: Final = 500
"""Rows that are held in memory together."""
Wrapping = Callable[[bytes], bytes]


class Rekeying(Sessions):
    """The repository's method on its own master key."""

    def take_over(self, former: Vault) -> int:
        """Wrap every data key by this repository's master key: all of them or none.

        A key that it has wrapped already stays, so that a change that was interrupted can be made again.

        Args:
            former: Has wrapped them until now.

        Returns:
            How many changed.

        Raises:
            MasterKeyInvalid: One of them opens with neither.
            StorageUnavailable: The database does not answer.
        """

        def work(session: Session) -> int:
            if self._engine.dialect.name == "postgresql":
                names = ", ".join(table.__tablename__ for table in _WRAPPED)
                session.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))
            changed = 0

            def wrapped_anew(wrapped: bytes) -> bytes:
                nonlocal changed
                anew = self._vault.take_over(wrapped, former)
                changed += anew != wrapped
                return anew

            for table, rewrap in _WRAPPED.items():
                for row in _each(session, table):
                    rewrap(row, wrapped_anew)
            for tenant_id in session.scalars(select(Tenant.tenant_id)) if changed else ():
                record(session, self._vault, tenant_id, SERVICE, "master_key.changed")
            return changed

        changed = self._write("", work)
        erase_traces(self._engine)
        return changed


def _each(session: Session, table: type[Base]) -> Iterator[Any]:
    """Every row of a table, to be changed; some at a time are in memory."""
    key = inspect(table).primary_key
    everything = [tuple(row) for row in session.execute(select(*key))]
    for start in range(0, len(everything), _ROWS):
        some = everything[start : start + _ROWS]
        yield from session.scalars(select(table).where(tuple_(*key).in_(some)))
        session.flush()
        session.expunge_all()


def _of_speaker(row: Speaker, wrapped_anew: Wrapping) -> None:
    if row.data_key is not None:
        row.data_key = wrapped_anew(row.data_key)


def _of_job(row: Job, wrapped_anew: Wrapping) -> None:
    if "key" in row.wish:
        row.wish = {**row.wish, "key": wrapped_anew(bytes.fromhex(row.wish["key"])).hex()}


def _of_answer(row: Replay, wrapped_anew: Wrapping) -> None:
    if row.sealed is not None:
        row.sealed = wrapped_anew(row.sealed[:WRAPPED_BYTES]) + row.sealed[WRAPPED_BYTES:]


_WRAPPED: Final[dict[type[Any], Callable[[Any, Wrapping], None]]] = {
    Speaker: _of_speaker,
    Job: _of_job,
    Replay: _of_answer,
}
"""Where wrapped data keys stand."""

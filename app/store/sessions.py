"""Transactions: one for reading, one for writing, run again when another writer was first."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import ConcurrentModification
from app.failpoints import reach
from app.store.failures import as_unavailable, is_lost_race
from app.store.ledger import Ledger, noted_in, planning
from app.store.vault import Vault

_T = TypeVar("_T")
_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.01


class LostRace(Exception):
    """A write found, under its locks, that it must begin again."""


class Sessions:
    """Opens the transactions of the repository on one engine, and what is sealed in it with one vault."""

    def __init__(self, engine: Engine, vault: Vault, ledger: Ledger | None = None) -> None:
        """Join them.

        Args:
            engine: Stays the caller's, who disposes of it.
            vault: Seals and opens.
            ledger: Where erasures are written down before they are committed; None writes none down.
        """
        self._engine: Final = engine
        self._vault: Final = vault
        self._ledger: Final = ledger
        self._writing: Final = engine.execution_options(sqlite_begin="IMMEDIATE")
        # Two statements of one reader see one moment, as in SQLite: otherwise a speaker who is deleted
        # between them would be shown without recordings, as nobody ever was. (Declared read-only, the next
        # writer on the connection would declare the contrary, whatever the server's default is.)
        postgresql = engine.dialect.name == "postgresql"
        one_moment = engine.execution_options(isolation_level="REPEATABLE READ") if postgresql else engine
        self._snapshot: Final = one_moment

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A transaction that writes nothing, and sees the database as it stands at its first statement.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with as_unavailable(), Session(self._snapshot) as session:
            yield session

    def _write(self, speaker_id: str, work: Callable[[Session], _T], *, point: str = "") -> _T:
        """Runs work in a transaction and commits it, again from the start after a lost race.

        Args:
            speaker_id: For the refusal.
            work: What is done.
            point: Name of the failpoints on the way; none when it is empty.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
            LedgerUnavailable: It is an erasure, and the ledger cannot be written.
        """
        for attempt in range(_ATTEMPTS):
            reach(f"{point}.before_transaction")
            try:
                with (
                    as_unavailable(),
                    _lost_races(),
                    Session(self._writing) as session,
                    planning(self._ledger) as plan,
                    session.begin(),
                ):
                    done = work(session)
                    reach(f"{point}.before_commit")
                    session.flush()  # after the ledger nothing may fail but the commit
                    plan.write(noted_in(session))
                reach(f"{point}.after_commit")
                return done
            except LostRace:
                time.sleep(_PAUSE_S * 2**attempt * random.random())
        raise ConcurrentModification(speaker_id)


@contextmanager
def _lost_races() -> Iterator[None]:
    try:
        yield
    except DBAPIError as problem:
        if is_lost_race(problem):
            raise LostRace from problem
        raise

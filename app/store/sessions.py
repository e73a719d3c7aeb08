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
from app.store.failures import as_unavailable, is_lost_race
from app.store.vault import Vault

_T = TypeVar("_T")
_ATTEMPTS: Final = 8
_PAUSE_S: Final = 0.01


class LostRace(Exception):
    """A write found, under its locks, that it must begin again."""


class Sessions:
    """Opens the transactions of the repository on one engine, and what is sealed in it with one vault."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine: Final = engine
        self._vault: Final = vault
        self._writing: Final = engine.execution_options(sqlite_begin="IMMEDIATE")

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A transaction that writes nothing.

        Raises:
            StorageUnavailable: The database does not answer.
        """
        with as_unavailable(), Session(self._engine) as session:
            yield session

    def _write(self, speaker_id: str, work: Callable[[Session], _T]) -> _T:
        """Runs work in a transaction and commits it, again from the start after a lost race.

        Raises:
            ConcurrentModification: Others were first every time.
            StorageUnavailable: The database does not answer.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with as_unavailable(), _lost_races(), Session(self._writing) as session, session.begin():
                    return work(session)
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

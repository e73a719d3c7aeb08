"""What a failing database means: not there for now, or somebody else was first."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import StorageUnavailable

_LOST_RACES: Final = {"23505", "40001", "40P01"}
"""SQLSTATE of PostgreSQL where running the transaction again can succeed: somebody else created
the same row, the order could not be kept, each waited for the other. SQLite's writers queue."""


_OUTAGES: Final = ("08", "25006", "25P03", "25P04", "53", "55000", "57", "58", "XX001", "XX002", "F0")
"""Beginnings of the SQLSTATE of PostgreSQL where nothing is wrong with the statement: no connection,
read-only, ended for idling in a transaction, no disk, memory or connections left, not prepared, told to stop
or about to start, a failing system below, damaged pages. Source: PostgreSQL's documentation, appendix A."""


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Turns a database that does not answer, or cannot do what it is for, into StorageUnavailable.

    Other errors pass.
    """
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as problem:
        raise StorageUnavailable from problem
    except DBAPIError as problem:
        if problem.connection_invalidated or is_outage(problem.orig):
            raise StorageUnavailable from problem
        raise


def is_outage(problem: BaseException | None) -> bool:
    """Whether the driver's error is the database's state and nothing that was asked of it.

    SQLite's are all OperationalErrors (full, read-only, locked, not to be read) but for a damaged file.
    """
    damaged = type(problem) is sqlite3.DatabaseError
    return damaged or str(getattr(problem, "sqlstate", None) or "").startswith(_OUTAGES)


def is_lost_race(problem: DBAPIError) -> bool:
    """Whether another transaction was first, so that running this one again can succeed."""
    return getattr(problem.orig, "sqlstate", None) in _LOST_RACES

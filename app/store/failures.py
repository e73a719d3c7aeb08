"""What a failing database means: not there, or somebody else was first."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import StorageUnavailable

_LOST_RACES: Final = {"23505", "40001", "40P01"}
"""SQLSTATE of PostgreSQL where running the transaction again can succeed: somebody else created
the same row, the order could not be kept, each waited for the other. SQLite's writers queue."""


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Turns a database that does not answer into StorageUnavailable; other errors pass."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as problem:
        raise StorageUnavailable from problem
    except DBAPIError as problem:
        if problem.connection_invalidated:
            raise StorageUnavailable from problem
        raise


def is_lost_race(problem: DBAPIError) -> bool:
    """Whether another transaction was first, so that running this one again can succeed."""
    return getattr(problem.orig, "sqlstate", None) in _LOST_RACES

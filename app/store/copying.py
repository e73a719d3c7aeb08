"""The whole database as one SQLite file, taken while the service runs, and put back: whichever kind it is."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, Engine, NullPool, create_engine, func, inspect, select, text

from app.errors import BackupInvalid
from app.store.database import make_engine, upgrade
from app.store.failures import as_unavailable
from app.store.tables import AuditHead, Base, Enrollment, Speaker, Tenant
from app.store.vault import Vault

_ROWS: Final = 500
"""Rows that are read and written together."""
_PIECE: Final = 1 << 20
_DEFAULT: Final = "default"
"""The tenant that every new database has."""


def take_copy(engine: Engine, path: Path) -> None:
    """Write everything as it stands at one moment into a new SQLite file; writers are not held up.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with as_unavailable():
        if engine.dialect.name == "sqlite":
            _copy_pages(engine, path)
        else:
            _copy_rows_out(engine, path)
    path.chmod(0o600)


def put_back(path: Path, url: str, vault: Vault) -> None:
    """Replace everything in a database by what a file of `take_copy` holds: all of it or nothing.

    Args:
        path: The file, at the newest migration.
        url: The database; brought to the newest migration first.
        vault: For that.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    upgrade(url, vault)
    source, target = make_engine(f"sqlite:///{path}"), make_engine(url)
    try:
        with as_unavailable():
            if target.dialect.name == "sqlite":
                _put_pages(path, target)
            else:
                _put_rows(source, target)
    finally:
        source.dispose()
        target.dispose()


def open_copy(path: Path) -> Engine:
    """Opens a file of `take_copy` for reading only; not a byte of it changes."""
    return create_engine("sqlite://", creator=lambda: _read_only(path), poolclass=NullPool)


def check_file(path: Path) -> None:
    """Let SQLite look at every page of a file.

    Raises:
        BackupInvalid: It is damaged.
    """
    try:
        with closing(_read_only(path)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
            dangling = connection.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as problem:
        raise BackupInvalid(str(path.parent), f"{path.name} is damaged ({problem})") from problem
    if found != "ok" or dangling is not None:
        raise BackupInvalid(str(path.parent), f"{path.name} is damaged ({found}, {dangling})")


def count_rows(engine: Engine) -> dict[str, int]:
    """Number of rows by table; a table that is not there has none.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with as_unavailable(), engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if table.name in there
        }


def contents(engine: Engine) -> tuple[str, list[str], dict[str, str]]:
    """The migration at which a database stands, the models in use, and the head of each tenant's log.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    with as_unavailable(), engine.connect() as connection:
        (schema,) = MigrationContext.configure(connection).get_current_heads()
        models = sorted(connection.scalars(select(Enrollment.model_id).distinct()))
        heads = connection.execute(select(AuditHead.tenant_id, AuditHead.hash).order_by(AuditHead.tenant_id))
        return schema, models, {each.tenant_id: each.hash for each in heads}


def is_empty(engine: Engine) -> bool:
    """Whether nobody has used the database yet: it has no rows but that of the tenant that is always there.

    Raises:
        StorageUnavailable: The database does not answer.
    """
    counts = count_rows(engine)
    if any(number for name, number in counts.items() if name != Tenant.__tablename__):
        return False
    with as_unavailable(), engine.connect() as connection:
        others = select(func.count()).select_from(Tenant).where(Tenant.tenant_id != _DEFAULT)
        return not counts or connection.scalar(others) == 0


def digest_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)


def _copy_pages(engine: Engine, path: Path) -> None:
    with closing(engine.raw_connection()) as connection, closing(sqlite3.connect(path)) as copy:
        path.chmod(0o600)
        driver: Any = connection.driver_connection
        driver.backup(copy)
        # The pages came with the mark of a write-ahead log; a backup is one file.
        copy.execute("PRAGMA journal_mode=DELETE")


def _put_pages(path: Path, target: Engine) -> None:
    with closing(sqlite3.connect(path)) as source, closing(target.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        source.backup(driver)
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _copy_rows_out(engine: Engine, path: Path) -> None:
    url = f"sqlite:///{path}"
    upgrade(url)
    one_moment = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    copy = make_engine(url)
    try:
        with (
            one_moment.connect() as source,
            copy.execution_options(sqlite_begin="IMMEDIATE").begin() as target,
        ):
            _copy_tables(source, target)
            last = source.scalar(text("SELECT last_value FROM speakers_key_seq"))
            # Not a number of whoever was deleted is given again.
            target.execute(text("DELETE FROM sqlite_sequence WHERE name = 'speakers'"))
            target.execute(text("INSERT INTO sqlite_sequence VALUES ('speakers', :last)"), {"last": last})
        with copy.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            driver.execute("PRAGMA journal_mode=DELETE").fetchall()
    finally:
        copy.dispose()


def _put_rows(source_engine: Engine, target_engine: Engine) -> None:
    with source_engine.connect() as source, target_engine.begin() as target:
        for limit in ("lock_timeout", "idle_in_transaction_session_timeout"):
            target.execute(text(f"SET LOCAL {limit} = 0"))
        target.execute(text(f"TRUNCATE {', '.join(table.name for table in Base.metadata.sorted_tables)}"))
        _copy_tables(source, target)
        used = source.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'speakers'")) or 0
        for table in Base.metadata.sorted_tables:
            for column in table.primary_key.columns:
                _go_on_counting(target, column, used if table.name == Speaker.__tablename__ else 0)


def _go_on_counting(target: Connection, column: Column[Any], used: int) -> None:
    """Let PostgreSQL count on after the largest number of a column that it fills itself."""
    assert column.table is not None
    counter = f"pg_get_serial_sequence('{column.table.name}', '{column.name}')"
    if target.scalar(text(f"SELECT {counter}")) is not None:
        last = max(used, target.scalar(select(func.max(column))) or 0)
        values = {"last": max(last, 1), "used": last > 0}
        target.execute(text(f"SELECT setval({counter}, :last, :used)"), values)


def _copy_tables(source: Connection, target: Connection) -> None:
    """Copy the rows of every table, those first that others point at."""
    for table in Base.metadata.sorted_tables:
        target.execute(table.delete())
        rows = source.execution_options(yield_per=_ROWS).execute(select(table))
        for some in rows.mappings().partitions(_ROWS):
            target.execute(table.insert(), [dict(row) for row in some])

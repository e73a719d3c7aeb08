"""The engine, how it talks to SQLite and to PostgreSQL, and where its schema stands."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from app.errors import DatabaseInUse, MigrationsMissing, SchemaOutdated
from app.store.failures import as_unavailable
from app.store.impatience import limit_silence
from app.store.vault import Vault

_ROOT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds app/, alembic/ and alembic.ini, in a checkout and in the container."""
_BUSY_MS: Final = 10_000
"""How long a writer waits for another before it gives up, in milliseconds."""
_CHECKPOINT_BUSY_MS: Final = 500
_STILL_S: Final = 10
"""How long the other end of a connection to PostgreSQL may be silent until it counts as gone, in seconds."""
_IDLE_MS: Final = 3_000
"""How long a transaction may stand still, in milliseconds: others wait for its locks."""
_POOL: Final[dict[str, Any]] = {
    "max_overflow": 0,  # what PostgreSQL has to bear is then a number that can be known
    "pool_timeout": 10,
    "hide_parameters": True,  # or the log of a failed statement would hold names
}
_NAME: Final = "timbre"
"""By which PostgreSQL lists the sessions of this program."""
_LEAVING_S: Final = 3.0
"""How long PostgreSQL may take to end the session of a connection that was closed."""
_MIGRATION_LOCK: Final = 0x74696D627265  # "timbre": the PostgreSQL advisory lock of migrations
_in_process = threading.Lock()  # alembic keeps the running migration in module globals


def make_engine(url: str, connections: int = 8, *, patient: bool = False) -> Engine:
    """Opens a database; nothing is read yet. The caller disposes of the engine.

    SQLite gets a write-ahead log, foreign keys, zeroed deletions and transactions that
    begin where SQLAlchemy says so; its folder is created. PostgreSQL connections are
    tested before use and never wait for a lock without end, nor for a machine that is gone.

    Args:
        url: sqlite:///path or postgresql+psycopg://user:password@host/name.
        connections: Most at the same time; whoever needs one more waits.
        patient: A statement may take long, and so may what is done between two, as in migrations.

    Raises:
        ValueError: A SQLite address without a file.
    """
    address = make_url(url)
    pool = {**_POOL, "pool_size": connections}
    if address.get_backend_name() == "sqlite":
        return _sqlite_engine(address, pool)
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(
        address,
        **pool,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": _NAME,
            "client_encoding": "utf8",  # from a SQL_ASCII database psycopg would hand out bytes
            "keepalives_idle": _STILL_S // 2,
            "keepalives_interval": 2,
            "tcp_user_timeout": _STILL_S * 1000,
            # Of two values for one name PostgreSQL takes the later.
            "options": f"{_session_options(patient)} {address.query.get('options', '')}",
        },
    )
    if not patient:
        limit_silence(engine)
    return engine


def _session_options(patient: bool) -> str:
    """What each PostgreSQL session is told.

    A process that is paused, or whose machine is gone, in the middle of a transaction holds the lock of a
    gallery, and every writer to it would wait: the server ends such a transaction.
    """
    told = {
        "timezone": "utc",
        "lock_timeout": _BUSY_MS,
        "idle_in_transaction_session_timeout": 0 if patient else _IDLE_MS,
        "tcp_keepalives_idle": _STILL_S // 2,
        "tcp_keepalives_interval": 2,
        "tcp_user_timeout": _STILL_S * 1000,
    }
    return " ".join(f"-c {name}={value}" for name, value in told.items())


def _sqlite_engine(address: URL, pool: dict[str, Any]) -> Engine:
    if not address.database or ":memory:" in address.database:
        raise ValueError("a SQLite database in memory is another one for each connection; name a file")
    # Voices are personal data: nobody else on the machine has business in a folder made here.
    Path(address.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(address, **pool, connect_args={"timeout": _BUSY_MS / 1000})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin late and commit around DDL
        with closing(connection.cursor()) as cursor:
            _enter_wal(cursor)
            for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads before it writes must take the write lock at once: SQLite
        # refuses to upgrade a snapshot that another writer has overtaken.
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', '')}")

    return engine


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """Turns the write-ahead log on, which stays with the file.

    Where several processes open a new file at once, SQLite refuses all but one without
    waiting; the others find it done.
    """
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as problem:
            busy = problem.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def erase_traces(engine: Engine) -> None:
    """Empties SQLite's write-ahead log, where pages from before a deletion remain.

    Readers that hold a snapshot may prevent it, and so may a disk that fails; the deletion stands, and
    the next one or the sweeper tries again. PostgreSQL clears dead rows by its own (auto)vacuum.
    """
    if engine.dialect.name != "sqlite":
        return
    with suppress(SQLAlchemyError, sqlite3.Error), closing(engine.raw_connection()) as connection:
        try:
            for statement in (f"busy_timeout={_CHECKPOINT_BUSY_MS}", "wal_checkpoint(TRUNCATE)"):
                connection.cursor().execute(f"PRAGMA {statement}").fetchall()
        finally:
            connection.cursor().execute(f"PRAGMA busy_timeout={_BUSY_MS}")


def check_unused(engine: Engine) -> None:
    """Makes sure that no other process has the database open.

    Raises:
        DatabaseInUse: One has.
        StorageUnavailable: The database does not answer.
    """
    engine.dispose()  # its own idle connections are none
    with as_unavailable():
        used = _has_file_open(engine) if engine.dialect.name == "sqlite" else _has_sessions(engine)
    if used:
        raise DatabaseInUse(engine.url.render_as_string(hide_password=True))


def _has_file_open(engine: Engine) -> bool:
    # Whoever has a file with a write-ahead log open holds a shared lock on it.
    with closing(sqlite3.connect(engine.url.database or "", timeout=0)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
            connection.execute("BEGIN EXCLUSIVE")
            connection.rollback()
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                return True
            raise
    return False


def _has_sessions(engine: Engine) -> bool:
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = :name AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + _LEAVING_S
    while True:
        with engine.connect() as connection:
            if not connection.scalar(others, {"name": _NAME}):
                return False
        if time.monotonic() > deadline:
            return True
        time.sleep(0.1)


# ---------------------------------------------------------------- migrations


def migrations_config(connection: Connection | None = None) -> Config:
    """The alembic configuration of this program, on a connection when one is given.

    Raises:
        MigrationsMissing: The migrations do not lie beside the app folder.
    """
    folder = _ROOT / "alembic"
    # Installed into site-packages, "alembic" beside app would be the library itself.
    if not (folder / "env.py").is_file():
        raise MigrationsMissing(str(folder))
    config = Config(_ROOT / "alembic.ini" if (_ROOT / "alembic.ini").is_file() else None)
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Every migration of this program, the oldest first.

    Raises:
        MigrationsMissing: The migrations do not lie beside the app folder.
    """
    scripts = ScriptDirectory.from_config(migrations_config()).walk_revisions()
    return [script.revision for script in scripts][::-1]


def check_schema(engine: Engine) -> None:
    """Makes sure that the database stands at the program's newest migration.

    Raises:
        SchemaOutdated: It stands elsewhere; the error names both.
        MigrationsMissing: The migrations do not lie beside the app folder.
        StorageUnavailable: The database does not answer.
    """
    needed = ScriptDirectory.from_config(migrations_config()).get_heads()
    with as_unavailable(), engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if set(found) != set(needed):
        raise SchemaOutdated(", ".join(found) or "none", ", ".join(needed))


def upgrade(url: str, vault: Vault | None = None) -> None:
    """Brings a database to the newest migration, all of it or nothing.

    Several processes may do this at once: the first migrates, the others wait and find
    nothing left to do.

    Raises:
        MigrationsMissing: The migrations do not lie beside the app folder.
        SchemaOutdated: The database stands at a migration that this program does not know.
        StorageUnavailable: The database does not answer.
    """
    migrate(url, "head", vault)


def migrate(url: str, revision: str, vault: Vault | None = None) -> None:
    """Takes a database up or down to a revision ("head", "base" or an identifier); see upgrade.

    Args:
        url: The database.
        revision: Where to.
        vault: Seals or opens the embeddings that are stored; without voices it is not needed.
    """
    with migrating(url) as connection:
        _step(connection, revision, vault)


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """A connection in the one transaction of a migration, other processes held off until it ends."""
    engine = make_engine(url, patient=True)
    try:
        with _in_process, as_unavailable(), engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # Rebuilding a table drops the old one, which would cascade; SQLite heeds this
                # switch outside of transactions only.
                connection.connection.cursor().execute("PRAGMA foreign_keys=OFF").close()
            with connection.execution_options(sqlite_begin="IMMEDIATE").begin():
                if engine.dialect.name == "postgresql":  # SQLite's BEGIN has locked already
                    connection.execute(text("SET LOCAL lock_timeout = 0"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                yield connection
    finally:
        engine.dispose()


def _step(connection: Connection, revision: str, vault: Vault | None) -> None:
    config = migrations_config(connection)
    config.attributes["vault"] = vault
    found = MigrationContext.configure(connection).get_current_heads()
    down = revision == "base" or (revision.isdigit() and bool(found) and revision < found[0])
    try:
        (command.downgrade if down else command.upgrade)(config, revision)
    except CommandError as problem:  # a newer program has been here
        needed = ScriptDirectory.from_config(config).get_heads()
        raise SchemaOutdated(", ".join(found) or "none", ", ".join(needed)) from problem

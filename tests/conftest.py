"""Real databases for every test that asks: a file of SQLite, and a PostgreSQL server of our own."""

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from app.store.database import upgrade

TEMPLATE = "timbre_template"


def _binary(name: str) -> Path:
    """A program of the PostgreSQL server: on PATH or where Debian keeps it."""
    found = shutil.which(name)
    if found:
        # Debian's own wrappers on PATH know initdb under its full path only.
        return Path(found)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[-3]))
    if not versions:
        pytest.fail(
            f"no {name} here: install the PostgreSQL server (apt install postgresql) "
            "or name a running one in TIMBRE_TEST_POSTGRES_URL",
            pytrace=False,
        )
    return versions[-1]


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; the account to run it under instead, None for our own."""
    if os.geteuid() != 0:
        return None
    accounts = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in accounts else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str], folder: Path, user: str | None) -> None:
    with (folder / "setup.log").open("a") as log:
        subprocess.run(
            command, check=True, cwd=folder, user=user, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a server whose databases may be made and dropped; ours ends with the session."""
    given = os.environ.get("TIMBRE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    user = _server_user()
    # pytest's own folders are closed to other accounts.
    folder = Path(tempfile.mkdtemp(prefix="timbre-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()
    owner = "postgres" if user else getpass.getuser()
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
        "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=200"
    )
    try:
        initdb = [str(_binary("initdb")), "-D", str(data), "-U", owner, "-A", "trust", "-E", "UTF8"]
        _run([*initdb, "--locale=C", "--no-sync"], folder, user)
        control = [str(_binary("pg_ctl")), "-D", str(data), "-w"]
        _run([*control, "-l", str(folder / "server.log"), "-o", options, "start"], folder, user)
        try:
            yield f"postgresql+psycopg://{owner}@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], folder, user)
    finally:
        shutil.rmtree(folder)


def _execute(server: str, statement: str) -> None:
    address = make_url(server).set(drivername="postgresql")
    with psycopg.connect(address.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _postgres_database(server: str, template: str) -> Iterator[str]:
    name = f"timbre_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Name of a database with every table, of which each test gets a copy."""
    name = f"{TEMPLATE}_{uuid.uuid4().hex}"
    _execute(postgres_server, f"CREATE DATABASE {name}")
    upgrade(make_url(postgres_server).set(database=name).render_as_string(hide_password=False))
    yield name
    _execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every table, of which each test gets a copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A fresh PostgreSQL database at the newest migration."""
    yield from _postgres_database(postgres_server, postgres_template)


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh PostgreSQL database without tables."""
    yield from _postgres_database(postgres_server, "template1")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh SQLite database at the newest migration."""
    path = tmp_path / "timbre.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """Where a SQLite database can be made."""
    return f"sqlite:///{tmp_path / 'timbre.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database at the newest migration, once on SQLite and once on PostgreSQL."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database without tables, once on SQLite and once on PostgreSQL."""
    name = "empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url"
    url: str = request.getfixturevalue(name)
    return url

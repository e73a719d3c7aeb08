"""Real databases for every test that asks: a file of SQLite, and a PostgreSQL server of our own."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from app.store.database import upgrade
from tests.postgres import cluster
from tests.served import leave_alone_what_stays

TEMPLATE = "timbre_template"
UNHURRIED = "-cidle_in_transaction_session_timeout=60000"
"""On a busy machine a test may stand still for longer than a process of the service should."""


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What was imported until now, and what Keras has traced, stays too."""
    leave_alone_what_stays()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a server whose databases may be made and dropped; ours ends with the session."""
    given = os.environ.get("TIMBRE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with cluster() as url:
        yield url


def _execute(server: str, statement: str) -> None:
    address = make_url(server).set(drivername="postgresql")
    with psycopg.connect(address.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement)


def _postgres_database(server: str, template: str) -> Iterator[str]:
    name = f"timbre_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    address = make_url(server).set(database=name).update_query_dict({"options": UNHURRIED})
    yield address.render_as_string(hide_password=False)
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

"""Databases as earlier programs left them: upgraded with everything in them, served, and taken back.

tests/data/make_schema.py wrote them with the program of their day.
"""

import gzip
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, make_url, select

from app.service.access import make_key
from app.store import Repository, check_schema, make_engine, upgrade
from app.store.database import migrate, migrations_config
from app.store.sealing import of_take, opened
from tests.data.make_schema import FOLDER
from tests.served import audio, clip, serving, settings_for
from tests.store.makers import VAULT
from tests.tiny import write_tiny_model

SCRIPTS: Final = ScriptDirectory.from_config(migrations_config())
EARLIER: Final = sorted(script.revision for script in SCRIPTS.walk_revisions() if not script.is_head)
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=EARLIER)
def revision(request: pytest.FixtureRequest) -> str:
    """Every schema that a database may stand at."""
    return str(request.param)


@pytest.fixture
def old_url(revision: str, empty_database_url: str) -> Iterator[str]:
    """A database that the program of a revision left."""
    address = make_url(empty_database_url)
    kind = address.get_backend_name()
    sql = gzip.decompress((FOLDER / f"{revision}.{kind}.sql.gz").read_bytes()).decode()
    if kind == "sqlite":
        assert address.database is not None
        with closing(sqlite3.connect(address.database)) as connection:
            connection.executescript(sql)
    else:
        plain = address.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(sql.encode())
    yield empty_database_url


def rows(url: str) -> Rows:
    """Everything that a database holds, in an order that does not depend on where the rows lie."""
    engine = make_engine(url)
    try:
        tables = MetaData()
        tables.reflect(engine)
        with engine.connect() as connection:
            return {
                table.name: sorted(
                    (dict(row) for row in connection.execute(select(table)).mappings()), key=repr
                )
                for table in tables.sorted_tables
                if table.name != "alembic_version"
            }
    finally:
        engine.dispose()


def test_every_table_of_the_newest_old_schema_has_something_in_it(old_url: str, revision: str) -> None:
    assert all(rows(old_url).values())


def test_nothing_is_lost_on_the_way_up_and_none_of_it_on_the_way_back(old_url: str, revision: str) -> None:
    before = rows(old_url)
    upgrade(old_url, VAULT)
    now = rows(old_url)
    for table, stood in before.items():
        names = stood[0].keys() - ({"embedding"} if revision == "0001" else set())
        assert only(now[table], names) == only(stood, names), table
    engine = make_engine(old_url)
    try:
        check_schema(engine)
        # What was plain in the first schema is sealed now, and opens to the same.
        keys = {row["key"]: row["data_key"] for row in now["speakers"]}
        plain = {row["enrollment_id"]: row["embedding"] for row in before["enrollments"]}
        for row in now["enrollments"]:
            opener, about = VAULT.opener(keys[row["speaker_key"]]), of_take(row["enrollment_id"])
            assert opened(opener, row["embedding"], about).shape == (32,)
            if revision == "0001":
                assert row["embedding"] != plain[row["enrollment_id"]]
                assert opener(row["embedding"], about) == plain[row["enrollment_id"]]
        assert Repository(engine, VAULT).check_audit("default").broken_at is None
    finally:
        engine.dispose()
    migrate(old_url, revision, VAULT)
    assert rows(old_url) == before


def test_the_service_goes_on_with_an_old_database(old_url: str, revision: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "models" / "tiny")
    settings = settings_for(tmp_path / "models", old_url)
    upgrade(old_url, VAULT)
    engine = make_engine(old_url)
    try:
        token = make_key(Repository(engine, VAULT), "default", scopes=["admin"]).token
    finally:
        engine.dispose()
    with serving(settings) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/readyz").status_code == 200
        speakers = client.get("/v1/speakers").json()["speakers"]
        assert [each["speaker_id"] for each in speakers][:2] == ["ada", "ben"]
        assert speakers[0]["display_name"] == "Åda"
        takes = client.get("/v1/speakers/ben/enrollments").json()["enrollments"]
        assert len(takes) == 2
        assert client.delete("/v1/speakers/ada").status_code == 204
        new = client.post("/enroll", files=audio(clip(7), clip(7, 1)), data={"speaker_id": "new"})
        assert new.status_code == 201, new.text
        found = client.post("/identify", files=audio(clip(7, 2))).json()
        assert (found["decision"], found["speaker_id"]) == ("match", "new")
        assert client.get("/v1/audit/chain").json()["intact"] is True


def only(table: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """These columns of a table."""
    return sorted(({name: row[name] for name in sorted(names)} for row in table), key=repr)


def test_a_schema_that_is_to_be_followed_is_kept() -> None:
    """Before a migration is added, the schema before it is written down by tests/data/make_schema.py."""
    kept = {file.name.partition(".")[::2] for file in FOLDER.iterdir()}
    assert kept >= {(one, f"{kind}.sql.gz") for one in EARLIER for kind in ("sqlite", "postgresql")}

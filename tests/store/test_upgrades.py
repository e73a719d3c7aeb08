"""Databases as earlier programs left them: upgraded with everything in them, served, and taken back.

tests/data/make_schema.py wrote them with the program of their day.
"""

import gzip
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import MetaData, make_url, select

from app.errors import SchemaOutdated
from app.service.access import make_key
from app.store import Repository, check_schema, make_engine, upgrade
from app.store.database import migrate, revisions
from app.store.sealing import of_take, opened
from tests.data.make_schema import FOLDER, fill
from tests.served import MASTER_KEY, audio, clip, serving, settings_for
from tests.store.makers import VAULT
from tests.tiny import write_tiny_model

*EARLIER, NEWEST = revisions()
ROOT = Path(__file__).parents[2]
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=EARLIER)
def revision(request: pytest.FixtureRequest) -> str:
    """Every schema that a database may stand at."""
    return str(request.param)


@pytest.fixture
def old_url(revision: str, empty_database_url: str) -> str:
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
    return empty_database_url


def rows(url: str) -> Rows:
    """Everything that a database holds, in an order that does not depend on where the rows lie."""
    engine = make_engine(url, patient=True)
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


def test_what_this_program_leaves_goes_down_and_comes_up_again(database_url: str, tmp_path: Path) -> None:
    fill(database_url, tmp_path / "models")
    before = rows(database_url)
    assert [table for table, held in before.items() if not held] == []
    for revision in reversed(EARLIER):
        migrate(database_url, revision, VAULT)
        down = rows(database_url)
        migrate(database_url, NEWEST, VAULT)
        up = rows(database_url)
        for table, stood in down.items():
            names = stood[0].keys() - ({"embedding"} if revision == "0001" else set())
            assert only(up[table], names) == only(stood, names) == only(before[table], names), table
    engine = make_engine(database_url)
    try:
        for row in up["enrollments"]:
            (key,) = [each["data_key"] for each in up["speakers"] if each["key"] == row["speaker_key"]]
            VAULT.open(key, row["embedding"], of_take(row["enrollment_id"]))
        check_schema(engine)
    finally:
        engine.dispose()


def test_the_command_line_goes_to_an_older_schema_and_back(database_url: str, tmp_path: Path) -> None:
    def timbre(*words: str) -> subprocess.CompletedProcess[str]:
        own = {"TIMBRE_DATABASE_URL": database_url, "TIMBRE_MASTER_KEY": MASTER_KEY}
        command = [sys.executable, "-m", "app.cli", *words]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False
        )

    engine = make_engine(database_url)
    try:
        assert timbre("migrate", "--to", EARLIER[0]).returncode == 0
        with pytest.raises(SchemaOutdated, match=EARLIER[0]):
            check_schema(engine)
        assert timbre("migrate").returncode == 0
        check_schema(engine)
        refused = timbre("migrate", "--to", "9999")
        assert refused.returncode == 2
        assert f"no migration 9999; there are {', '.join(EARLIER)}" in " ".join(refused.stderr.split())
    finally:
        engine.dispose()


def only(table: list[dict[str, Any]], names: set[str]) -> list[dict[str, Any]]:
    """These columns of a table."""
    return sorted(({name: row[name] for name in sorted(names)} for row in table), key=repr)


def test_a_schema_that_is_to_be_followed_is_kept() -> None:
    """Before a migration is added, the schema before it is written down by tests/data/make_schema.py."""
    kept = {file.name.partition(".")[::2] for file in FOLDER.iterdir()}
    assert kept >= {(one, f"{kind}.sql.gz") for one in EARLIER for kind in ("sqlite", "postgresql")}

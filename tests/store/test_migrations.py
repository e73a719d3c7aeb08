"""Up, down, up again; no difference to the tables; safe when several start at once."""

import multiprocessing
import shutil
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import ProgrammingError

from app.errors import MigrationsMissing, SchemaOutdated, StartupError, StorageUnavailable
from app.store import Repository, check_schema, database, make_engine, upgrade
from app.store.database import migrate
from app.store.tables import Base
from tests.store.makers import MODEL, TENANT, VAULT, take, voice

TABLES = {"alembic_version", *Base.metadata.tables}
ROOT = Path(__file__).parents[2]


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def works(url: str) -> None:
    engine = make_engine(url)
    try:
        check_schema(engine)
        Repository(engine, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(1)])
        assert Repository(engine, VAULT).delete_speaker(TENANT, "anna")
    finally:
        engine.dispose()


def test_up_from_nothing_down_to_nothing_and_up_again(empty_database_url: str) -> None:
    upgrade(empty_database_url)
    assert tables(empty_database_url) == TABLES
    works(empty_database_url)
    migrate(empty_database_url, "base")
    assert tables(empty_database_url) == {"alembic_version"}
    upgrade(empty_database_url)
    works(empty_database_url)


def test_voices_of_the_first_schema_are_sealed_and_can_be_taken_back(empty_database_url: str) -> None:
    """Plain embeddings go up and down and up with their speakers, takes, centroids and tombstones."""
    migrate(empty_database_url, "0001")
    engine = make_engine(empty_database_url)
    now = "2026-01-01 00:00:00+00:00"
    try:
        with engine.begin() as connection:
            for key, name in ((1, "anna"), (2, "ben")):
                connection.execute(
                    text(
                        "INSERT INTO speakers (key, tenant_id, speaker_id, metadata, created_at, "
                        "updated_at, version) VALUES (:key, 'default', :name, '{}', :now, :now, 1)"
                    ),
                    {"key": key, "name": name, "now": now},
                )
                connection.execute(
                    text(
                        "INSERT INTO enrollments VALUES "
                        "(:id, :key, :model, :embedding, 5.0, 6.0, 0.9, '{}', :sha, :now)"
                    ),
                    {
                        "id": f"take-{name}",
                        "key": key,
                        "model": MODEL,
                        "embedding": voice(key).tobytes(),
                        "sha": f"{key:064x}",
                        "now": now,
                    },
                )
            for key, embedding in ((1, voice(1).tobytes()), (2, voice(2).tobytes()), (3, None)):
                connection.execute(
                    text("INSERT INTO centroids VALUES (:key, :model, 'default', :embedding, 5.0, 1, :key)"),
                    {"key": key, "model": MODEL, "embedding": embedding},
                )
            connection.execute(text("INSERT INTO galleries VALUES ('default', :m, 3)"), {"m": MODEL})
        with pytest.raises(RuntimeError, match="master key"):
            migrate(empty_database_url, "head")
        for _ in range(2):
            migrate(empty_database_url, "head", VAULT)
            repository = Repository(engine, VAULT)
            for key, name in ((1, "anna"), (2, "ben")):
                (stored,) = repository.list_enrollments(TENANT, name)
                assert stored.embedding.tobytes() == voice(key).tobytes()
                centroid = repository.centroid_of(TENANT, MODEL, name)
                assert centroid is not None
                assert centroid.embedding.tobytes() == voice(key).tobytes()
            assert [change.speaker_key for change in repository.changes_since(TENANT, MODEL, 2).changes] == [
                3
            ]
            with engine.connect() as connection:
                plain = connection.scalars(text("SELECT embedding FROM enrollments")).all()
            assert voice(1).tobytes() not in {bytes(value) for value in plain}
            migrate(empty_database_url, "0001", VAULT)
            with engine.connect() as connection:
                plain = connection.scalars(
                    text("SELECT embedding FROM enrollments ORDER BY speaker_key")
                ).all()
            assert [bytes(value) for value in plain] == [voice(1).tobytes(), voice(2).tobytes()]
    finally:
        engine.dispose()


def test_an_upgrade_of_the_newest_changes_nothing(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        Repository(engine, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(1)])
        upgrade(database_url)
        assert Repository(engine, VAULT).get_speaker(TENANT, "anna").held(MODEL).enrollments_count == 1
    finally:
        engine.dispose()


def test_the_migrations_make_the_tables_of_the_program(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, Base.metadata) == []
            names = {
                constraint["name"]
                for table in ("speakers", "enrollments")
                for constraint in inspect(connection).get_unique_constraints(table)
            }
        assert names == {
            "uq_speakers_tenant_id_speaker_id",
            "uq_enrollments_speaker_key_model_id_audio_sha256",
        }
    finally:
        engine.dispose()


def test_a_difference_to_the_tables_would_be_found(database_url: str) -> None:
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE speakers ADD COLUMN extra INTEGER"))
        with engine.connect() as connection:
            assert len(compare_metadata(MigrationContext.configure(connection), Base.metadata)) == 1
    finally:
        engine.dispose()


@pytest.mark.parametrize("revision", ["base", "9999"])
def test_another_schema_is_refused(database_url: str, revision: str) -> None:
    engine = make_engine(database_url)
    try:
        if revision == "base":
            migrate(database_url, "base")
        else:
            with engine.begin() as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaOutdated) as refusal:
            check_schema(engine)
        assert refusal.value.found == ("none" if revision == "base" else "9999")
        assert refusal.value.needed == "0003"
        if revision == "9999":
            with pytest.raises(SchemaOutdated, match="9999"):
                upgrade(database_url)
    finally:
        engine.dispose()


def test_an_empty_database_is_refused(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    try:
        with pytest.raises(SchemaOutdated, match="none"):
            check_schema(engine)
    finally:
        engine.dispose()


def test_a_migration_that_fails_leaves_nothing(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE galleries (in_the_way INTEGER)"))
        # SQLite's driver calls this the same as a file that cannot be opened; PostgreSQL's does not.
        with pytest.raises((StorageUnavailable, ProgrammingError)):
            upgrade(empty_database_url)
    finally:
        engine.dispose()
    assert tables(empty_database_url) == {"galleries"}


def start(urls: list[str], together: Barrier) -> None:
    for url in urls:
        together.wait(timeout=200)
        upgrade(url)
        engine = make_engine(url)
        check_schema(engine)
        engine.dispose()


@pytest.mark.timeout(300)  # processes start slowly on a busy machine
def test_processes_that_start_at_once_all_find_the_tables(empty_database_url: str, tmp_path: Path) -> None:
    spawn, urls = multiprocessing.get_context("spawn"), [empty_database_url]
    if empty_database_url.startswith("sqlite"):
        # The race to make a new file is short; several files give it a chance to be lost.
        urls += [f"sqlite:///{tmp_path / f'new-{i}' / 'timbre.db'}" for i in range(12)]
    together = spawn.Barrier(4)
    processes = [spawn.Process(target=start, args=(urls, together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(250)
    assert [process.exitcode for process in processes] == [0] * 4
    for url in urls:
        works(url)


def test_the_command_line_of_alembic_migrates_too(empty_database_url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini")]
    for step in (["upgrade", "head"], ["check"]):
        run = subprocess.run(
            [*command, "-x", f"url={empty_database_url}", *step],
            cwd=tmp_path,  # not beside the migrations
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
    works(empty_database_url)


def test_missing_migrations_stop_the_start(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in site-packages: a folder of that name is there, but it is the library.
    shutil.copytree(ROOT / "alembic" / "versions", tmp_path / "alembic" / "versions")
    monkeypatch.setattr(database, "_ROOT", tmp_path)
    engine = make_engine(sqlite_url)
    try:
        with pytest.raises(MigrationsMissing, match=str(tmp_path)) as refusal:
            check_schema(engine)
        assert isinstance(refusal.value, StartupError)
        with pytest.raises(MigrationsMissing):
            upgrade(sqlite_url)
    finally:
        engine.dispose()


def test_a_sqlite_file_gets_its_folder_closed_to_others(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path}/new/folder/timbre.db")
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="name a file"):
        make_engine(url)


def test_the_short_address_of_postgresql_means_the_installed_driver(postgres_url: str) -> None:
    engine = make_engine(postgres_url.replace("+psycopg", ""))
    try:
        Repository(engine, VAULT).ping()
        assert engine.dialect.driver == "psycopg"
    finally:
        engine.dispose()

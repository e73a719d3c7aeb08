"""Deleting a speaker leaves no embedding of it: not in a table, and not in SQLite's files."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Column, Engine, func, inspect, make_url, select, text

from app.errors import MasterKeyInvalid
from app.store import Repository, Vault, make_engine
from app.store.tables import Base
from app.store.tables.columns import UtcDateTime
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, VAULT, take, voice


def binary_values(engine: Engine, speaker_id: str | None = None) -> set[bytes]:
    """Every binary value of every table, whatever its column means; of one speaker when it is named."""
    found: set[bytes] = set()
    with engine.connect() as connection:
        key = connection.scalar(text("SELECT key FROM speakers WHERE speaker_id = :s"), {"s": speaker_id})
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                if speaker_id is None or key in (row.get("speaker_key"), row.get("key")):
                    found |= {bytes(value) for value in row.values() if isinstance(value, bytes | memoryview)}
    return found


def test_no_table_keeps_anything_of_a_deleted_speaker(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1, recording=b"a recording"), take(2)])
    repository.add_enrollments(TENANT, "anna", OTHER_MODEL, [take(3)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(4)])
    hers, his = binary_values(engine, "anna"), binary_values(engine, "ben")
    # Three takes, two centroids, a recording and the data key of the one; of the other one of each.
    assert (len(hers), len(his)) == (7, 3)
    repository.delete_speaker(TENANT, "anna")
    assert binary_values(engine) == his
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            assert "anna" not in repr(connection.execute(text(f"SELECT * FROM {table}")).all())


def test_nothing_of_a_voice_is_stored_plainly(repository: Repository, engine: Engine) -> None:
    enrolled = repository.add_enrollments(
        TENANT, "anna", MODEL, [take(1, recording=b"a recording" * 9), take(2)]
    )
    plain = {voice(1).tobytes(), voice(2).tobytes(), enrolled.centroid.embedding.tobytes()}
    stored = b"".join(binary_values(engine))
    assert not [value for value in plain if value[:64] in stored]
    assert b"a recording" not in stored


def test_another_master_key_opens_nothing(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.check_vault()
    stranger = Repository(engine, Vault(bytes(32)))
    for look in (
        stranger.check_vault,
        lambda: stranger.centroid_of(TENANT, MODEL, "anna"),
        lambda: stranger.list_enrollments(TENANT, "anna"),
        lambda: stranger.changes_since(TENANT, MODEL, 0),
    ):
        with pytest.raises(MasterKeyInvalid):
            look()


def test_a_row_that_was_moved_to_another_speaker_is_not_read(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE centroids SET embedding = (SELECT other.embedding FROM centroids other "
                "WHERE other.speaker_key <> centroids.speaker_key) WHERE speaker_key = "
                "(SELECT key FROM speakers WHERE speaker_id = 'ben')"
            )
        )
    assert repository.centroid_of(TENANT, MODEL, "anna") is not None
    with pytest.raises(MasterKeyInvalid):
        repository.centroid_of(TENANT, MODEL, "ben")


@pytest.fixture
def files(sqlite_url: str) -> Iterator[tuple[Repository, Path]]:
    engine = make_engine(sqlite_url)
    yield Repository(engine, VAULT), Path(str(make_url(sqlite_url).database))
    engine.dispose()


def sealed(path: Path, speaker_id: str) -> list[bytes]:
    """What is stored of a speaker, byte by byte: sealed takes, centroids and the data key."""
    engine = make_engine(f"sqlite:///{path}")
    try:
        return sorted(binary_values(engine, speaker_id))
    finally:
        engine.dispose()


def on_disk(path: Path, values: list[bytes]) -> list[int]:
    """Which of the values stand in the database file or beside it, in part even.

    A quarter of a value is looked for, wherever in it: SQLite overwrites the ends of a
    freed cell with its own bookkeeping.
    """
    content = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return [
        i
        for i, value in enumerate(values)
        if any(
            value[start : start + len(value) // 4] in content
            for start in range(0, len(value), len(value) // 4)
            if start + len(value) // 4 <= len(value)
        )
    ]


def test_a_deletion_leaves_nothing_in_the_file_or_the_log(files: tuple[Repository, Path]) -> None:
    repository, path = files
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(3)])
    hers, his = sealed(path, "anna"), sealed(path, "ben")
    assert on_disk(path, hers) == [0, 1, 2, 3]
    repository.delete_speaker(TENANT, "anna")
    assert on_disk(path, hers) == []
    assert on_disk(path, his) == [0, 1, 2]


def test_a_recording_taken_back_leaves_nothing_in_the_file(files: tuple[Repository, Path]) -> None:
    repository, path = files
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    before = sealed(path, "anna")
    repository.delete_enrollment(TENANT, "anna", enrolled.enrollments[0].enrollment_id)
    left = sealed(path, "anna")
    # The first take and the centroid of both are gone; the second take and the data key stand.
    assert len(set(before) & set(left)) == 2
    assert on_disk(path, [value for value in before if value not in left]) == []
    repository.add_enrollments(TENANT, "anna", MODEL, [take(3)], on_existing="replace")
    assert on_disk(path, before) == []


def test_many_deletions_leave_nothing_behind_in_a_full_file(files: tuple[Repository, Path]) -> None:
    """Pages that split and merge move embeddings about; no copy may stay where one was."""
    repository, path = files
    random = np.random.default_rng(0)
    alive: dict[int, list[bytes]] = {}
    gone: list[bytes] = []
    for seed in range(90):
        repository.add_enrollments(TENANT, f"speaker-{seed}", MODEL, [take(2 * seed), take(2 * seed + 1)])
        alive[seed] = sealed(path, f"speaker-{seed}")
        if seed % 3 == 2:
            chosen = int(random.choice(list(alive)))
            gone += alive.pop(chosen)
            repository.delete_speaker(TENANT, f"speaker-{chosen}")
    standing = [value for values in alive.values() for value in values]
    assert on_disk(path, gone) == []
    assert len(on_disk(path, standing)) == len(standing)


def test_a_reader_in_the_way_does_not_stop_a_deletion(files: tuple[Repository, Path]) -> None:
    repository, path = files
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM speakers").fetchone()
        stored = sealed(path, "anna") + sealed(path, "ben")
        assert repository.delete_speaker(TENANT, "anna")
        reader.execute("COMMIT")
    assert repository.delete_speaker(TENANT, "ben")
    assert on_disk(path, stored) == []


# ---------------------------------------------------------------- every table, those to come included

MARK = "Zq7Marke"


def value_for(column: Column[Any], speaker_key: int) -> Any:
    """Something that can be found again, for a column of any kind."""
    known = {"tenant_id": TENANT, "model_id": MODEL, "speaker_key": speaker_key, "speaker_id": f"{MARK}-ada"}
    known["subject"] = VAULT.subject(TENANT, f"{MARK}-ada")
    if column.name in known:
        return known[column.name]
    if isinstance(column.type, UtcDateTime):
        return datetime.now(UTC)
    kind = column.type.python_type
    if kind is str:
        return f"{MARK}-{column.name}"[: getattr(column.type, "length", None) or 99]
    made: dict[type, object] = {bytes: os.urandom(64), dict: {"note": f"{MARK}-{column.name}"}}
    return made.get(kind, 1)


def fill_every_table(engine: Engine, speaker_key: int) -> None:
    """A row about the speaker in each table that can hold one, where the repository has made none."""
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            if "speaker_key" not in table.c:
                continue
            mine = table.c.speaker_key == speaker_key
            if connection.scalar(select(func.count()).select_from(table).where(mine)) == 0:
                given = [
                    c
                    for c in table.c
                    if c.name == "speaker_key" or not c.primary_key or c.type.python_type is str
                ]
                connection.execute(table.insert().values({c.name: value_for(c, speaker_key) for c in given}))
        replay = Base.metadata.tables["replays"]
        connection.execute(replay.insert().values({c.name: value_for(c, speaker_key) for c in replay.c}))
        job, row = Base.metadata.tables["jobs"], Base.metadata.tables["job_rows"]
        ended: dict[str, object] = {
            "job_id": "job",
            "tenant_id": TENANT,
            "kind": "import",
            "status": "succeeded",
            "actor": "cli",
        }
        ended |= {"wish": {}, "done": 1, "counts": {}, "created_at": datetime.now(UTC)}
        connection.execute(job.insert().values(ended))
        named = {"job_id": "job", "number": 1, "speaker_id": f"{MARK}-ada", "outcome": "accepted"}
        connection.execute(row.insert().values({**named, "detail": f"{MARK} detail", "enrollment_id": MARK}))


def all_values(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        rows = [
            row for table in Base.metadata.sorted_tables for row in connection.execute(select(table)).all()
        ]
    return [value for row in rows for value in row]


def enroll_marked(repository: Repository, engine: Engine) -> set[bytes]:
    """A speaker with something in every table; every sealed value of hers."""
    enrolled = repository.add_enrollments(
        TENANT,
        f"{MARK}-ada",
        MODEL,
        [take(1, recording=os.urandom(3000)), take(2)],
        display_name=f"{MARK} Ada",
        metadata={"group": f"{MARK} group"},
        consent={"form": f"{MARK} form"},
    )
    fill_every_table(engine, enrolled.speaker.key)
    everything = all_values(engine)
    assert sum(MARK in repr(value) for value in everything) > 8
    return {bytes(value) for value in everything if isinstance(value, bytes | memoryview)}


@pytest.mark.parametrize("how", ["delete", "opt-out", "reset"])
def test_an_erasure_reaches_every_table_that_knows_a_speaker(
    repository: Repository, engine: Engine, how: str
) -> None:
    sealed_before = enroll_marked(repository, engine)
    repository.add_enrollments(TENANT, "ben", MODEL, [take(7)])
    if how == "reset":
        repository.reset_speaker(TENANT, f"{MARK}-ada")
    else:
        repository.delete_speaker(TENANT, f"{MARK}-ada", reason="opt-out" if how == "opt-out" else "request")
    left = all_values(engine)
    assert not sealed_before & {bytes(value) for value in left if isinstance(value, bytes | memoryview)}
    marked = [value for value in left if MARK in repr(value)]
    if how == "reset":  # the speaker stays, with name, metadata and consent
        assert len(marked) == 4, marked
    else:
        assert marked == []
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            if "speaker_key" in table.c and table.name != "centroids":
                owners = connection.scalars(select(table.c.speaker_key).distinct()).all()
                names = select(Base.metadata.tables["speakers"].c.speaker_id)
                assert len(owners) <= 1, table.name
                assert f"{MARK}-ada" not in connection.scalars(names).all() or how == "reset"


def test_no_page_of_the_files_keeps_a_byte_of_any_table(files: tuple[Repository, Path]) -> None:
    repository, path = files
    engine = make_engine(f"sqlite:///{path}")
    values = sorted(enroll_marked(repository, engine))
    assert len(on_disk(path, values)) == len(values)
    repository.delete_speaker(TENANT, f"{MARK}-ada")
    assert on_disk(path, values) == [], "neither in the file, its free pages, the log, nor the shared memory"
    assert not any(MARK.encode() in file.read_bytes() for file in path.parent.glob(path.name + "*"))
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA freelist_count")).scalar() is not None
    engine.dispose()


def test_postgresql_keeps_old_bytes_until_its_tables_are_written_anew(postgres_url: str) -> None:
    """What docs/people.md says of it: after VACUUM FULL nothing is left in the files of the tables."""
    engine = make_engine(postgres_url)
    repository = Repository(engine, VAULT)
    sealed_before = enroll_marked(repository, engine)
    assert found_in_relations(engine, sealed_before)
    repository.delete_speaker(TENANT, f"{MARK}-ada")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL"))
        connection.execute(text("CHECKPOINT"))
    assert not found_in_relations(engine, sealed_before)
    engine.dispose()


def found_in_relations(engine: Engine, values: set[bytes]) -> set[bytes]:
    """Which values stand in the files of the database's tables and indexes."""
    files = text(
        "SELECT pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class "
        "WHERE relkind IN ('r', 'i', 't') AND pg_relation_filepath(oid) IS NOT NULL "
        "AND relnamespace::regnamespace::text IN ('public', 'pg_toast')"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CHECKPOINT"))
        content = b"".join(bytes(each) for each in connection.scalars(files))
    return {value for value in values if value[16:48] in content}

"""Deleting a speaker leaves no embedding of it: not in a table, and not in SQLite's files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, inspect, make_url, text

from app.arrays import Embedding
from app.store import Repository, make_engine
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, take, voice


def bytes_in_tables(engine: Engine) -> set[bytes]:
    """Every binary value of every table, whatever its column means."""
    found: set[bytes] = set()
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                found |= {bytes(value) for value in row if isinstance(value, bytes | memoryview)}
    return found


def test_no_table_keeps_an_embedding_of_a_deleted_speaker(repository: Repository, engine: Engine) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    repository.add_enrollments(TENANT, "anna", OTHER_MODEL, [take(3)])
    centroid = repository.centroid_of(TENANT, MODEL, "anna")
    assert centroid is not None
    hers = {voice(1).tobytes(), voice(2).tobytes(), voice(3).tobytes(), centroid.embedding.tobytes()}
    repository.add_enrollments(TENANT, "ben", MODEL, [take(4)])
    assert hers <= bytes_in_tables(engine)
    repository.delete_speaker(TENANT, "anna")
    assert bytes_in_tables(engine) == {voice(4).tobytes()}
    with engine.connect() as connection:
        for table in ("speakers", "enrollments", "centroids", "galleries"):
            rows = connection.execute(text(f"SELECT * FROM {table}")).all()
            assert "anna" not in repr(rows)


@pytest.fixture
def files(sqlite_url: str) -> Iterator[tuple[Repository, Path]]:
    engine = make_engine(sqlite_url)
    yield Repository(engine), Path(str(make_url(sqlite_url).database))
    engine.dispose()


def on_disk(path: Path, embeddings: list[Embedding]) -> list[int]:
    """Which of the embeddings stand in the database file or beside it, in part even.

    A quarter of an embedding is looked for, wherever in it: SQLite overwrites the ends of a
    freed cell with its own bookkeeping.
    """
    content = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return [
        i
        for i, embedding in enumerate(embeddings)
        if any(part.tobytes() in content for part in np.split(embedding, 4))
    ]


def test_a_deletion_leaves_nothing_in_the_file_or_the_log(files: tuple[Repository, Path]) -> None:
    repository, path = files
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(3)])
    centroid = repository.centroid_of(TENANT, MODEL, "anna")
    assert centroid is not None
    hers = [voice(1), voice(2), centroid.embedding]
    assert on_disk(path, hers) == [0, 1, 2]
    repository.delete_speaker(TENANT, "anna")
    assert on_disk(path, hers) == []
    assert on_disk(path, [voice(3)]) == [0]


def test_a_recording_taken_back_leaves_nothing_in_the_file(files: tuple[Repository, Path]) -> None:
    repository, path = files
    enrolled = repository.add_enrollments(TENANT, "anna", MODEL, [take(1), take(2)])
    before = enrolled.centroid.embedding
    repository.delete_enrollment(TENANT, "anna", enrolled.enrollments[0].enrollment_id)
    assert on_disk(path, [voice(1), voice(2), before]) == [1]
    repository.add_enrollments(TENANT, "anna", MODEL, [take(3)], on_existing="replace")
    assert on_disk(path, [voice(1), voice(2), voice(3)]) == [2]


def test_many_deletions_leave_nothing_behind_in_a_full_file(files: tuple[Repository, Path]) -> None:
    """Pages that split and merge move embeddings about; no copy may stay where one was."""
    repository, path = files
    random = np.random.default_rng(0)
    alive: dict[int, int] = {}
    for seed in range(160):
        repository.add_enrollments(TENANT, f"speaker-{seed}", MODEL, [take(2 * seed), take(2 * seed + 1)])
        alive[seed] = seed
        if seed % 3 == 2:
            gone = int(random.choice(list(alive)))
            del alive[gone]
            repository.delete_speaker(TENANT, f"speaker-{gone}")
    gone = [seed for seed in range(160) if seed not in alive]
    assert on_disk(path, [voice(2 * seed + i) for seed in gone for i in (0, 1)]) == []
    assert len(on_disk(path, [voice(2 * seed + i) for seed in alive for i in (0, 1)])) == 2 * len(alive)


def test_a_reader_in_the_way_does_not_stop_a_deletion(files: tuple[Repository, Path]) -> None:
    repository, path = files
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    repository.add_enrollments(TENANT, "ben", MODEL, [take(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM speakers").fetchone()
        assert repository.delete_speaker(TENANT, "anna")
        reader.execute("COMMIT")
    assert repository.delete_speaker(TENANT, "ben")
    assert on_disk(path, [voice(1), voice(2)]) == []

"""A database that does not answer is StorageUnavailable, whatever was asked."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from app.errors import StorageUnavailable
from app.store import Repository, check_schema, make_engine, upgrade
from tests.store.makers import MODEL, TENANT, VAULT, take

CALLS: dict[str, Callable[[Repository], object]] = {
    "ping": lambda r: r.ping(),
    "add": lambda r: r.add_enrollments(TENANT, "anna", MODEL, [take(1)]),
    "get": lambda r: r.get_speaker(TENANT, "anna"),
    "list": lambda r: r.list_speakers(TENANT),
    "update": lambda r: r.update_speaker(TENANT, "anna", display_name="x"),
    "delete": lambda r: r.delete_speaker(TENANT, "anna"),
    "enrollments": lambda r: r.list_enrollments(TENANT, "anna"),
    "take back": lambda r: r.delete_enrollment(TENANT, "anna", "x"),
    "centroid": lambda r: r.centroid_of(TENANT, MODEL, "anna"),
    "centroids": lambda r: r.centroids_by_key(TENANT, MODEL, [1]),
    "keys": lambda r: r.keys_of(TENANT, MODEL),
    "changes": lambda r: r.changes_since(TENANT, MODEL, 0),
    "count": lambda r: r.count_enrolled(TENANT, MODEL),
    "partitions": lambda r: r.partitions(),
}


def test_every_call_is_covered() -> None:
    public = {name for name in dir(Repository) if not name.startswith("_")}
    assert len(public) == len(CALLS)


@pytest.fixture(params=["sqlite", "postgresql"])
def broken_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "folder.db").mkdir()  # a folder cannot be opened as a file
        return f"sqlite:///{tmp_path / 'folder.db'}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql+psycopg://nobody@127.0.0.1:{probe.getsockname()[1]}/none"


@pytest.mark.parametrize("name", CALLS)
def test_no_database(broken_url: str, name: str) -> None:
    engine = make_engine(broken_url)
    try:
        with pytest.raises(StorageUnavailable):
            CALLS[name](Repository(engine, VAULT))
    finally:
        engine.dispose()


def test_no_database_to_check_or_migrate(broken_url: str) -> None:
    engine = make_engine(broken_url)
    try:
        with pytest.raises(StorageUnavailable):
            check_schema(engine)
    finally:
        engine.dispose()
    with pytest.raises(StorageUnavailable):
        upgrade(broken_url)


def close_other_connections(url: str) -> None:
    killer = make_engine(url)
    try:
        with killer.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
    finally:
        killer.dispose()


def test_connections_that_the_server_closed_are_replaced(postgres_url: str) -> None:
    engine = make_engine(postgres_url)
    try:
        repository = Repository(engine, VAULT)
        repository.ping()
        close_other_connections(postgres_url)
        repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    finally:
        engine.dispose()


def test_a_server_that_goes_away_in_the_middle_stores_nothing(postgres_url: str) -> None:
    engine = make_engine(postgres_url)

    @event.listens_for(engine, "before_cursor_execute")
    def die(*arguments: Any) -> None:
        if "INSERT INTO centroids" in arguments[2]:  # the enrollment rows are written by then
            close_other_connections(postgres_url)

    try:
        with pytest.raises(StorageUnavailable):
            Repository(engine, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(1)])
        assert Repository(engine, VAULT).list_speakers(TENANT).speakers == ()
    finally:
        engine.dispose()


def test_a_writer_that_never_ends_does_not_hold_others_for_ever(
    engine: Engine, repository: Repository, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    repository.add_enrollments(TENANT, "anna", MODEL, [take(1)])
    monkeypatch.setattr("app.store.database._BUSY_MS", 200)
    impatient = make_engine(database_url)
    try:
        with engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            connection.execute(text("UPDATE galleries SET version = version"))
            assert (
                Repository(impatient, VAULT).get_speaker(TENANT, "anna").version == 1
            )  # readers do not wait
            with pytest.raises(StorageUnavailable):
                Repository(impatient, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(2)])
        Repository(impatient, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(2)])
    finally:
        impatient.dispose()


def test_a_failed_statement_does_not_show_names(engine: Engine) -> None:
    with pytest.raises(Exception, match="INSERT") as failure, engine.begin() as connection:
        connection.execute(
            text("INSERT INTO speakers (display_name) VALUES (:name)"), {"name": "Anna Secret"}
        )
    assert "Secret" not in str(failure.value).split("DETAIL")[0]

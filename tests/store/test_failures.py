"""A database that does not answer is StorageUnavailable, whatever was asked."""

import inspect
import socket
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from sqlalchemy import Engine, event, make_url, text

from app.errors import StorageUnavailable
from app.store import SERVICE, By, Repository, check_schema, make_engine, upgrade
from app.store.failures import as_unavailable
from app.store.feedback import Confirmed
from app.store.job_records import Step
from app.store.ledger import Entry, Ledger
from app.store.records import StoredKey
from app.store.replays import Begun, StoredReplay
from app.store.shadow import ShadowRow
from tests.store.makers import MODEL, TENANT, VAULT, take

UNIONS = (types.UnionType, Union)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = StoredKey(
    key_id="0" * 12,
    tenant_id=TENANT,
    label=None,
    secret_sha256="0" * 64,
    scopes=("read",),
    rate_limit=None,
    created_at=NOW,
    expires_at=None,
    used_at=None,
    replaced_by=None,
)
ENTRY = Entry(entry_id="r" * 32, at=NOW, tenant_id=TENANT, act="erase", subject="0" * 64)
BY_TYPE: dict[object, object] = {
    Entry: ENTRY,
    str: "x",
    int: 1,
    float: 1.0,
    bool: True,
    By: SERVICE,
    StoredKey: KEY,
    Confirmed: Confirmed(
        decision="x",
        model_id=MODEL,
        speaker_key=1,
        speaker_id="anna",
        kind="verify",
        outcome="accept",
        same=True,
        correct=True,
        gallery_size=None,
        similarity=0.5,
        enrolled_speech_s=5.0,
        speech_s=3.0,
        decided_at=NOW,
    ),
    Step: Step(),
    Begun: Begun("8c0f", "token"),
    StoredReplay: StoredReplay(route="/enroll", fingerprint="0" * 64, status=201, headers={}, body=b"{}"),
    ShadowRow: ShadowRow(
        decision="x",
        kind="verify",
        outcome="accept",
        shadow_outcome="accept",
        score=1.0,
        shadow_score=1.0,
        same_speaker=True,
        decided_at=NOW,
    ),
    datetime: NOW,
    timedelta: timedelta(hours=1),
}
BY_NAME: dict[str, object] = {
    "tenant_id": TENANT,
    "cursor": None,
    "model_id": MODEL,
    "speaker_id": "anna",
    "rows": [take(1)],
    "fingerprint": np.zeros((10, 8), dtype=np.uint8),
    "kind": "export",
    "status": "applied",
    "changes": {"model": "x"},
    "former": VAULT,
}


def value_for(parameter: inspect.Parameter, hint: object) -> object:
    """Something that a method takes for this parameter."""
    if parameter.name in BY_NAME:
        return BY_NAME[parameter.name]
    options = (
        [each for each in get_args(hint) if each is not type(None)] if get_origin(hint) in UNIONS else [hint]
    )
    for option in options:
        if option in BY_TYPE:
            return BY_TYPE[option]
        if get_origin(option) is Literal:
            return get_args(option)[0]
        origin = get_origin(option)
        if origin is Callable:
            return lambda *_: True
        if origin in (dict, Mapping):
            return {}
        if origin in (Sequence, Collection, list, set):
            inner = get_args(option)[0]
            return [BY_TYPE[inner]]
    raise AssertionError(f"no value for {parameter}")


METHODS = sorted(
    name
    for name in dir(Repository)
    if not name.startswith("_") and name != "check_ledger_writable"  # which asks the ledger alone
)


def ask(repository: Repository, name: str) -> object:
    """Calls a method with whatever it needs, and reads all of the answer."""
    method = getattr(repository, name)
    hints = get_type_hints(method)
    needed = {
        each.name: value_for(each, hints[each.name])
        for each in inspect.signature(method).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    }
    found = method(**needed)
    return list(found) if isinstance(found, Iterator) else found


@pytest.fixture(params=["sqlite", "postgresql"])
def broken_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "folder.db").mkdir()  # a folder cannot be opened as a file
        return f"sqlite:///{tmp_path / 'folder.db'}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql+psycopg://nobody@127.0.0.1:{probe.getsockname()[1]}/none"


@pytest.mark.parametrize("name", METHODS)
def test_no_database(broken_url: str, name: str, tmp_path: Path) -> None:
    engine = make_engine(broken_url)
    ledger = Ledger(tmp_path / "an-open.erasures", VAULT)
    with ledger.locked() as file:
        ledger.append(file, {"plan": [ENTRY.as_line()]}, sync=False)
    try:
        with pytest.raises(StorageUnavailable):
            ask(Repository(engine, VAULT, ledger), name)
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


def with_options(url: str, options: str) -> str:
    return make_url(url).set(query={"options": options}).render_as_string(hide_password=False)


def test_what_a_session_is_told_and_what_an_address_changes_of_it(postgres_url: str) -> None:
    def told(options: str) -> dict[str, str]:
        engine = make_engine(with_options(postgres_url, options))
        try:
            with engine.connect() as connection:
                names = ("idle_in_transaction_session_timeout", "lock_timeout", "timezone")
                return {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in names}
        finally:
            engine.dispose()

    usual = told("")
    assert usual == {"idle_in_transaction_session_timeout": "3s", "lock_timeout": "10s", "timezone": "UTC"}
    assert told("-c lock_timeout=4000") == {**usual, "lock_timeout": "4s"}


def test_a_writer_that_stands_still_loses_its_locks(postgres_url: str) -> None:
    """A process that was paused, or whose machine has gone, in the middle of a transaction."""
    other = make_engine(postgres_url)
    still = make_engine(with_options(postgres_url, "-c idle_in_transaction_session_timeout=500"))

    def stand_still() -> None:
        with as_unavailable(), still.begin() as connection:
            connection.execute(text("UPDATE galleries SET version = version + 100"))
            Repository(other, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(2)])
            connection.execute(text("SELECT 1"))

    try:
        Repository(other, VAULT).add_enrollments(TENANT, "anna", MODEL, [take(1)])
        with pytest.raises(StorageUnavailable):
            stand_still()
        assert Repository(other, VAULT).changes_since(TENANT, MODEL, 0).version == 2
    finally:
        still.dispose()
        other.dispose()


def test_no_process_takes_more_connections_than_it_may(postgres_url: str) -> None:
    engine, counting = make_engine(postgres_url, connections=3), make_engine(postgres_url)
    try:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda _: Repository(engine, VAULT).list_speakers(TENANT), range(48)))
        with counting.connect() as connection:
            others = text(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert 1 <= connection.execute(others).scalar_one() <= 3
    finally:
        engine.dispose()
        counting.dispose()

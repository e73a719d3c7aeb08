"""The erasure ledger: written before the commit, chained, settled after a crash, replayed over a backup."""

import json
import multiprocessing
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from app.errors import (
    ConcurrentModification,
    DatabaseOlder,
    LedgerDamaged,
    LedgerUnavailable,
    StorageUnavailable,
)
from app.store import Repository, Vault
from app.store.ledger import Ledger
from tests.store.makers import MODEL, OTHER_MODEL, TENANT, VAULT, take


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "apart" / "timbre.erasures", VAULT)


@pytest.fixture
def store(engine: Engine, ledger: Ledger) -> Repository:
    return Repository(engine, VAULT, ledger)


def enroll(store: Repository, *names: str) -> None:
    for number, name in enumerate(names):
        takes = [take(10 * number), take(10 * number + 1)]
        store.add_enrollments(TENANT, name, MODEL, takes)


def acts(ledger: Ledger) -> list[str]:
    return [entry.act for entry in Ledger(ledger.path, VAULT).read().entries.values()]


# ---------------------------------------------------------------- what is written


def test_everything_that_erases_is_in_it_and_names_nobody(store: Repository, ledger: Ledger) -> None:
    enroll(store, "ada-secret", "bob-secret", "cleo-secret", "dora-secret", "eve-secret")
    assert not ledger.path.exists(), "nothing was erased yet"
    receipt = store.delete_speaker(TENANT, "ada-secret")
    first = store.list_enrollments(TENANT, "bob-secret")[0].enrollment_id
    store.delete_enrollment(TENANT, "bob-secret", first)
    store.delete_speaker(TENANT, "cleo-secret", reason="opt-out")
    store.reset_speaker(TENANT, "dora-secret")
    store.merge_speakers(TENANT, "bob-secret", "eve-secret")
    store.add_enrollments(TENANT, "bob-secret", MODEL, [take(99)], on_existing="replace")
    store.opt_in(TENANT, "cleo-secret")
    assert acts(ledger) == ["erase", "take-back", "object", "erase", "erase", "erase", "erase", "withdraw"]
    story = ledger.read()
    assert not story.open
    entries = list(story.entries.values())
    assert receipt is not None
    assert entries[0].entry_id == receipt.receipt_id
    assert [each.facts.get("reason") for each in entries if each.act == "erase"] == [
        *("request", "opt-out", "reset", "merge", "replace")
    ]
    assert entries[1].facts["enrollments"] == [first]
    assert b"secret" not in ledger.path.read_bytes()
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_what_erases_nothing_is_not_in_it(store: Repository, ledger: Ledger) -> None:
    enroll(store, "ada")
    assert store.delete_speaker(TENANT, "nobody") is None
    with pytest.raises(ConcurrentModification):
        store.delete_speaker(TENANT, "ada", expected_edition="17-0")
    assert not ledger.path.exists()


def test_it_is_on_the_disk_before_the_commit(store: Repository, engine: Engine, ledger: Ledger) -> None:
    enroll(store, "ada")
    seen: list[list[str]] = []

    @event.listens_for(engine, "commit")
    def look(_connection: object) -> None:
        lines = ledger.path.read_text().splitlines() if ledger.path.exists() else []
        seen.append([next(iter(json.loads(line.rpartition(" ")[0]))) for line in lines])

    store.delete_speaker(TENANT, "ada")
    assert ["at", "plan"] in seen
    assert [
        next(iter(json.loads(line.rpartition(" ")[0]))) for line in ledger.path.read_text().splitlines()
    ] == [*("at", "plan", "done")]


def test_nothing_is_erased_when_it_cannot_be_written(engine: Engine, tmp_path: Path) -> None:
    blocked = Ledger(tmp_path / "file" / "timbre.erasures", VAULT)
    (tmp_path / "file").write_text("a file where a folder should be")
    store = Repository(engine, VAULT, blocked)
    enroll(store, "ada")
    for erase in (
        lambda: store.delete_speaker(TENANT, "ada"),
        lambda: store.delete_speaker(TENANT, "ada", reason="opt-out"),
        lambda: store.reset_speaker(TENANT, "ada"),
        lambda: store.add_enrollments(TENANT, "ada", MODEL, [take(9)], on_existing="replace"),
    ):
        with pytest.raises(LedgerUnavailable):
            erase()
    assert len(store.list_enrollments(TENANT, "ada")) == 2
    assert not store.is_opted_out(TENANT, "ada")
    with pytest.raises(LedgerUnavailable):
        store.check_ledger_writable()
    (tmp_path / "file").unlink()
    store.check_ledger_writable()
    assert store.delete_speaker(TENANT, "ada") is not None, "no restart is needed"


def test_of_a_line_that_did_not_fit_on_the_disk_nothing_stays(store: Repository, ledger: Ledger) -> None:
    enroll(store, "ada", "bob")
    store.delete_speaker(TENANT, "ada")
    before = ledger.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ledger.locked() as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
        try:
            with pytest.raises(LedgerUnavailable, match="No space"):
                ledger.append(file, {"done": ["x" * 100]}, sync=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.path.read_bytes() == before
    store.delete_speaker(TENANT, "bob")
    assert acts(ledger) == ["erase", "erase"]


# ---------------------------------------------------------------- what a crash leaves


def crash(store: Repository, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Delete ada, and end at a failpoint as a process that is killed there would: nothing more is written."""

    def reach(name: str) -> None:
        if name == point:
            os._exit(9)

    monkeypatch.setattr("app.store.ledger.reach", reach)
    child = os.fork()
    if child == 0:
        store._engine.dispose(close=False)
        store.delete_speaker(TENANT, "ada")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()


@pytest.mark.parametrize(("point", "gone"), [("ledger.written", False), ("ledger.committed", True)])
def test_a_crash_is_settled_by_what_the_database_says(
    store: Repository, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, point: str, gone: bool
) -> None:
    enroll(store, "ada")
    store._engine.dispose()
    crash(store, monkeypatch, point)
    again = Repository(store._engine, VAULT, Ledger(ledger.path, VAULT))
    assert len(Ledger(ledger.path, VAULT).read().open) == 1
    again.check_ledger()
    story = Ledger(ledger.path, VAULT).read()
    assert not story.open
    assert len(story.entries) == (1 if gone else 0), "what was rolled back is in no replay"
    assert (again.list_speakers(TENANT).speakers == ()) is gone
    again.check_ledger()


def test_a_line_torn_by_a_crash_is_cut_off(store: Repository, ledger: Ledger) -> None:
    enroll(store, "ada", "bob")
    store.delete_speaker(TENANT, "ada")
    with ledger.path.open("ab") as file:
        file.write(b'{"plan":[{"act":"erase","at":"20')
    assert acts(ledger) == ["erase"]
    store.delete_speaker(TENANT, "bob")
    assert acts(ledger) == ["erase", "erase"]


def test_an_older_database_is_noticed(store: Repository, engine: Engine) -> None:
    enroll(store, "ada")
    store.delete_speaker(TENANT, "ada")
    store.check_ledger()
    with engine.begin() as connection:
        for table in ("erasures", "audit_log", "audit_heads"):
            connection.execute(text(f"DELETE FROM {table}"))
    with pytest.raises(DatabaseOlder, match="timbre restore"):
        store.check_ledger()


# ---------------------------------------------------------------- who may write it


@pytest.mark.parametrize("how", ["changed", "removed", "inserted", "swapped", "other key", "not json"])
def test_a_ledger_that_somebody_changed_is_refused(store: Repository, ledger: Ledger, how: str) -> None:
    enroll(store, "ada", "bob", "cleo")
    for name in ("ada", "bob", "cleo"):
        store.delete_speaker(TENANT, name)
    lines = ledger.path.read_text().splitlines(keepends=True)
    vault, at = VAULT, 4
    if how == "changed":
        lines[3] = lines[3].replace('"enrollments":2', '"enrollments":3')
    elif how == "removed":
        del lines[3]
    elif how == "inserted":
        lines.insert(3, lines[1])
    elif how == "swapped":
        lines[3], lines[5] = lines[5], lines[3]
    elif how == "other key":
        vault, at = Vault(bytes(32)), 1
    else:
        lines[3] = "nothing\n"
    ledger.path.write_text("".join(lines))
    with pytest.raises(LedgerDamaged) as caught:
        Ledger(ledger.path, vault).read()
    assert caught.value.line == at


def delete_one(url: str, path: Path, name: str) -> None:
    from app.store import make_engine

    engine = make_engine(url)
    Repository(engine, VAULT, Ledger(path, VAULT)).delete_speaker(TENANT, name)
    engine.dispose()


def test_processes_and_threads_write_one_chain(store: Repository, ledger: Ledger, database_url: str) -> None:
    names = [f"speaker-{number}" for number in range(12)]
    enroll(store, *names)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=delete_one, args=(database_url, ledger.path, n)) for n in names[:3]]
    threads = [threading.Thread(target=store.delete_speaker, args=(TENANT, n)) for n in names[3:]]
    workers: list[Any] = [*processes, *threads]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    story = Ledger(ledger.path, VAULT).read()
    assert len(story.entries) == 12
    assert not story.open


# ---------------------------------------------------------------- what is erased again


@pytest.fixture
def older(engine: Engine) -> Repository:
    """The same database without any ledger: for what a backup would bring back."""
    return Repository(engine, VAULT)


def test_an_enrolment_after_the_erasure_survives_a_replay(store: Repository, ledger: Ledger) -> None:
    enroll(store, "ada")
    store.delete_speaker(TENANT, "ada")
    enroll(store, "ada")
    assert store.erase_again(list(ledger.read().entries.values())) == 0
    assert len(store.list_enrollments(TENANT, "ada")) == 2


def test_takes_of_every_model_go_again(store: Repository, older: Repository, ledger: Ledger) -> None:
    clip = take(1)
    store.add_enrollments(TENANT, "ada", MODEL, [clip, take(2)])
    store.delete_enrollment(TENANT, "ada", clip.enrollment_id)
    (entry,) = ledger.read().entries.values()
    # A database from before: the take is there, and the log knows nothing.
    older.delete_speaker(TENANT, "ada")
    older.add_enrollments(TENANT, "ada", MODEL, [clip, take(2)])
    older.add_enrollments(TENANT, "ada", OTHER_MODEL, [take(1)])
    renamed = type(entry)(**{**vars(entry), "entry_id": "0" * 32})
    assert older.erase_again([renamed]) == 1
    assert [each.audio_sha256 for each in older.list_enrollments(TENANT, "ada")] == [take(2).audio_sha256]
    assert older.erase_again([renamed]) == 0


def test_a_failed_commit_is_asked_after(
    store: Repository, engine: Engine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    enroll(store, "ada")

    def fail(*_: object) -> None:
        from sqlalchemy.exc import OperationalError

        raise OperationalError("COMMIT", {}, Exception("the line is dead"))

    event.listen(engine, "commit", fail)
    with pytest.raises(StorageUnavailable):
        store.delete_speaker(TENANT, "ada")
    event.remove(engine, "commit", fail)
    assert len(ledger.read().open) == 1
    store.settle_ledger()
    assert ledger.read().entries == {}
    assert store.delete_speaker(TENANT, "ada") is not None

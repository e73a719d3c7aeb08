"""Backup and restore: what comes back, what does not, what is refused; on both databases and across them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.errors import (
    BackupInvalid,
    DatabaseInUse,
    DatabaseOlder,
    LedgerDamaged,
    MasterKeyInvalid,
    SpeakerNotFound,
    StorageUnavailable,
)
from app.service import access
from app.service.backup import BackupManifest, make_backup
from app.service.restore import restore_backup
from app.settings import Settings
from app.store import Repository, Vault, make_engine
from app.store.copying import count_rows, digest_of, open_copy
from app.store.database import migrate, revisions
from app.store.ledger import Ledger
from tests.store.makers import MODEL, TENANT, VAULT, take

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""That of `VAULT`."""


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return settings_of(database_url, tmp_path / "timbre.erasures")


def settings_of(url: str, ledger: Path) -> Settings:
    return Settings(_env_file=None, database_url=url, master_key=KEY, erasure_ledger=ledger)


@contextmanager
def store(settings: Settings) -> Iterator[Repository]:
    engine = make_engine(settings.database_url)
    try:
        yield Repository(engine, VAULT, Ledger(settings.erasure_ledger_path, VAULT))
    finally:
        engine.dispose()


def enroll(repository: Repository, name: str, seed: int) -> None:
    repository.add_enrollments(
        TENANT,
        name,
        MODEL,
        [take(seed, recording=b"a recording" * 50), take(seed + 1)],
        display_name=name.title(),
    )


def names(repository: Repository) -> list[str]:
    return sorted(each.speaker_id for each in repository.list_speakers(TENANT).speakers)


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> str:
    """An empty database of the other kind."""
    if database_url.startswith("sqlite"):
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'elsewhere.db'}"


def test_who_was_erased_after_the_backup_is_erased_again(settings: Settings, tmp_path: Path) -> None:
    repository: Repository
    with store(settings) as repository:
        for number, name in enumerate(("ada", "bob", "cleo", "eve", "fay", "gus")):
            enroll(repository, name, 10 * number)
        repository.delete_speaker(TENANT, "eve")
        enroll(repository, "eve", 90)  # again, before the backup: she stays
        key = access.make_key(repository, TENANT, ["read"]).key
        kept = repository.list_enrollments(TENANT, "bob")
        made = make_backup(settings, tmp_path / "backup")
        assert (made.rows["speakers"], made.rows["enrollments"], made.models) == (6, 12, [MODEL])
        receipt = repository.delete_speaker(TENANT, "ada")
        repository.delete_enrollment(TENANT, "bob", kept[0].enrollment_id)
        repository.delete_speaker(TENANT, "cleo", reason="opt-out")
        repository.merge_speakers(TENANT, "eve", "fay")
        repository.reset_speaker(TENANT, "gus")
        enroll(repository, "dora", 70)
        younger = repository.delete_speaker(TENANT, "dora")
        enroll(repository, "hal", 80)
        access.revoke_key(repository, key.key_id)

    with pytest.raises(BackupInvalid, match="not empty"):
        restore_backup(settings, tmp_path / "backup")
    done = restore_backup(settings, tmp_path / "backup", replace=True)
    assert (done.erased, done.known) == (8, 1)

    with store(settings) as repository:
        repository.check_ledger()
        assert names(repository) == ["bob", "eve", "gus"], "hal is younger than the backup"
        assert [each.enrollment_id for each in repository.list_enrollments(TENANT, "bob")] == [
            kept[1].enrollment_id
        ]
        assert len(repository.list_enrollments(TENANT, "eve")) == 4, "with the takes of fay"
        assert repository.list_enrollments(TENANT, "gus") == []
        assert repository.is_opted_out(TENANT, "cleo")
        assert receipt is not None
        assert younger is not None
        for each in (receipt, younger):
            assert repository.get_erasure(TENANT, each.receipt_id) == each
        found = repository.find_key(key.key_id)
        assert found is not None
        assert found[0].expires_at is not None, "a key that was revoked stays revoked"
        assert repository.check_audit(TENANT).broken_at is None
        entries, _ = repository.list_audit(TENANT, cursor=None, limit=100)
        assert entries[-1].action == "database.restored"
        assert entries[-1].facts["erased_again"] == 8
        assert {"voice.erased", "enrollment.deleted", "speaker.opted_out", "key.ended"} <= {
            each.action for each in entries if each.actor == "restore"
        }
        # It goes on: the next speaker gets a number that nobody had.
        enroll(repository, "ida", 60)
        repository.centroid_of(TENANT, MODEL, "ida")
        second = make_backup(settings, tmp_path / "second")

    again = restore_backup(settings, tmp_path / "second", replace=True)
    assert (again.erased, again.known) == (0, 9), "whatever is in the backup is done"
    assert second.rows["speakers"] == again.rows["speakers"]
    with store(settings) as repository:
        assert names(repository) == ["bob", "eve", "gus", "ida"]


def test_an_objection_that_was_taken_back_does_not_return(settings: Settings, tmp_path: Path) -> None:
    with store(settings) as repository:
        enroll(repository, "ada", 1)
        make_backup(settings, tmp_path / "backup")
        repository.delete_speaker(TENANT, "ada", reason="opt-out")
        repository.opt_in(TENANT, "ada")
    restore_backup(settings, tmp_path / "backup", replace=True)
    with store(settings) as repository:
        assert names(repository) == []
        assert not repository.is_opted_out(TENANT, "ada")


def test_a_backup_goes_into_the_other_kind_of_database(
    settings: Settings, elsewhere: str, tmp_path: Path
) -> None:
    with store(settings) as repository:
        for number, name in enumerate(("ada", "bob", "cleo")):
            enroll(repository, name, 10 * number)
        before = {name: repository.centroid_of(TENANT, MODEL, name) for name in ("ada", "bob")}
        log = repository.check_audit(TENANT)
        make_backup(settings, tmp_path / "backup", with_master_key=True)
        repository.delete_speaker(TENANT, "cleo")
    other = settings_of(elsewhere, tmp_path / "new" / "timbre.erasures")
    with pytest.raises(BackupInvalid, match="no erasure ledger"):
        restore_backup(other, tmp_path / "backup")
    restore_backup(other, tmp_path / "backup", ledgers=[settings.erasure_ledger_path])
    with store(other) as repository:
        assert names(repository) == ["ada", "bob"]
        for name, old in before.items():
            new = repository.centroid_of(TENANT, MODEL, name)
            assert old is not None
            assert new is not None
            assert new.embedding.tobytes() == old.embedding.tobytes()
        entries, _ = repository.list_audit(TENANT, cursor=None, limit=100)
        assert entries[log.entries - 1].hash == log.head
        repository.check_ledger()
        assert len(Ledger(other.erasure_ledger_path, VAULT).read().entries) == 1, "it knows now, too"
        old_keys = {each.key for each in repository.list_speakers(TENANT).speakers}
        enroll(repository, "new", 50)
        assert repository.get_speaker(TENANT, "new").key > max(old_keys) + 1, (
            "cleo's number is not given again"
        )
    assert (tmp_path / "backup" / "master.key").read_text().strip() == KEY


def test_ledgers_of_several_machines_are_replayed_in_the_order_of_time(
    settings: Settings, tmp_path: Path
) -> None:
    second = settings_of(settings.database_url, tmp_path / "second.erasures")
    with store(settings) as one, store(second) as two:
        for number, name in enumerate(("ada", "bob", "cleo")):
            enroll(one, name, 10 * number)
        one.delete_speaker(TENANT, "cleo")
        make_backup(settings, tmp_path / "backup")
        two.delete_speaker(TENANT, "ada", reason="opt-out")
        one.opt_in(TENANT, "ada")
        two.delete_speaker(TENANT, "bob")
    done = restore_backup(settings, tmp_path / "backup", ledgers=[second.erasure_ledger_path], replace=True)
    assert done.erased == 4
    with store(settings) as one, store(second) as two:
        assert names(one) == []
        assert not one.is_opted_out(TENANT, "ada")
        one.check_ledger()
        two.check_ledger()


def test_a_copy_that_was_put_back_by_hand_does_not_serve(sqlite_url: str, tmp_path: Path) -> None:
    settings = settings_of(sqlite_url, tmp_path / "timbre.erasures")
    path = Path(str(make_url(sqlite_url).database))
    with store(settings) as repository:
        enroll(repository, "ada", 1)
        make_backup(settings, tmp_path / "backup")
        repository.delete_speaker(TENANT, "ada")
    shutil.copyfile(tmp_path / "backup" / "timbre.db", path)
    with store(settings) as repository, pytest.raises(DatabaseOlder):
        repository.check_ledger()
    command = [sys.executable, "-m", "app.cli"]
    environment = environment_of(settings)
    started = subprocess.run(
        [*command, "serve"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert started.returncode == 1
    assert "it is an older copy" in started.stderr
    assert "Traceback" not in started.stderr
    restored = subprocess.run(
        [*command, "restore", str(tmp_path / "backup"), "--replace"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert "0 speakers" in restored.stdout
    assert "erased again: 1" in restored.stdout
    assert "not in it" in restored.stderr


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        **os.environ,
        "TIMBRE_DATABASE_URL": settings.database_url,
        "TIMBRE_MASTER_KEY": KEY,
        "TIMBRE_ERASURE_LEDGER": str(settings.erasure_ledger_path),
    }


HARMS = {
    "another key": "made with another one",
    "manifest changed": "made with another one, or changed",
    "manifest missing": "manifest.json: No such file",
    "manifest nonsense": "not the manifest of a backup",
    "byte changed": "not the file that the manifest describes",
    "database missing": "timbre.db: No such file",
    "ledger missing": "no erasure ledger",
    "ledger cut": "it was cut",
    "ledger changed": "line 2 does not follow",
    "other ledger": "is another",
}


def harm_done(harm: str, settings: Settings, folder: Path) -> Settings:
    """Do it; the settings with which the restoring is then tried."""
    manifest, database, ledger = folder / "manifest.json", folder / "timbre.db", settings.erasure_ledger_path
    if harm == "another key":
        return settings.model_copy(
            update={"master_key": None, "master_key_file": folder.parent / "other.key"}
        )
    if harm == "other ledger":
        ledger.unlink()
        Ledger(ledger, VAULT).conclude(done=["nothing"])
        return settings
    data = bytearray(database.read_bytes())
    data[len(data) // 2] ^= 1
    changed: dict[str, tuple[Path, bytes | None]] = {
        "manifest changed": (
            manifest,
            json.dumps({**json.loads(manifest.read_text()), "ledger": None}).encode(),
        ),
        "manifest missing": (manifest, None),
        "manifest nonsense": (manifest, b"{}"),
        "byte changed": (database, bytes(data)),
        "database missing": (database, None),
        "ledger missing": (ledger, None),
        "ledger cut": (ledger, ledger.read_bytes().splitlines(keepends=True)[0]),
        "ledger changed": (ledger, ledger.read_bytes().replace(b"request", b"requesT")),
    }
    path, content = changed[harm]
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    return settings


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_as_it_was_is_not_restored(sqlite_url: str, tmp_path: Path, harm: str) -> None:
    settings = settings_of(sqlite_url, tmp_path / "timbre.erasures")
    folder = tmp_path / "backup"
    with store(settings) as repository:
        for number, name in enumerate(("ada", "bob", "cleo")):
            enroll(repository, name, 10 * number)
        repository.delete_speaker(TENANT, "ada")
        make_backup(settings, folder)
        before = names(repository)
    settings = harm_done(harm, settings, folder)
    with pytest.raises((BackupInvalid, MasterKeyInvalid, LedgerDamaged), match=HARMS[harm]):
        restore_backup(settings, folder, replace=True)
    with store(settings_of(sqlite_url, tmp_path / "unused")) as repository:
        assert names(repository) == before, "nothing has changed"
    if harm.startswith("ledger m"):
        done = restore_backup(settings, folder, replace=True, without_ledger=True)
        assert done.erased == 0
    assert not list(tmp_path.glob("restoring-*"))


def test_a_backup_is_one_moment_while_writers_are_at_work(settings: Settings, tmp_path: Path) -> None:
    stop = threading.Event()

    def write(repository: Repository) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(StorageUnavailable):  # a busy machine, and the server gives a writer up
                enroll(repository, f"speaker-{number % 7}", 100 + number)
                if number % 3 == 0:
                    repository.delete_speaker(TENANT, f"speaker-{(number + 4) % 7}")

    with store(settings) as repository:
        enroll(repository, "erased", 1)
        repository.delete_speaker(TENANT, "erased")  # so that there is a ledger
        writer = threading.Thread(target=write, args=(repository,))
        writer.start()
        try:
            for turn in range(3):
                make_backup(settings, tmp_path / f"backup-{turn}")
        finally:
            stop.set()
            writer.join()
    for turn in range(3):
        with closing(sqlite3.connect(tmp_path / f"backup-{turn}" / "timbre.db")) as copy:
            assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
            torn = copy.execute(
                "SELECT count(*) FROM centroids c WHERE enrollments_count <> "
                "(SELECT count(*) FROM enrollments e WHERE e.speaker_key = c.speaker_key)"
            )
            assert torn.fetchone() == (0,)
    done = restore_backup(settings, tmp_path / "backup-2", replace=True)
    with store(settings) as repository:
        assert len(names(repository)) == done.rows["speakers"]
        assert repository.check_audit(TENANT).broken_at is None


def test_a_backup_of_an_older_schema_is_migrated(sqlite_url: str, tmp_path: Path) -> None:
    settings = settings_of(sqlite_url, tmp_path / "timbre.erasures")
    with store(settings) as repository:
        enroll(repository, "ada", 1)
        enroll(repository, "bob", 5)
    make_backup(settings, tmp_path / "backup")
    with store(settings) as repository:
        repository.delete_speaker(TENANT, "bob")
    older = tmp_path / "backup" / "timbre.db"
    migrate(f"sqlite:///{older}", revisions()[-2], VAULT)
    with closing(sqlite3.connect(older)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")
    path = tmp_path / "backup" / "manifest.json"
    manifest = BackupManifest(**json.loads(path.read_text()))
    changed = replace(
        manifest, schema=revisions()[-2], sha256=digest_of(older), rows=count_rows(open_copy(older))
    )
    path.write_text(json.dumps(asdict(changed.sealed(VAULT))))
    done = restore_backup(settings, tmp_path / "backup", replace=True)
    assert done.erased == 1
    with store(settings) as repository:
        assert names(repository) == ["ada"]
        with pytest.raises(SpeakerNotFound):
            repository.get_speaker(TENANT, "bob")


def test_a_database_that_is_in_use_is_not_even_migrated(settings: Settings, tmp_path: Path) -> None:
    with store(settings) as repository:
        enroll(repository, "anna", 1)
    make_backup(settings, tmp_path / "monday")
    migrate(settings.database_url, "0002", VAULT)
    old = make_engine(settings.database_url)
    with old.connect() as server:
        revision = text("SELECT version_num FROM alembic_version")
        assert server.scalar(revision) == "0002"
        server.rollback()
        with pytest.raises(DatabaseInUse):
            restore_backup(settings, tmp_path / "monday", without_ledger=True, replace=True)
        assert server.scalar(revision) == "0002"
    old.dispose()
    restore_backup(settings, tmp_path / "monday", without_ledger=True, replace=True)
    with store(settings) as repository:
        assert names(repository) == ["anna"]


def test_a_backup_gives_no_voice_away(settings: Settings, tmp_path: Path) -> None:
    with store(settings) as repository:
        enroll(repository, "ada", 1)
    make_backup(settings, tmp_path / "backup")
    everything = b"".join(file.read_bytes() for file in (tmp_path / "backup").iterdir())
    assert {file.name for file in (tmp_path / "backup").iterdir()} == {"timbre.db", "manifest.json"}
    assert take(1).embedding.tobytes()[:64] not in everything
    assert b"a recording" not in everything
    assert KEY.encode() not in everything
    with pytest.raises(BackupInvalid, match="there already"):
        make_backup(settings, tmp_path / "backup")
    engine = make_engine(settings.database_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM speakers")).scalar() == 1
    engine.dispose()
    with pytest.raises(MasterKeyInvalid):
        Repository(engine, Vault(bytes(32))).check_vault()
    engine.dispose()

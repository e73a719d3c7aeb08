"""Restoring: a backup is put back, but not who was erased since. Nothing serves before that is done."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from pathlib import Path
from typing import Final

from app.errors import BackupInvalid, SchemaOutdated
from app.service.backup import DATABASE, BackupManifest, read_backup
from app.settings import Settings
from app.store import Repository, Vault, make_engine, upgrade
from app.store.copying import check_file, count_rows, is_empty, open_copy, put_back
from app.store.database import check_unused, revisions
from app.store.ledger import Entry, Ledger

_WITHOUT: Final = "; without one, whoever was erased since is back: --without-ledger says that this is meant"


@dataclass(frozen=True)
class Restored:
    """What came back, and what did not."""

    manifest: BackupManifest
    erased: int
    """Entries of ledgers that the backup did not know: carried out again."""
    known: int
    """Entries that the backup knew."""
    rows: dict[str, int]
    """By table, as they stand now."""


def restore_backup(
    settings: Settings,
    folder: Path,
    *,
    ledgers: Sequence[Path] = (),
    without_ledger: bool = False,
    replace: bool = False,
) -> Restored:
    """Put a backup into the database of the settings, which no server may use meanwhile.

    The work is done on a copy; the database changes at the end, at once, and not at all when anything fails.

    Args:
        settings: Where everything goes.
        folder: The backup.
        ledgers: Erasure ledgers of other machines, or copies of this one's that is lost.
        without_ledger: Go on although no ledger is there that knows the backup.
        replace: Throw away what the database holds.

    Raises:
        BackupInvalid: The backup is damaged, the database not empty, or the ledger missing or cut short.
        MasterKeyInvalid: The backup or a ledger was made with another master key.
        LedgerDamaged: A ledger was changed.
        DatabaseInUse: A server runs.
        SchemaOutdated: The backup is of a newer program.
        StorageUnavailable: The database does not answer.
    """
    vault = Vault.load(settings.master_key_path, settings.given_master_key)
    manifest = read_backup(folder, vault)
    if manifest.schema not in revisions():
        raise SchemaOutdated(manifest.schema, revisions()[-1])
    _check_target(settings, vault, folder, replace=replace)
    own = Ledger(settings.erasure_ledger_path, vault)
    entries = [] if without_ledger else _entries(folder, manifest, own, ledgers, vault)
    with _copied(folder, manifest, settings.erasure_ledger_path.parent) as copy:
        erased = _erase_again(copy, vault, entries, datetime.fromisoformat(manifest.made_at))
        put_back(copy, settings.database_url, vault)
        rows = _rows(f"sqlite:///{copy}")
    if _rows(settings.database_url) != rows:
        raise BackupInvalid(str(folder), "not every row has arrived in the database; run it again")
    own.adopt(entries)
    return Restored(manifest, erased, len(entries) - erased, rows)


def _check_target(settings: Settings, vault: Vault, folder: Path, *, replace: bool) -> None:
    engine = make_engine(settings.database_url)
    try:
        check_unused(engine)
        upgrade(settings.database_url, vault)
        if not replace and not is_empty(engine):
            raise BackupInvalid(str(folder), "the database is not empty; --replace throws away what it holds")
    finally:
        engine.dispose()


def _entries(
    folder: Path, manifest: BackupManifest, own: Ledger, others: Sequence[Path], vault: Vault
) -> list[Entry]:
    """What all ledgers say, in the order in which it was done; within a ledger that of its lines."""
    missing = [str(path) for path in others if not path.is_file()]
    if missing:
        raise BackupInvalid(str(folder), f"there is no ledger {', '.join(missing)}")
    found = [ledger for ledger in (own, *(Ledger(path, vault) for path in others)) if ledger.path.is_file()]
    if not found:
        raise BackupInvalid(
            str(folder), f"there is no erasure ledger in {own.path}; name it by --ledger{_WITHOUT}"
        )
    stories = [ledger.read() for ledger in found]
    if manifest.position is not None and not any(story.holds(manifest.position) for story in stories):
        problem = "no ledger given goes as far as the one beside which it was made; it was cut, or is another"
        raise BackupInvalid(str(folder), f"{problem}{_WITHOUT}")
    by_id: dict[str, Entry] = {}
    for entry in merge(*(story.entries.values() for story in stories), key=lambda entry: entry.at):
        by_id.setdefault(entry.entry_id, entry)
    return list(by_id.values())


@contextmanager
def _copied(folder: Path, manifest: BackupManifest, near: Path) -> Iterator[Path]:
    """A copy of the backup's database at the newest migration; it goes in the end, whatever happens."""
    near.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="restoring-", dir=near))
    try:
        copy = place / DATABASE
        shutil.copyfile(folder / DATABASE, copy)
        copy.chmod(0o600)
        check_file(copy)
        engine = open_copy(copy)
        rows = count_rows(engine)
        engine.dispose()
        if not rows.items() <= manifest.rows.items():
            raise BackupInvalid(str(folder), f"{DATABASE} has other rows than the manifest says")
        yield copy
    finally:
        shutil.rmtree(place)


def _erase_again(copy: Path, vault: Vault, entries: Sequence[Entry], made_at: datetime) -> int:
    """Carry out on the copy what its database does not know; every log is checked before."""
    url = f"sqlite:///{copy}"
    upgrade(url, vault)
    engine = make_engine(url)
    try:
        repository = Repository(engine, vault)
        repository.check_vault()
        for tenant in repository.list_tenants():
            broken = repository.check_audit(tenant.tenant_id).broken_at
            if broken is not None:
                problem = f"the log of tenant {tenant.tenant_id} does not fit together at entry {broken}"
                raise BackupInvalid(str(copy.parent), problem)
        erased = repository.erase_again(entries)
        repository.note_restored(made_at, erased)
        return erased
    finally:
        engine.dispose()


def _rows(url: str) -> dict[str, int]:
    engine = make_engine(url)
    try:
        return count_rows(engine)
    finally:
        engine.dispose()

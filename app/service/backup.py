"""A backup: the whole database as one file, with a manifest that only who has the master key can write."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from app.errors import BackupInvalid, MasterKeyInvalid
from app.settings import Settings
from app.store import Repository, Vault, check_schema, make_engine
from app.store.copying import check_file, contents, count_rows, digest_of, open_copy, take_copy
from app.store.ledger import Ledger, Position

FORMAT: Final = 1
DATABASE, MANIFEST, KEY = "timbre.db", "manifest.json", "master.key"
"""The files of a backup; the last one only where it was asked for."""
_PURPOSE: Final = "backup"


@dataclass(frozen=True, kw_only=True)
class BackupManifest:
    """What a backup says of itself."""

    format: int
    made_at: str
    """RFC 3339; what was done later is not in it."""
    schema: str
    """Migration at which the database stands."""
    source: str
    """Kind of the database that it was taken from; it can be put back into either."""
    sha256: str
    """Of the database file."""
    rows: dict[str, int]
    """By table."""
    models: list[str]
    """Ids of the models under which somebody is enrolled: these folders have to be there to serve it."""
    audit: dict[str, str]
    """Head of each tenant's log."""
    ledger: dict[str, Any] | None
    """Where the erasure ledger of this machine stood."""
    mac: str = ""
    """Over all of it."""

    def sealed(self, vault: Vault) -> Self:
        """The same with the proof that it was written with this master key."""
        return type(self)(**{**asdict(self), "mac": vault.mac(_PURPOSE, self._text())})

    def is_of(self, vault: Vault) -> bool:
        """Whether it was written with this master key and not changed since."""
        return vault.is_mac(_PURPOSE, self._text(), self.mac)

    @property
    def position(self) -> Position | None:
        """Where the erasure ledger stood."""
        return Position(**self.ledger) if self.ledger is not None else None

    def _text(self) -> bytes:
        return json.dumps({**asdict(self), "mac": ""}, sort_keys=True).encode()


def make_backup(settings: Settings, folder: Path, *, with_master_key: bool = False) -> BackupManifest:
    """Back the database up while the service runs, and read the copy again.

    Args:
        settings: Where everything is.
        folder: Made by this call.
        with_master_key: Put the master key into it too: then whoever has the folder has the voices.

    Raises:
        BackupInvalid: The folder is there already, or the copy cannot be read again.
        MasterKeyInvalid: The master key is not the database's.
        SchemaOutdated: The database stands at another migration than the program.
        StorageUnavailable: The database does not answer.
    """
    vault = Vault.load(settings.master_key_path, settings.given_master_key)
    if folder.exists():
        raise BackupInvalid(str(folder), "it is there already; name a new folder")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    engine = make_engine(settings.database_url)
    try:
        check_schema(engine)
        Repository(engine, vault).check_vault()
        # Before the copy: what is erased between the two is in both, which does no harm.
        position = Ledger(settings.erasure_ledger_path, vault).read().position
        made_at = datetime.now(UTC)
        take_copy(engine, part / DATABASE)
        manifest = _described(part / DATABASE, made_at, engine.dialect.name, position).sealed(vault)
        _write(part / MANIFEST, json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n")
        if with_master_key:
            key = settings.given_master_key or settings.master_key_path.read_text(encoding="ascii").strip()
            _write(part / KEY, key + "\n")
        part.rename(folder)
    finally:
        engine.dispose()
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def read_backup(folder: Path, vault: Vault) -> BackupManifest:
    """Read a backup's manifest and make sure that its files are what it says.

    Raises:
        BackupInvalid: A file is missing or changed.
        MasterKeyInvalid: It was made with another master key, or the manifest was changed.
    """
    try:
        manifest = BackupManifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except OSError as problem:
        raise BackupInvalid(str(folder), f"{MANIFEST}: {problem.strerror}") from problem
    except (ValueError, TypeError) as problem:
        raise BackupInvalid(str(folder), f"{MANIFEST} is not the manifest of a backup") from problem
    if manifest.format != FORMAT:
        raise BackupInvalid(str(folder), f"it has format {manifest.format}, and only {FORMAT} is read")
    if not manifest.is_of(vault):
        raise MasterKeyInvalid(vault.name, f"{folder / MANIFEST} was made with another one, or changed since")
    try:
        found = digest_of(folder / DATABASE)
    except OSError as problem:
        raise BackupInvalid(str(folder), f"{DATABASE}: {problem.strerror}") from problem
    if found != manifest.sha256:
        raise BackupInvalid(str(folder), f"{DATABASE} is not the file that the manifest describes")
    return manifest


def _described(path: Path, made_at: datetime, source: str, position: Position | None) -> BackupManifest:
    """The manifest of a copy, from what is read out of the copy itself."""
    check_file(path)
    engine = open_copy(path)
    try:
        schema, models, heads = contents(engine)
        return BackupManifest(
            format=FORMAT,
            made_at=made_at.isoformat(),
            schema=schema,
            source=source,
            sha256=digest_of(path),
            rows=count_rows(engine),
            models=models,
            audit=heads,
            ledger=position._asdict() if position is not None else None,
        )
    finally:
        engine.dispose()


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())

"""Another master key in the place of the present one, which may have been seen by somebody."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.errors import MasterKeyInvalid
from app.settings import Settings
from app.store import Repository, Vault, make_engine
from app.store.database import check_schema, check_unused
from app.store.vault import sync


@dataclass(frozen=True)
class Rekeyed:
    """What was done."""

    keys: int
    """Data keys that are wrapped by the new one."""
    path: Path
    """Where the new one lies."""
    former: Path | None
    """Where the one before lies now; None: it came from the environment."""


def change_master_key(settings: Settings, to: Path | None = None) -> Rekeyed:
    """Make a new master key and wrap by it what the present one has wrapped; no server may run meanwhile.

    The new key is on the disk before the database changes, at once or not at all; the files change places
    after that. When it is interrupted it is called again, and goes on.

    Args:
        settings: Where database and key are.
        to: File for the new key. None: that of the present one, which is kept beside it.

    Raises:
        MasterKeyInvalid: The present key is not the database's, `to` holds another key than one that was
            made to follow it, or `to` is missing and the present key comes from the environment.
        DatabaseInUse: A server runs.
        SchemaOutdated: The database stands at another migration than the program.
        StorageUnavailable: The database does not answer.
    """
    given, path = settings.given_master_key, settings.master_key_path
    if given is not None and to is None:
        raise MasterKeyInvalid("TIMBRE_MASTER_KEY", "it is no file; name one for the new key by --to")
    engine = make_engine(settings.database_url, patient=True)
    try:
        check_schema(engine)
        check_unused(engine)
        present = Vault.load(path, given)
        place = to or path.with_name(f"{path.name}.new")
        vault = Vault.load(place, make=present.successor)
        if not vault.succeeds(present):
            raise MasterKeyInvalid(str(place), "it was not made to follow the present one; name another file")
        keys = Repository(engine, vault).take_over(present)
    finally:
        engine.dispose()
    if to is not None:
        return Rekeyed(keys, to, None if given is not None else path)
    return Rekeyed(keys, path, _put_in_place(place, path))


def _put_in_place(new: Path, path: Path) -> Path:
    """The new key gets the name of the former one, which gets one of its own; at no moment is there none."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    former = path.with_name(f"{path.name}.former-{digest}")
    former.touch(mode=0o600)  # before a byte of the key is in it
    shutil.copyfile(path, former)
    sync(former)
    new.replace(path)
    sync(path.parent)
    return former

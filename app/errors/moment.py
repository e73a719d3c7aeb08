"""The moment, and the start."""

from dataclasses import dataclass
from typing import ClassVar

from app.errors.root import TimbreError


class Unavailable(TimbreError):
    """The service cannot answer now; the same request may succeed later."""

    retry_after_s: ClassVar[int] = 1


@dataclass(eq=False)
class ModelNotReady(Unavailable):
    code = "model_not_ready"
    message = "The model is still loading. Try again in a moment."


@dataclass(eq=False)
class IndexNotReady(Unavailable):
    code = "index_not_ready"
    message = "The index is being rebuilt. Try again in a moment."


@dataclass(eq=False)
class StorageUnavailable(Unavailable):
    code = "storage_unavailable"
    message = "The database, or the disk, does not answer. Send the same request again."


@dataclass(eq=False)
class LedgerUnavailable(Unavailable):
    code = "erasure_ledger_unavailable"
    message = "The erasure ledger cannot be written ({problem}), so nothing was erased. Try again."
    problem: str


@dataclass(eq=False)
class Overloaded(Unavailable):
    code = "overloaded"
    message = "All {workers} workers are busy and {waiting} requests wait. Try again in {retry_after_s} s."
    workers: int
    waiting: int
    retry_after_s: int = 1  # type: ignore[misc]


@dataclass(eq=False)
class InferenceTimeout(Unavailable):
    code = "inference_timeout"
    message = "The model did not answer within {limit_s:.1f} s. Try again or send a shorter recording."
    limit_s: float


@dataclass(eq=False)
class DetectorUnavailable(Unavailable):
    code = "pad_unavailable"
    message = "The recording could not be examined for an attack: {problem}. Try again."
    problem: str


class StartupError(TimbreError):
    """The service must not start like this; never sent over HTTP."""


@dataclass(eq=False)
class ModelInvalid(StartupError):
    code = "model_invalid"
    message = "The model in {path} cannot be used: {problem}."
    path: str
    problem: str


@dataclass(eq=False)
class ProviderUnavailable(StartupError):
    code = "provider_unavailable"
    message = (
        "{requested} was asked for but the model runs on {actual}. Install the CUDA libraries "
        "(pip install 'timbre[gpu]') or set TIMBRE_PROVIDER=cpu."
    )
    requested: str
    actual: str


@dataclass(eq=False)
class SchemaOutdated(StartupError):
    code = "schema_outdated"
    message = "The database stands at migration {found}, the program needs {needed}. Run: timbre migrate"
    found: str
    needed: str


@dataclass(eq=False)
class MigrationsMissing(StartupError):
    code = "migrations_missing"
    message = "The migrations are not in {path}. Install Timbre with the alembic folder beside app."
    path: str


@dataclass(eq=False)
class MasterKeyInvalid(StartupError):
    code = "master_key_invalid"
    message = (
        "The master key of {name} cannot be used: {problem}. Put back the key of this database, or run "
        "`timbre rekey` again where it was cut short."
    )
    name: str
    problem: str


@dataclass(eq=False)
class LedgerDamaged(StartupError):
    code = "erasure_ledger_damaged"
    message = (
        "The erasure ledger {path} was changed: line {line} does not follow from the one before. "
        "Put its copy back, or move it away and keep it; what stands before that line can still be replayed."
    )
    path: str
    line: int


@dataclass(eq=False)
class DatabaseOlder(StartupError):
    code = "database_older"
    message = (
        "The database lacks an erasure that {path} holds: it is an older copy, and people are in it who were "
        "erased since. Run: timbre restore. If it is another database on purpose, move the ledger away."
    )
    path: str


@dataclass(eq=False)
class DatabaseInUse(StartupError):
    code = "database_in_use"
    message = "A server has {database} open; stop every one first."
    database: str


@dataclass(eq=False)
class BackupInvalid(StartupError):
    code = "backup_invalid"
    message = "The backup in {path} cannot be used: {problem}."
    path: str
    problem: str


@dataclass(eq=False)
class DetectorInvalid(StartupError):
    code = "detector_invalid"
    message = "The detector '{detector}' of TIMBRE_PAD_DETECTOR cannot be used: {problem}."
    detector: str
    problem: str

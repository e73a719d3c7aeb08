"""Every setting of the service, in one frozen object: the only reader of the environment."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from limits import parse
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url

from app.failpoints import parse as parse_failpoints

Rule: TypeAlias = Literal["allow", "warn", "refuse"]
"""What to do about something doubtful."""


def _parsed(limit: str) -> str:
    parse(limit)  # raises ValueError
    return limit


RateLimit: TypeAlias = Annotated[str, AfterValidator(_parsed)]
"""A number of requests and a time, as `600/minute` or `20 per second`."""


def _known(failpoints: str) -> str:
    parse_failpoints(failpoints)  # raises ValueError
    return failpoints


Failpoints: TypeAlias = Annotated[str, AfterValidator(_known)]
"""Orders as `app.failpoints` reads them."""


class Settings(BaseSettings):
    """Settings, each read from TIMBRE_<NAME> or from .env; every default works as it is."""

    model_config = SettingsConfigDict(
        env_prefix="TIMBRE_",
        env_file=".env",
        env_parse_none_str="None",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on. Without any API key the service keeps to the loopback, whatever stands here."""
    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port to listen on; 0 lets the system choose."""
    workers: int = Field(default=1, ge=1)
    """Server processes; they share one database and see each other's changes at once."""
    open: bool = False
    """Let everybody in who reaches the port, as long as there is no API key; for a port that is published on
    the loopback only, as the compose file does."""
    rate_limit: RateLimit | None = None
    """Most requests of one key, as `600/minute`; each process counts for itself. None sets no limit."""

    database_url: str = "sqlite:///data/timbre.db"
    """SQLAlchemy address of the database: sqlite:///path or postgresql+psycopg://user:password@host/name."""
    database_connections: int = Field(default=8, ge=1)
    """Most connections of one process to the database; all processes together have to stay below PostgreSQL's
    `max_connections`, which is 100 unless it was raised."""
    master_key_file: Path | None = None
    """File with the key that seals everything stored of a voice; made at the first start. None: master.key
    beside the SQLite file, or data/master.key. Keep a copy apart from the database's: without it no voice can
    be read again."""
    master_key: SecretStr | None = None
    """The key itself, the text of such a file, in the place of the file."""
    migrate_on_start: bool = True
    """Bring the database to the newest migration at the start; otherwise an older one refuses to start."""
    models_dir: Path = Path("models")
    """Folder with one folder per model."""
    model: str = "timbre-2"
    """Name of the model folder that serves."""
    digit_model: str | None = "digits-1"
    """Name of the model folder that hears whether the digits of a challenge are said; None: nothing does."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `cuda` refuses to start when CUDA is not really used, `auto` says what it got."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """Which file of the model serves; `auto` times both at the start, `int8` has to be clearly faster."""

    inference_workers: int = Field(default=2, ge=1)
    """Recordings embedded at the same time, one thread each."""
    recordings_at_once: int | None = Field(default=None, ge=1)
    """Recordings worked on at the same time; None: one for each decoder or each inference worker, whichever
    are more. While some are turned away it is half of that."""
    recordings_waiting: int = Field(default=4, ge=0)
    """Recordings that may wait for their turn, unless some are being turned away; further ones are, before
    they are uploaded."""
    inference_timeout_s: float = Field(default=30.0, gt=0)
    """Longest wait for the model, in seconds."""
    decode_workers: int = Field(default=1, ge=1)
    """Decoder processes."""
    decode_timeout_s: float = Field(default=20.0, gt=0)
    """Longest time for decoding one recording, in seconds; a decoder that takes longer is replaced."""

    max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest request body, in bytes."""
    max_recording_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest recording in one part of a body, in bytes; /v1/segments has its own limit."""
    max_uploads_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """Most bytes of all recordings together that one process holds; further ones are turned away."""
    max_files: int = Field(default=20, ge=1)
    """Most recordings in one enrollment request."""
    max_duration_s: float = Field(default=300.0, gt=0)
    """Longest recording, in seconds."""
    max_segments_bytes: int = Field(default=256 * 1024 * 1024, ge=1024)
    """Largest request body of /v1/segments, in bytes: two hours of 16-bit samples at 16 kHz."""
    max_segments_duration_s: float = Field(default=7200.0, gt=0)
    """Longest recording that is cut into segments, in seconds."""
    segments_at_once: int = Field(default=2, ge=1)
    """Recordings cut into segments at the same time; as many more wait, the rest is turned away."""
    live_max_duration_s: float = Field(default=60.0, gt=0)
    """Longest live verification, in seconds of audio."""
    live_idle_s: float = Field(default=10.0, gt=0)
    """Longest silence of the client of a live verification until it is ended, in seconds."""
    live_at_once: int = Field(default=32, ge=1)
    """Live verifications at the same time; further ones are turned away."""
    max_url_bytes: int = Field(default=16 * 1024, ge=256, le=60_000)
    """Longest URL, its query included, in bytes."""
    max_headers: int = Field(default=100, ge=10)
    """Most header lines of a request."""
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    """Largest header of a request, all lines together, in bytes."""
    header_timeout_s: float = Field(default=10.0, gt=0)
    """Longest time for the header of a request to arrive, in seconds."""
    body_timeout_s: float = Field(default=120.0, gt=0)
    """Longest time for the body of a request to arrive, in seconds; one of several times
    TIMBRE_MAX_UPLOAD_BYTES, where it is taken, has as many times as long."""
    idle_timeout_s: float = Field(default=10.0, gt=0)
    """Longest silence of a client that has more to send, or does not take its answer, in seconds."""
    keep_alive_s: int = Field(default=75, ge=1)
    """Time for which a connection stays open without a request, in seconds: longer than clients and proxies
    keep theirs, or a request may meet the end of its connection."""
    max_connections: int = Field(default=512, ge=8)
    """Most connections of one process; above it the one that has been without a request longest is closed."""
    idempotency_lease_s: float = Field(default=15.0, ge=0.2)
    """Silence of a request after which its `Idempotency-Key` is free for a retry, in seconds: its process
    died. A request that takes longer renews its hold on the key."""
    min_speech_s: float = Field(default=0.25, gt=0)
    """Least speech in one recording, in seconds."""
    required_speech_s: float = Field(default=4.0, gt=0)
    """Speech that a speaker needs in all before it can be verified or identified, in seconds."""
    min_snr_db: float = 3.0
    """Recordings with a lower signal-to-noise ratio are refused, in decibels."""
    max_clipped_ratio: float = Field(default=0.10, ge=0, le=1)
    """Recordings with a larger share of clipped samples are refused."""
    min_level_dbfs: float = -65.0
    """Recordings whose speech is quieter are refused, in dB relative to full scale."""

    target_fmr: float = Field(default=0.05, gt=0, lt=1)
    """Expected false-match rate at which the default threshold stands, on the trials of the calibration."""
    target_fpir: float | None = Field(default=None, gt=0, lt=1)
    """Expected share of strangers whom an identification names, whatever the size of the gallery; None takes
    the threshold of TIMBRE_TARGET_FMR, which holds for one comparison."""
    min_margin: float = Field(default=0.5, ge=0)
    """Least lead of the best candidate over the second, in score, for `match`, not `ambiguous`: log-odds of
    the one against the other, so 0.5 asks that the best be 1.6 times likelier."""

    consent: Literal["optional", "required"] = "optional"
    """Whether a speaker is enrolled without a record of consent."""
    inconsistent: Rule = "refuse"
    """What happens to a recording that does not sound like the speaker's earlier ones."""
    same_voice: Rule = "warn"
    """What happens to a recording of a voice that is enrolled under another id."""
    several_voices: Rule = "warn"
    """What happens to a recording in which several voices speak."""
    consistency_fnmr: float = Field(default=0.01, gt=0, lt=1)
    """Share of right recordings that may be taken for inconsistent, on the trials of the calibration."""
    same_voice_fmr: float = Field(default=0.001, gt=0, lt=1)
    """Share of other voices that may be taken for the same, in one comparison."""
    keep_audio: bool = False
    """Keep the recordings of enrollments, sealed, so that a new model can be given them."""
    retention_days: int | None = Field(default=None, ge=1)
    """Days until a speaker is deleted, counted from the first enrollment; None keeps it."""
    lockout_after: int = Field(default=5, ge=0)
    """Failed verifications in a row after which a speaker's are locked for a while; 0 never locks."""
    lockout_first_s: float = Field(default=30.0, gt=0)
    """First lock, in seconds; every further failure doubles it."""
    lockout_longest_s: float = Field(default=3600.0, gt=0)
    """Longest lock, in seconds."""
    replayed: Rule = "warn"
    """What happens to a copy of a recording that the speaker enrolled, or that was accepted lately."""
    replay_memory: int = Field(default=10, ge=0, le=1000)
    """Accepted recordings of each speaker that are known again; 0 knows those that are enrolled only."""
    spoofed: Rule = "warn"
    """What happens to a recording that the detector takes for an attack; without a detector `refuse` answers
    503, since nothing can be examined."""
    pad_detector: str | None = None
    """Name of the plug-in that looks for played and made voices, from the entry points of `timbre.pad`; None
    looks for none."""
    challenge: Literal["optional", "required"] = "optional"
    """Whether a speaker is verified without random digits that have to be said in the recording."""
    challenge_lifetime_s: float = Field(default=60.0, gt=0, le=3600)
    """Time until a challenge expires, in seconds; a request may ask for less."""
    challenges_open: int = Field(default=5, ge=1)
    """Most challenges of one speaker that are open at the same time; whoever asks for more has to wait."""
    audit_decisions: bool = False
    """Write every verification and identification into the audit log, not only what changes something."""
    jobs_dir: Path = Path("data/jobs")
    """Folder for the files of imports and exports, sealed; the processes that share a database share it."""
    erasure_ledger: Path | None = None
    """File that says what was erased, outside the database, so that `timbre restore` erases it again; one for
    each machine, and best on another disk. None: beside the SQLite file, or data/timbre.erasures."""
    job_workers: int = Field(default=1, ge=0)
    """Imports, exports and re-embeddings done at the same time by one process; 0 leaves them to others."""
    max_import_bytes: int = Field(default=8 * 1024**3, ge=1024)
    """Largest import, in bytes, as it is sent and as it unpacks."""
    sweep_s: float = Field(default=60.0, gt=0)
    """Time between two searches for speakers whose time to be kept is over, in seconds."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged. Logs carry request ids and codes, never audio and never names."""

    failpoints: Failpoints | None = None
    """For tests only: places at which the process kills itself (`enroll.before_commit=kill@3`), waits
    (`=sleep:0.5`) or fails (`=raise`)."""

    @property
    def places(self) -> int:
        """Recordings worked on at the same time."""
        return self.recordings_at_once or max(self.decode_workers, self.inference_workers)

    @property
    def master_key_path(self) -> Path:
        """Where the master key lies."""
        if self.master_key_file is not None:
            return self.master_key_file
        address = make_url(self.database_url)
        beside = address.database if address.get_backend_name() == "sqlite" else None
        return (Path(beside).parent if beside else Path("data")) / "master.key"

    @property
    def erasure_ledger_path(self) -> Path:
        """Where the erasure ledger lies."""
        if self.erasure_ledger is not None:
            return self.erasure_ledger
        address = make_url(self.database_url)
        beside = address.database if address.get_backend_name() == "sqlite" else None
        return Path(beside or "data/timbre.db").with_suffix(".erasures")

    @property
    def given_master_key(self) -> str | None:
        """The master key of the environment, where there is one."""
        return self.master_key.get_secret_value() if self.master_key is not None else None

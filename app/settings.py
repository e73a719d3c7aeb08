"""Every setting of the service, in one frozen object: the only reader of the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings, each read from TIMBRE_<NAME> or from .env; every default works as it is."""

    model_config = SettingsConfigDict(
        env_prefix="TIMBRE_", env_file=".env", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on. Keep the loopback until something in front of the service checks who calls."""
    port: int = Field(default=8000, ge=0, le=65535)
    """TCP port to listen on; 0 lets the system choose."""
    workers: int = Field(default=1, ge=1)
    """Server processes; they share one database and see each other's changes at once."""

    database_url: str = "sqlite:///data/timbre.db"
    """SQLAlchemy address of the database: sqlite:///path or postgresql+psycopg://user:password@host/name."""
    migrate_on_start: bool = True
    """Bring the database to the newest migration at the start; otherwise an older one refuses to start."""
    models_dir: Path = Path("models")
    """Folder with one folder per model."""
    model: str = "timbre-2"
    """Name of the model folder that serves."""
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `cuda` refuses to start when CUDA is not really used, `auto` says what it got."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """Which file of the model serves; `auto` times both at the start, `int8` has to be clearly faster."""

    inference_workers: int = Field(default=2, ge=1)
    """Recordings embedded at the same time, one thread each."""
    inference_queue: int = Field(default=16, ge=0)
    """Recordings that may wait for the model before a request is turned away as overloaded."""
    inference_timeout_s: float = Field(default=30.0, gt=0)
    """Longest wait for the model, in seconds."""
    decode_workers: int = Field(default=1, ge=1)
    """Decoder processes."""
    decode_timeout_s: float = Field(default=20.0, gt=0)
    """Longest time for decoding one recording, in seconds; a decoder that takes longer is replaced."""

    max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Largest request body, in bytes."""
    max_files: int = Field(default=20, ge=1)
    """Most recordings in one enrollment request."""
    max_duration_s: float = Field(default=300.0, gt=0)
    """Longest recording, in seconds."""
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
    min_margin: float = Field(default=0.5, ge=0)
    """Least lead of the best candidate over the second, in score, for `match`, not `ambiguous`: log-odds of
    the one against the other, so 0.5 asks that the best be 1.6 times likelier."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged. Logs carry request ids and codes, never audio and never names."""

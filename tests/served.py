"""A real server in a thread of the test process: uvicorn, decoder processes, model, index, database."""

import atexit
import base64
import contextlib
import gc
import hashlib
import io
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import soundfile
import uvicorn
from fastapi import FastAPI

from app.arrays import SAMPLE_RATE_HZ, Waveform
from app.audio import nursery
from app.cli.process import server_process
from app.cli.serve import server_options
from app.main import create_app
from app.settings import Settings
from training.signals import speech_like

ROOT = Path(__file__).parents[1]
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


def settings_for(models_dir: Path, database_url: str, **changes: Any) -> Settings:
    """Settings of a test: nothing from the environment, the tiny model."""
    folder, name = _scratch(models_dir), hashlib.sha256(database_url.encode()).hexdigest()[:12]
    chosen: dict[str, Any] = {
        "models_dir": models_dir,
        "model": "tiny",
        "digit_model": None,
        "database_url": database_url,
        "provider": "cpu",
        "master_key": MASTER_KEY,
        "jobs_dir": folder / f"jobs-{name}",
        "erasure_ledger": folder / f"{name}.erasures",
        "max_upload_bytes": 2_000_000,
        "max_files": 4,
        "max_duration_s": 20.0,
        "min_speech_s": 0.6,
        "required_speech_s": 4.0,
        "min_margin": 0.03,  # the tiny model's scores are cosines
    }
    return Settings(_env_file=None, **{**chosen, **changes})


def _scratch(models_dir: Path) -> Path:
    """Where a test may write: beside models of its own, and not beside the project's."""
    beside = models_dir.resolve().parent
    return Path(_kept_folder().name) if beside == ROOT else beside


@cache
def _kept_folder() -> tempfile.TemporaryDirectory[str]:
    kept = tempfile.TemporaryDirectory(prefix="timbre-tests-")
    atexit.register(kept.cleanup)
    return kept


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """A client of a server of its own, on a free port; the server ends with the block."""
    with serving_app(create_app(settings), settings) as client:
        yield client


@contextlib.contextmanager
def serving_app(app: FastAPI, settings: Settings | None = None) -> Iterator[httpx.Client]:
    """The same for an application that the test wants to reach into."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        lifespan="on",
        access_log=False,
        **server_options(settings or Settings(_env_file=None)),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    with _warm_decoders():
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("the server does not start")
            time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    # As docs/settings.md asks of clients: a connection is given up before the server does so.
    kept = httpx.Limits(keepalive_expiry=config.timeout_keep_alive / 2)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=kept) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        leave_alone_what_stays()


def leave_alone_what_stays() -> None:
    """Take what is here now out of the garbage collector's sight.

    FastAPI's caches keep every application that was ever made. Looking through hundreds of them again and
    again stops every thread for seconds at a time.
    """
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _warm_decoders() -> Iterator[None]:
    """While a server starts: its decoders come from a process that is kept, and nothing is imported."""
    before, nursery.PARENT = nursery.PARENT, _kept_nursery()
    try:
        yield
    finally:
        nursery.PARENT = before


@cache
def _kept_nursery() -> nursery.Nursery:
    kept = nursery.Nursery()
    atexit.register(kept.close)
    return kept


@contextlib.contextmanager
def process(
    settings: Settings,
    *,
    log: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    flags: Sequence[str] = (),
) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """`timbre serve` in a process of its own, which may be killed; it ends with the block.

    Args:
        settings: All that differs from the defaults goes into its environment.
        log: File that takes what it says, after what stands there; None throws it away.
        environment: More variables.
        flags: Of the interpreter.
    """
    named = settings.model_dump(exclude_defaults=True) | {"master_key": settings.given_master_key}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRE_")}
    kept |= {f"TIMBRE_{name.upper()}": str(value) for name, value in named.items()}
    kept |= environment
    with server_process(kept, log or Path(os.devnull), flags) as served:
        yield served


def wav(waveform: Waveform, rate: int = SAMPLE_RATE_HZ, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    """The bytes of a sound file; `waveform` may have channels in its second axis."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, subtype=subtype, format=kind)
    return buffer.getvalue()


@cache
def clip(speaker: int, take: int = 0, seconds: float = 3.0) -> bytes:
    """A recording of a synthetic voice as a WAV file; always the same for the same arguments."""
    return wav(speech_like(seconds, speaker=speaker, take=take))


def audio(*recordings: bytes, part: str = "audio") -> list[tuple[str, tuple[str, bytes]]]:
    """Multipart parts of these recordings."""
    return [(part, ("recording", recording)) for recording in recordings]


def enroll(
    client: httpx.Client, speaker_id: str, voice: int, takes: int = 2, **fields: str
) -> dict[str, Any]:
    """Enroll a synthetic voice far enough to be found."""
    recordings = audio(*(clip(voice, take) for take in range(takes)))
    answer = client.post("/enroll", files=recordings, data={"speaker_id": speaker_id, **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check everything that holds for every problem document; returns the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = dict(answer.json())
    assert {"type", "title", "status", "detail", "code", "reasons", "audio", "request_id"} <= set(document)
    assert document["status"] == status
    assert document["code"] == code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["reasons"], "a refusal has at least one reason"
    assert document["reasons"][0]["code"] == code
    assert all(reason["detail"] for reason in document["reasons"])
    assert "Traceback" not in answer.text
    if status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    return document

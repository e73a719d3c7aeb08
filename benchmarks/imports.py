"""How much memory a large import takes, and how long.

    python -m benchmarks.imports [--recordings 10000] [--seconds 1.2] [--model FOLDER]

Starts a server of its own with an empty database, sends it one import of JSON lines (every recording with
bytes of its own, five for each speaker), and watches the memory of the server process and of its decoder
while the job goes on. What the issue asks: the last figure is no larger than the first ones, but for what
the gallery itself holds. Without --model a tiny model answers, so that the time is the service's own.
"""

import argparse
import base64
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import soundfile

from app.arrays import Waveform
from app.cli.process import server_process
from tests.tiny import write_tiny_model
from training.signals import speech_like

VOICES, TAKES = 60, 5


def clips(count: int, seconds: float) -> Iterator[bytes]:
    """JSON lines; what a recording sounds like repeats, its bytes never do."""
    sounds: dict[int, Waveform] = {}
    for number in range(count):
        speaker, take = divmod(number, TAKES)
        sound = (speaker % VOICES) * TAKES + take
        if sound not in sounds:
            sounds[sound] = speech_like(seconds, speaker=speaker % VOICES, take=take)
        waveform = sounds[sound].copy()
        waveform[:32] = [((number >> bit) & 1) / 32768 for bit in range(32)]
        file = io.BytesIO()
        soundfile.write(file, waveform.astype(np.float32), 16_000, format="WAV", subtype="PCM_16")
        row = {"speaker_id": f"speaker-{speaker}", "audio": base64.b64encode(file.getvalue()).decode()}
        yield json.dumps(row).encode() + b"\n"


def megabytes(pid: int) -> float:
    """Resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def children(pid: int) -> list[int]:
    """Processes that it has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")  # the thread that started it stands for it
    return [int(each) for task in tasks for each in task.read_text(encoding="ascii").split()]


def watch(http: httpx.Client, job_id: str, pid: int, total: int) -> None:
    """Print the memory at shares of the import, until it ends."""
    marks = [0, total // 100, total // 10, total // 4, total // 2, total * 3 // 4, total]
    started = time.monotonic()
    while True:
        job = http.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["done"] >= marks[0] or job["status"] not in {"queued", "running"}:
            decoder = sum(megabytes(child) for child in children(pid))
            print(
                f"{job['done']:>8} rows  {time.monotonic() - started:7.1f} s  "
                f"server {megabytes(pid):7.1f} MB  decoder {decoder:7.1f} MB",
                flush=True,
            )
            marks = [mark for mark in marks if mark > job["done"]]
        if job["status"] not in {"queued", "running"}:
            print(f"{job['status']}: {job['counts']}, {job['rows_per_second']} rows a second", flush=True)
            return
        time.sleep(0.1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--recordings", type=int, default=10_000, help="rows (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.2, help="length of a recording (%(default)s)")
    parser.add_argument("--model", type=Path, help="folder of a model (default: a tiny one)")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="timbre-imports-") as folder:
        model = wanted.model or write_tiny_model(Path(folder) / "models" / "tiny")
        environment = os.environ | {
            "TIMBRE_DATABASE_URL": f"sqlite:///{folder}/imports.db",
            "TIMBRE_MASTER_KEY_FILE": f"{folder}/master.key",
            "TIMBRE_JOBS_DIR": f"{folder}/jobs",
            "TIMBRE_MODELS_DIR": str(model.parent.resolve()),
            "TIMBRE_MODEL": model.name,
            "TIMBRE_DIGIT_MODEL": "None",
            "TIMBRE_PROVIDER": "cpu",
            "TIMBRE_INCONSISTENT": "warn",  # synthetic voices, and a model that never learnt
        }
        with server_process(environment, Path(folder) / "server.log") as (http, process):
            print(f"before: server {megabytes(process.pid):.1f} MB", flush=True)
            body = clips(wanted.recordings, wanted.seconds)
            job = http.post("/v1/imports", content=body, timeout=600).raise_for_status().json()
            print(f"taken: {job['wanted']['bytes'] / 1e6:.0f} MB", flush=True)
            watch(http, job["job_id"], process.pid, wanted.recordings)


if __name__ == "__main__":
    main()

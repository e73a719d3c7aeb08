"""`timbre serve` in a process of its own: it serves, or says in one line why not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from app.cli.process import free_port


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *words]


def surroundings(**changes: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return os.environ | {"PYTHONPATH": root} | changes


def test_it_makes_the_database_serves_and_stops(environment: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        command("serve", "--port", str(port)), env=surroundings(), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 110
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert (environment / "cli.db").is_file()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert "timbre: model tiny@" in err
    assert "Traceback" not in err


def test_a_model_that_is_not_there_is_one_line_and_exit_code_1(environment: Path) -> None:
    done = subprocess.run(
        command("serve"), env=surroundings(TIMBRE_MODEL="nix"), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 1
    assert "there is no such folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_old_schema_is_one_line_when_migrations_are_off(environment: Path) -> None:
    done = subprocess.run(
        command("serve"),
        env=surroundings(TIMBRE_MIGRATE_ON_START="false"),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1
    assert "migration" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_setting_is_named(environment: Path) -> None:
    done = subprocess.run(
        command("serve"), env=surroundings(TIMBRE_PORT="high"), capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 1
    assert done.stderr.startswith("timbre: TIMBRE_PORT:")

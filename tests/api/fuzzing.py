"""Schemathesis against a real server with the tiny model: every check, every operation, every phase.

    python -m tests.api.fuzzing --seconds 600

`make fuzz-api` is the same with a new seed each time.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from fastapi import FastAPI

from app.main import create_app
from app.service.access import make_key
from app.settings import Settings
from app.store import Repository, Vault, make_engine
from tests.served import serving_app, settings_for
from tests.tiny import write_tiny_model

ROOT = Path(__file__).resolve().parents[2]


def fuzz(settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    """Serve on these settings, with a key, and let Schemathesis loose on it.

    Args:
        settings: Of the server; its database is new.
        *options: More of `schemathesis run`.

    Returns:
        The finished run with everything that it said. Exit status 0: nothing was found.
    """
    return fuzz_app(create_app(settings), settings, *options)


def fuzz_app(app: FastAPI, settings: Settings, *options: str) -> subprocess.CompletedProcess[str]:
    """The same for an application that the test has changed."""
    with serving_app(app) as client:
        return _run(client, admin_token(settings), *options)


def _run(client: httpx.Client, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {token}", "--generation-database", "none"]
    # Three kinds of key would do; one is in every request, and whether it is needed is tested.
    command += ["--generation-with-security-parameters", "false"]
    command += ["--exclude-checks", "ensure_resource_availability"]  # schema_hooks has one that knows more
    command += ["--continue-on-failure", "--request-timeout", "30", "--no-color", *options]
    # The hooks import the tests' own modules; nothing is written into the checkout.
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.api.schema_hooks",
        "FUZZED_TOKEN": token,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with tempfile.TemporaryDirectory() as scratch:
        return subprocess.run(
            command,
            env=environment,
            cwd=scratch,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


def admin_token(settings: Settings) -> str:
    """Make a key of the default tenant that may do everything; from then on the service asks for one."""
    engine = make_engine(settings.database_url)
    try:
        vault = Vault.load(settings.master_key_path, settings.given_master_key)
        return make_key(Repository(engine, vault), "default", ["admin"]).token
    finally:
        engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the API.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        write_tiny_model(models / "tiny")
        settings = settings_for(models, f"sqlite:///{folder}/fuzz.db", challenges_open=10**6)
        done = fuzz(settings, "--seed", str(given.seed), "--max-time", str(given.seconds))
    print(done.stdout[-20_000:], done.stderr[-2_000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()

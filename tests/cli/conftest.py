"""`timbre` called as its entry point calls it, in process and against a server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from app.cli import main
from tests.served import serving, settings_for
from tests.tiny import write_tiny_model

Timbre = Callable[..., "Done"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def cli_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    folder = tmp_path_factory.mktemp("cli-models")
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture
def environment(cli_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of a process of its own: an empty database, the tiny model, wide output."""
    monkeypatch.chdir(tmp_path)  # no .env of the checkout
    monkeypatch.setenv("TIMBRE_MODELS_DIR", str(cli_models))
    monkeypatch.setenv("TIMBRE_MODEL", "tiny")
    monkeypatch.setenv("TIMBRE_DIGIT_MODEL", "None")
    monkeypatch.setenv("TIMBRE_PROVIDER", "cpu")
    monkeypatch.setenv("TIMBRE_MIN_MARGIN", "0.03")  # the tiny model's scores are cosines
    monkeypatch.setenv("TIMBRE_DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    monkeypatch.delenv("TIMBRE_SERVER", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture
def alone(environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Timbre:
    """The command line by itself, working in this process."""

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["timbre", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def cli_server(cli_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A running server for the command line."""
    folder = tmp_path_factory.mktemp("cli-server")
    with serving(settings_for(cli_models, f"sqlite:///{folder}/server.db")) as client:
        yield client


@pytest.fixture
def timbre(alone: Timbre, cli_server: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Timbre:
    """The command line against a running server with an empty gallery."""
    for speaker in cli_server.get("/v1/speakers").json()["speakers"]:
        cli_server.delete(f"/v1/speakers/{speaker['speaker_id']}").raise_for_status()
    monkeypatch.setenv("TIMBRE_SERVER", str(cli_server.base_url))
    return alone

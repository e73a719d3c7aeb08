"""`timbre` called as its entry point calls it, in process and against a server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

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
    monkeypatch.setenv("TIMBRE_PROVIDER", "cpu")
    monkeypatch.setenv("TIMBRE_DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    monkeypatch.delenv("TIMBRE_SERVER", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture(params=["in process", "server"])
def timbre(
    request: pytest.FixtureRequest,
    environment: Path,
    cli_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Timbre]:
    """The command line, once by itself and once against a running server."""

    def run(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["timbre", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    if request.param == "in process":
        yield run
        return
    with serving(settings_for(cli_models, f"sqlite:///{environment}/server.db")) as client:
        monkeypatch.setenv("TIMBRE_SERVER", str(client.base_url))
        yield run

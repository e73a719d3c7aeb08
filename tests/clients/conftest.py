"""A running service with its own document, and what every client's example is given."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import speech
from tests.api.fuzzing import admin_token
from tests.served import serving, settings_for
from tests.tiny import write_tiny_model

CLIENTS = Path(__file__).resolve().parents[2] / "clients"


@dataclass(frozen=True)
class Service:
    """Where it runs, the key that it asks for, and its document in a file."""

    server: httpx.Client
    token: str
    document: Path
    clips: tuple[str, str, str]
    """Files: three recordings of one voice."""

    def generate(self, language: str, into: Path) -> None:
        """Write a client's generated half from the document of this service."""
        command = [sys.executable, str(CLIENTS / "generate.py"), str(self.document), language]
        run([*command, "--into", str(into)], into)

    def arguments(self) -> list[str]:
        """What both examples are called with."""
        return [str(self.server.base_url), *self.clips, self.token]


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a program; the test fails with its words when it does."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), **environment}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, asking for keys, with two speakers enrolled."""
    folder = tmp_path_factory.mktemp("clients")
    write_tiny_model(folder / "models" / "tiny")
    settings = settings_for(folder / "models", f"sqlite:///{folder}/timbre.db")
    first, second = speech.voices()[:2]
    clips = tuple(str(folder / f"{first}-{take}.ogg") for take in range(3))
    for take, clip in enumerate(clips):
        Path(clip).write_bytes(speech.clip(first, take))
    with serving(settings) as server:
        token = admin_token(settings)
        document = folder / "openapi.json"
        document.write_text(server.get("/openapi.json").text, encoding="utf-8")
        key = {"authorization": f"Bearer {token}"}
        for name in ("bob", "eve"):
            takes = [("audio", speech.clip(second, take)) for take in range(2)]
            enrolled = server.post("/enroll", files=takes, data={"speaker_id": name}, headers=key)
            assert enrolled.status_code == 201, enrolled.text
        yield Service(server, token, document, clips)  # type: ignore[arg-type]


def assert_first_steps(printed: str, speaker: str) -> None:
    """What an example says when everything went as it should, step by step."""
    told: dict[str, dict[str, Any]] = {}
    for line in printed.splitlines():
        found = json.loads(line)
        told[found.pop("step")] = found
    assert list(told) == ["enroll", "verify", "identify", "list", "patch", "delete"]
    assert told["enroll"] == {"status": "enrolled", "enrollments": 2}
    assert told["verify"]["decision"] in {"accept", "reject"}  # the tiny model knows no real voices
    assert isinstance(told["verify"]["score"], float)
    assert told["identify"]["decision"] in {"match", "unknown", "ambiguous"}
    assert told["list"] == {"names": ["bob", "eve", speaker]}
    assert told["patch"] == {"name": "Ada", "refused": "concurrent_modification", "status": 409}
    assert told["delete"] == {"status": 204, "then": "speaker_not_found"}

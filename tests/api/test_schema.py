"""The OpenAPI document and the service agree: Schemathesis tries every check on every operation."""

import re
from pathlib import Path

import pytest

from app.main import create_app
from tests.api.fuzzing import fuzz, fuzz_app
from tests.served import settings_for


@pytest.mark.timeout(400)
def test_schemathesis_finds_nothing(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url, challenges_open=10**6)
    operations = [each for item in create_app(settings).openapi()["paths"].values() for each in item]
    done = fuzz(settings, "--seed", "1", "--max-examples", "8")
    said = done.stdout[-20_000:] + done.stderr[-2_000:]
    assert done.returncode == 0, said
    assert f"Selected: {len(operations)}/{len(operations)}" in said
    assert f"Tested: {len(operations)}" in said
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said, said
    assert int(re.findall(r"(\d+) passed", said)[-1]) > 30 * len(operations)


def test_schemathesis_finds_what_is_wrong(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url)
    app = create_app(settings)

    @app.get("/v1/wrong", tags=["speakers"])
    async def wrong(number: int) -> dict[str, str]:
        """Takes every number, and some of them badly."""
        return {"found": str(1 // (number // 1000))}

    done = fuzz_app(app, settings, "--seed", "1", "--max-examples", "8", "--include-path", "/v1/wrong")
    assert done.returncode == 1
    assert "Server error" in done.stdout

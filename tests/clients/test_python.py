"""The Python client: generated from the running service, typed, and used against it."""

import sys
from pathlib import Path

import pytest

from tests.clients.conftest import CLIENTS, Service, assert_first_steps, run

pytestmark = pytest.mark.timeout(400)  # a package index may be slow
EXAMPLE = CLIENTS / "python" / "examples" / "first_steps.py"


@pytest.fixture(scope="module")
def package(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds timbre_client."""
    folder = tmp_path_factory.mktemp("python")
    service.generate("python", folder)
    return folder


def test_it_is_typed_throughout(package: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(package / "cache")]
    run([*command, "-p", "timbre_client"], package)
    run([*command, str(EXAMPLE)], package, MYPYPATH=str(package))


def test_a_wrong_name_is_found_before_it_runs(package: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(EXAMPLE.read_text().replace("verified.decision", "verified.verdict"), encoding="utf-8")
    with pytest.raises(AssertionError, match="verdict"):
        run([sys.executable, "-m", "mypy", "--strict", str(wrong)], package, MYPYPATH=str(package))


def test_its_first_steps_work_against_the_service(service: Service, package: Path) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLE), *service.arguments()]
    assert_first_steps(run(command, package, PYTHONPATH=str(package)), "py-ada")


def test_the_package_is_built(package: Path) -> None:
    for name in ("pyproject.toml", "README.md"):
        (package / name).write_bytes((CLIENTS / "python" / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*command, "--wheel-dir", str(package / "dist"), str(package)], package)
    (wheel,) = (package / "dist").glob("timbre_client-*.whl")
    assert wheel.stat().st_size > 50_000

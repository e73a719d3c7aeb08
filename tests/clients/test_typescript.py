"""The TypeScript client: generated from the running service, compiled, and used against it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.clients.conftest import CLIENTS, Service, assert_first_steps, run

pytestmark = pytest.mark.timeout(400)  # a package index may be slow
SOURCE = CLIENTS / "typescript"


@pytest.fixture(scope="module")
def package(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with its tools installed and its types generated."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(
                f"{program} was not found: install Node 18 or newer (Debian: apt-get install nodejs npm)",
                pytrace=False,
            )
    folder = tmp_path_factory.mktemp("typescript") / "package"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "schema.ts"))
    run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], folder)
    service.generate("typescript", folder)
    return folder


def test_it_compiles_and_its_first_steps_work_against_the_service(service: Service, package: Path) -> None:
    run(["npm", "run", "build", "--silent"], package)
    printed = run(["node", "dist/examples/first-steps.js", *service.arguments()], package)
    assert_first_steps(printed, "ts-ada")


def test_a_wrong_name_is_found_before_it_runs(package: Path) -> None:
    example = package / "examples" / "wrong.ts"
    right = (package / "examples" / "first-steps.ts").read_text(encoding="utf-8")
    example.write_text(right.replace("verified.decision", "verified.verdict"), encoding="utf-8")
    try:
        with pytest.raises(AssertionError, match="verdict"):
            run(["npx", "tsc", "--noEmit"], package)
    finally:
        example.unlink()


def test_the_lock_file_names_no_registry_and_fits_the_package() -> None:
    package = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((SOURCE / "package-lock.json").read_text(encoding="utf-8"))
    wanted = package["dependencies"] | package["devDependencies"]
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert not [name for name, each in lock["packages"].items() if "resolved" in each]
    assert all("integrity" in each for name, each in lock["packages"].items() if name)

"""The audit never says that all is well without knowing it; the bill of materials lists what is pinned."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from supply import audit, sbom

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path("requirements.lock")


def package(name: str, *holes: str, skipped: bool = False) -> dict[str, Any]:
    if skipped:
        return {"name": name, "skip_reason": f"{name} was not found"}
    found = [{"id": hole, "fix_versions": ["2.0"]} for hole in holes]
    return {"name": name, "version": "1.0", "vulns": found}


def of(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages)}


@pytest.mark.parametrize(
    ("reports", "code", "words"),
    [
        ([of(package("a"), package("b"))], audit.CLEAR, "2 packages, no known vulnerability"),
        ([of(package("a"), package("b", "CVE-1"))], audit.VULNERABLE, "b 1.0: CVE-1 (fixed in: 2.0)"),
        ([of(package("a", skipped=True), package("b", "CVE-1"))], audit.VULNERABLE, "1 known"),
        ([of(package("a"), package("b", skipped=True))], audit.UNKNOWN, "NOT AUDITED: 1 of 2"),
        ([of(package("a", skipped=True)), of(package("a"))], audit.CLEAR, "1 packages"),
        ([of(package("a")), of(package("a", "CVE-2"))], audit.VULNERABLE, "CVE-2"),
        ([None, None], audit.UNKNOWN, "NOT AUDITED: 0 of all"),
        ([of()], audit.UNKNOWN, "NOT AUDITED"),
    ],
)
def test_only_what_was_judged_is_called_well(
    reports: list[dict[str, Any] | None], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.judge(LOCK, reports) == code
    assert words in capsys.readouterr().out


def test_a_database_that_is_not_there_is_no_all_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "one.lock"
    lock.write_text("packaging==26.3\n")
    found = audit.report(lock, "osv", "http://127.0.0.1:9/query")
    assert audit.judge(lock, [found]) == audit.UNKNOWN
    assert "NOT AUDITED" in capsys.readouterr().out


def test_the_bill_of_materials_lists_every_pin_with_version_and_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sbom.json"
    assert sbom.main(["--lock", str(ROOT / LOCK), "--out", str(out)]) == 0, capsys.readouterr().err
    document = json.loads(out.read_text())
    assert document["bomFormat"] == "CycloneDX"
    listed = {sbom.name_of(part["name"]): part for part in document["components"]}
    pins = sbom.pinned((ROOT / LOCK).read_text(encoding="utf-8"))
    assert {name: part["version"] for name, part in listed.items()} == pins
    assert len(pins) > 60
    without = [name for name, part in listed.items() if not part.get("licenses")]
    assert len(without) <= 3, without
    assert all(part["purl"].startswith("pkg:pypi/") for part in listed.values())


def test_what_is_not_installed_as_pinned_is_no_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "wrong.lock"
    lock.write_text("packaging==0.0.1\nno-such-package==1.0 ; sys_platform == 'nowhere'\n")
    assert sbom.main(["--lock", str(lock), "--out", str(tmp_path / "out.json")]) == 1
    assert capsys.readouterr().err == "not installed as pinned: packaging\n"
    assert not (tmp_path / "out.json").exists()


def test_the_image_is_built_with_its_own_bill() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "cyclonedx-py environment" in text
    (pin,) = (
        line
        for line in (ROOT / "requirements-dev.lock").read_text().splitlines()
        if "cyclonedx-bom==" in line
    )
    assert pin in text, "the tool of the image is the one that is pinned"
    assert sys.version_info >= (3, 11)

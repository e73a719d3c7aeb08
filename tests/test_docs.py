"""The documentation says what the code does: settings, errors, commands, links, the README's examples."""

import ast
import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.main import get_command

from app import errors
from app.api.problems import INTERNAL_CODE, STATUS
from app.cli import cli
from app.settings import Settings
from tests.served import serving, settings_for
from tests.tiny import write_tiny_model

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAMES = {f"TIMBRE_{name.upper()}" for name in Settings.model_fields}
OTHER_NAMES = {
    "TIMBRE_SERVER",
    "TIMBRE_API_KEY",
    "TIMBRE_CORPUS",
    "TIMBRE_EXTRAS",
    "TIMBRE_TEST_POSTGRES_URL",
}
"""Variables that are no settings of the service."""
SHIPPED = Settings.model_fields["model"].default


def default_of(setting: str) -> str:
    value = Settings.model_fields[setting.removeprefix("TIMBRE_").lower()].default
    return str(value).lower() if isinstance(value, bool) else str(value)


def leaves(kind: type[errors.TimbreError] = errors.TimbreError) -> list[type[errors.TimbreError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


# ---------------------------------------------------------------- settings


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(TIMBRE_\w+)` \| `([^`]*)` \|", text, re.MULTILINE))
    rows.pop("TIMBRE_CORPUS", None)
    assert rows == {name: default_of(name) for name in NAMES}


def test_the_example_environment_names_every_setting_and_changes_none() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    given = dict(line.removeprefix("# ").split("=", 1) for line in lines if line.startswith("# TIMBRE_"))
    assert given == {name: default_of(name) for name in NAMES}
    assert all(not line or line.startswith("#") for line in lines)


def test_the_compose_file_hands_every_setting_on() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    fixed_in_the_image = {"TIMBRE_HOST", "TIMBRE_PORT", "TIMBRE_MODELS_DIR"}
    assert set(re.findall(r"^ +(TIMBRE_\w+):", text, re.MULTILINE)) == NAMES - fixed_in_the_image


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_setting_that_does_not_exist(page: Path) -> None:
    named = set(re.findall(r"\bTIMBRE_[A-Z][A-Z0-9_]*\b", page.read_text(encoding="utf-8")))
    assert named <= NAMES | OTHER_NAMES


# ---------------------------------------------------------------- errors


def test_every_code_is_documented_with_its_status() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE)
    expected = {leaf.code: str(STATUS[leaf]) for leaf in leaves()} | {INTERNAL_CODE: "500"}
    assert dict(rows) == expected
    assert len(rows) == len(expected), "a code stands there twice"


# ---------------------------------------------------------------- commands and links


def test_every_make_target_that_is_mentioned_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        code = "\n".join(re.findall(r"```.*?```|`[^`]+`", page.read_text(encoding="utf-8"), re.DOTALL))
        mentioned = set(re.findall(r"(?:^|[`(&] ?)make ([a-z-]+)", code, re.MULTILINE))
        assert mentioned <= targets, page.name


def test_every_timbre_command_that_is_mentioned_exists() -> None:
    commands = set(get_command(cli).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.DOTALL))
        mentioned = set(re.findall(r"(?:^|[`|] ?)timbre ([a-z]+)\b", code, re.MULTILINE))
        assert mentioned <= commands, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in targets if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_decisions_are_numbered_without_gaps_and_say_what_they_cost() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        for part in ("**Decision.**", "**Why.**", "**What it costs.**", "**When to look again.**"):
            assert part in text, f"{page.name} lacks {part}"


def test_the_architecture_shows_the_layers_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(each for each in project["tool"]["importlinter"]["contracts"] if each["id"] == "layers")
    drawn = " > ".join(contract["layers"]).replace(" : ", ", ")
    assert drawn in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


# ---------------------------------------------------------------- threats


def test_every_threat_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    table = text.split("## Threats and what is done about them")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!asset)(.+) \|$", table, re.MULTILINE)
    assert len(rows) >= 20
    for row in rows:
        *_, threat, mitigation, tests = (cell.strip() for cell in row.split(" | "))
        assert threat
        assert mitigation
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert named, f"no test: {threat}"
        for file, function in named:
            code = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {function}\(", code, re.MULTILINE), f"{file}::{function}"


# ---------------------------------------------------------------- the house


def test_the_service_imports_only_what_its_lock_file_installs() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    owners = importlib.metadata.packages_distributions()
    for file in ROOT.glob("app/**/*.py"):
        for name in imported(file) - set(sys.stdlib_module_names) - {"app"}:
            candidates = {each.lower().replace("_", "-") for each in owners[name]}
            assert candidates & locked, f"{file.name} imports {name}"


def imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-gpu.lock", "requirements-dev.lock"])
def test_lock_files_pin_everything_and_name_no_host(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert pins
    assert all(re.match(r"[\w.-]+(\[\w+\])?==[\w.]+( ; .+)?$", pin) for pin in pins)
    assert "://" not in "".join(lines)


def test_the_lock_files_agree() -> None:
    service, *others = (
        set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-gpu.lock", "requirements-dev.lock")
    )
    for other in others:
        assert service <= other


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    for target in ("serve", "test", "check", "demo"):
        assert f"make {target} " in done.stdout


def test_make_refuses_a_python_that_is_too_old_in_words(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    command = ["make", f"PYTHON={old}", ".venv/bin/python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "3.9.2" in done.stderr


# ---------------------------------------------------------------- the README's first screen


def test_the_readme_shows_the_two_commands_the_calls_and_the_demo_first() -> None:
    places = [README.index(each) for each in ("make serve", "make test", "/enroll", "/verify", "/identify")]
    assert [*places, README.index("make demo")] == sorted([*places, README.index("make demo")])
    assert README[: README.index("make demo")].count("\n") < 50


def test_the_calls_of_the_readme_work_and_have_the_fields_shown(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "models" / "tiny")
    settings = settings_for(tmp_path / "models", f"sqlite:///{tmp_path}/readme.db")
    for shown, answer in played(settings):
        assert_shown(shown, answer)


@pytest.mark.skipif(not (ROOT / "models" / SHIPPED).is_dir(), reason="no shipped model in this checkout")
def test_the_shipped_model_answers_as_the_readme_shows(tmp_path: Path) -> None:
    settings = settings_for(ROOT / "models", f"sqlite:///{tmp_path}/readme.db", model=SHIPPED)
    for shown, answer in played(settings):
        assert_shown(shown, answer)
        for name in ("status", "decision", "speaker_id", "gallery_size"):
            if name in shown:
                assert answer[name] == shown[name]
        for name, apart in {"score": 0.5, "threshold": 0.05, "similarity": 0.05, "speech_s": 0.05}.items():
            if name in shown:
                assert answer[name] == pytest.approx(shown[name], abs=apart), "the README is out of date"


def played(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """The README's calls, one after the other on a fresh server: answer shown, answer given."""
    examples = re.findall(r"^\$ (curl .+)\n(\{.+\})$", README, re.MULTILINE)
    assert len(examples) == 3
    with serving(settings) as client:
        for command, shown in examples:
            yield json.loads(shown), run_curl(client, command)


def run_curl(client: httpx.Client, command: str) -> Any:
    """Sends what a `curl -F …` command would send; the server's address is the test's own."""
    words = shlex.split(command)[1:]
    files: list[tuple[str, tuple[str, bytes]]] = []
    fields: dict[str, str] = {}
    for name, value in (word.split("=", 1) for word in words if "=" in word):
        if value.startswith("@"):
            files.append((name, (value, (ROOT / value[1:]).read_bytes())))
        else:
            fields[name] = value
    answer = client.post(httpx.URL(words[-1]).path, files=files, data=fields)
    assert answer.is_success, answer.text
    return answer.json()


def assert_shown(shown: Any, real: Any) -> None:
    """Everything that the README shows is there, of the same kind."""
    if isinstance(shown, dict):
        for key, value in shown.items():
            assert key in real, key
            assert_shown(value, real[key])
    elif isinstance(shown, list):
        for left, right in zip(shown, real, strict=True):
            assert_shown(left, right)
    else:
        assert (isinstance(shown, int | float) and isinstance(real, int | float)) or type(shown) is type(real)

"""Commands of other packages: found by name, imported only when they are called."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Timbre

NAMES = """
import sys
from app.cli import main
sys.argv = ["timbre", "--help"]
try:
    main()
except SystemExit:
    pass
print([name for name in ("training.evaluate", "sklearn", "keras", "other_main") if name in sys.modules])
"""


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A package that brings three commands: one works, one lacks a library, one is not there."""
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[timbre.commands]\nechoes = other_main:main\nlacking = other_lacking:main\ngone = other_gone:main\n"
    )
    (tmp_path / "other_main.py").write_text(
        '"""Print the arguments and end with their number."""\n'
        "def main(arguments):\n    print(arguments)\n    return len(arguments)\n"
    )
    (tmp_path / "other_lacking.py").write_text('"""Never runs."""\nimport a_library_that_nobody_has\n')
    return tmp_path


def call(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`timbre` in a process of its own, with the other package beside it."""
    return subprocess.run(
        [sys.executable, "-c", *words],
        env={"PYTHONPATH": f"{place}:{Path(__file__).parents[2]}", "COLUMNS": "160", "PATH": ""},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=100,
    )


RUN = "import sys; from app.cli import main; sys.argv[0] = 'timbre'; main()"


def test_a_command_gets_every_argument_as_it_is_and_its_result_is_the_exit_code(other: Path) -> None:
    done = call(other, RUN, "echoes", "--help", "-x", "a file")
    assert done.stdout == "['--help', '-x', 'a file']\n"
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("command", "missing"), [("lacking", "a_library_that_nobody_has"), ("gone", "other_gone")]
)
def test_a_missing_library_is_named_with_what_to_install(other: Path, command: str, missing: str) -> None:
    done = call(other, RUN, command)
    assert done.returncode == 2
    what = f"'{command}' needs {missing}, which is not installed"
    assert done.stderr == f"timbre: {what}: make setup, or pip install 'timbre[training]'\n"


def test_help_lists_the_commands_and_imports_none_of_them(other: Path) -> None:
    done = call(other, NAMES)
    assert "Print the arguments and end with their number." in done.stdout
    assert "From other_gone, which is not installed." in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_training_package_brings_evaluate(alone: Timbre) -> None:
    done = alone("evaluate", "--help")
    assert done.code == 0
    assert done.out.startswith("usage: timbre evaluate")
    assert "--gate" in done.out

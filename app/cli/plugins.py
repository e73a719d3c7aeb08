"""Commands that other packages bring by the entry-point group `timbre.commands`.

`evaluate` and `calibrate` belong to the training package, which the service never imports and whose libraries
most installations lack. So a command's module is imported when the command is called, and not before.
"""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import typer

from app.cli.client import fail

GROUP: Final = "timbre.commands"
"""Entry points `name = "module:function"`; the function takes the arguments and returns the exit code."""


def add_commands(cli: typer.Typer) -> None:
    """Add every command of the group to a command line; their options, --help among them, are their own."""
    for entry in sorted(entry_points(group=GROUP)):
        _add(cli, entry)


def _add(cli: typer.Typer, entry: EntryPoint) -> None:
    @cli.command(
        entry.name,
        help=_first_line(entry.module),
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def _(context: typer.Context) -> None:
        raise SystemExit(_run(entry, context.args))


def _run(entry: EntryPoint, arguments: list[str]) -> int:
    try:
        main = entry.load()
    except ModuleNotFoundError as problem:
        fail(
            f"'{entry.name}' needs {problem.name}, which is not installed: "
            "make setup, or pip install 'timbre[training]'"
        )
    return int(main(arguments))


def _first_line(module: str) -> str:
    """The first line of a module's docstring, read without importing the module."""
    try:
        found = find_spec(module)
        with Path(found.origin if found and found.origin else "").open(encoding="utf-8") as source:
            return source.readline().strip().lstrip("r").strip('"')
    except (ImportError, OSError):
        return f"From {module}, which is not installed."

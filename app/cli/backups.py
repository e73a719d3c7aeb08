"""`timbre backup`, `restore` and `rekey`: the database as one folder, and back; another master key."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import err, fail, out, read_settings
from app.errors import TimbreError

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup.")]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that is not there yet.")],
    with_master_key: Annotated[
        bool,
        typer.Option(help="Put the master key into it: then whoever has the folder has the voices."),
    ] = False,
) -> None:
    """Back the database up while the service runs. Files of jobs and the erasure ledger are not in it."""
    from app.service.backup import make_backup

    try:
        manifest = make_backup(read_settings(), folder, with_master_key=with_master_key)
    except TimbreError as problem:
        fail(str(problem), exit_code=1)
    out.print(
        f"{folder}: {manifest.rows['speakers']} speakers, {manifest.rows['enrollments']} takes, "
        f"as of {manifest.made_at}",
        markup=False,
        soft_wrap=True,
    )
    if not with_master_key:
        err.print(
            "timbre: the master key is not in it; without a copy of it the backup is noise", markup=False
        )


def rekey(
    to: Annotated[
        Path | None, typer.Option(help="File for the new key; by default that of the present one.")
    ] = None,
) -> None:
    """Change the master key: wrap by a new one what the present one has wrapped. Stop every server first."""
    from app.service.rekey import change_master_key

    try:
        done = change_master_key(read_settings(), to)
    except TimbreError as problem:
        fail(str(problem), exit_code=1)
    out.print(f"{done.keys} data keys are wrapped by {done.path}", markup=False, soft_wrap=True)
    if to is not None:
        err.print(f"timbre: give the servers {to} as their master key", markup=False)
    if done.former is not None:
        err.print(
            f"timbre: backups made until now open with {done.former} only; delete it when you need none",
            markup=False,
        )


def restore(
    folder: Folder,
    ledger: Annotated[
        list[Path] | None,
        typer.Option(help="Erasure ledger of another machine, or a copy of this one's. Repeat for several."),
    ] = None,
    without_ledger: Annotated[
        bool, typer.Option("--without-ledger", help="Whoever was erased since the backup comes back.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Throw away what the database holds.")] = False,
) -> None:
    """Put a backup into the database, then erase again who was erased since. Stop every server first."""
    from app.service.restore import restore_backup

    settings = read_settings()
    try:
        done = restore_backup(
            settings, folder, ledgers=ledger or (), without_ledger=without_ledger, replace=replace
        )
    except TimbreError as problem:
        fail(str(problem), exit_code=1)
    out.print(
        f"{done.rows['speakers']} speakers, {done.rows['enrollments']} takes, as of {done.manifest.made_at}; "
        f"erased again: {done.erased}, known to the backup: {done.known}",
        markup=False,
        soft_wrap=True,
    )
    err.print(
        "timbre: what was enrolled after that moment is not in it; start the servers anew", markup=False
    )

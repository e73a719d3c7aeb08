"""A PostgreSQL server of our own, for as long as a block lasts."""

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.cli.process import free_port

HASTY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
"""For tests: nothing has to outlive the machine."""


class NoPostgres(Exception):
    """The programs of the server are not installed."""


@contextmanager
def cluster(
    settings: Sequence[str] = HASTY, *, listen: str = "127.0.0.1", trusted: str | None = None
) -> Iterator[str]:
    """Makes a server, starts it, and removes it in the end.

    Args:
        settings: Lines of postgresql.conf.
        listen: The address that it listens on, besides no socket.
        trusted: A network whose machines are let in without a password, as 10.0.0.0/24.

    Yields:
        SQLAlchemy address of the database `postgres`, whose user may do everything.

    Raises:
        NoPostgres: There is nothing to start.
    """
    user = _server_user()
    # pytest's own folders are closed to other accounts.
    folder = Path(tempfile.mkdtemp(prefix="timbre-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data, port = folder / "data", free_port(listen)
    owner = "postgres" if user else getpass.getuser()
    chosen = (f"listen_addresses={listen}", "unix_socket_directories=''", *settings)
    options = " ".join([f"-p {port}", *(f"-c {setting}" for setting in chosen)])
    try:
        initdb = [str(_binary("initdb")), "-D", str(data), "-U", owner, "-A", "trust", "-E", "UTF8"]
        _run([*initdb, "--locale=C", "--no-sync"], folder, user)
        if trusted is not None:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {trusted} trust\n")
        control = [str(_binary("pg_ctl")), "-D", str(data), "-w"]
        _run([*control, "-l", str(folder / "server.log"), "-o", options, "start"], folder, user)
        try:
            yield f"postgresql+psycopg://{owner}@{listen}:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"], folder, user)
    finally:
        shutil.rmtree(folder)


def _binary(name: str) -> Path:
    """A program of the PostgreSQL server: on PATH or where Debian keeps it."""
    found = shutil.which(name)
    if found:
        # Debian's own wrappers on PATH know initdb under its full path only.
        return Path(found)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[-3]))
    if not versions:
        raise NoPostgres(
            f"no {name} here: install the PostgreSQL server (apt install postgresql) "
            "or name a running one in TIMBRE_TEST_POSTGRES_URL"
        )
    return versions[-1]


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root; the account to run it under instead, None for our own."""
    if os.geteuid() != 0:
        return None
    accounts = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in accounts else "nobody"


def _run(command: list[str], folder: Path, user: str | None) -> None:
    with (folder / "setup.log").open("a") as log:
        subprocess.run(
            command, check=True, cwd=folder, user=user, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )

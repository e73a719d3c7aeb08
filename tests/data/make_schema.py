"""Write a database of this program's newest schema, with something in every table, for the tests of upgrades.

Run it by hand before a migration is added (`python -m tests.data.make_schema sqlite:///new.db`, and again
with the address of an empty PostgreSQL database and pg_dump on PATH): a real service is used for a moment,
and what its database then holds is committed as SQL, so that later programs are tried on what this one left.
"""

import gzip
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import make_url, text

from app.service.access import make_key
from app.store import Repository, make_engine, upgrade
from tests.bulk import ended, json_lines, start
from tests.served import MASTER_KEY, audio, clip, serving, settings_for
from tests.store.makers import VAULT
from tests.tiny import write_tiny_model

FOLDER: Final = Path(__file__).parent / "schemas"
SPOKEN: Final = Path(__file__).parent


def main(url: str) -> None:
    """Fill the database and write what it holds."""
    upgrade(url)
    with tempfile.TemporaryDirectory() as folder:
        fill(url, Path(folder) / "models")
    engine = make_engine(url)
    with engine.connect() as connection:
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    address = make_url(url)
    dump = _sqlite_dump(address.database) if address.get_backend_name() == "sqlite" else _postgres_dump(url)
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{revision}.{address.get_backend_name()}.sql.gz"
    file.write_bytes(gzip.compress(dump.encode(), mtime=0))
    print(f"{file.name}: {file.stat().st_size} bytes")


def fill(url: str, models: Path) -> None:
    """Put something into every table of a database that stands at the newest schema."""
    for seed, name in enumerate(("tiny", "other")):
        write_tiny_model(models / name, name, seed)
    settings = settings_for(models, url, lockout_after=2)
    assert settings.given_master_key == MASTER_KEY
    with serving(settings) as client:
        _use(client)
    engine = make_engine(url)
    try:
        repository = Repository(engine, VAULT)
        (calibrated,) = {model for _, model in repository.partitions() if model.startswith("tiny")}
        repository.propose_calibration("default", calibrated, {"format": 2}, {"trials": 0})
        make_key(repository, "default", scopes=["read"], label="the clerk's")
    finally:
        engine.dispose()


def _use(client: httpx.Client) -> None:
    """What people do with a service: each call leaves something in a table."""

    def done(answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    done(client.patch("/v1/policy", json={"min_margin": 0.02, "keep_audio": True, "audit_decisions": True}))
    spoken = (SPOKEN / "ada-1.opus").read_bytes()
    about = {"display_name": "Åda", "metadata": '{"group": "poets"}', "consent": "letter 7"}
    done(client.post("/enroll", files=audio(spoken), data={"speaker_id": "ada", **about}))
    done(client.patch("/v1/policy", json={"keep_audio": False}))
    keyed = {"Idempotency-Key": "the-key-of-ben"}
    ben = audio(clip(2, 0), clip(2, 1))
    done(client.post("/enroll", files=ben, data={"speaker_id": "ben"}, headers=keyed))
    for name, voice in (("cleo", 3), ("dan", 4)):
        done(client.post("/enroll", files=audio(clip(voice), clip(voice, 1)), data={"speaker_id": name}))
    done(client.delete("/v1/speakers/cleo"))
    done(client.post("/v1/speakers/dan:opt-out"))
    done(client.post("/v1/models/other:shadow"))
    done(client.post("/v1/challenges", json={"speaker_id": "ben"}))
    accepted = done(client.post("/verify", files=audio(clip(2, 3)), data={"speaker_id": "ben"}))
    assert accepted["decision"] == "accept"
    found = done(client.post("/identify", files=audio(clip(2, 2))))
    said = {"speaker_id": "ben"}
    done(client.post(f"/v1/decisions/{found['decision_id']}/feedback", json=said))
    for _ in range(2):
        assert done(client.post("/verify", files=audio(clip(9)), data=said))["decision"] == "reject"
    row = {"speaker_id": "eve", "audio": clip(5), "row_id": "first"}
    assert ended(client, start(client, json_lines(row)))["status"] == "succeeded"


def _sqlite_dump(path: str | None) -> str:
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def _postgres_dump(url: str) -> str:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "--no-comments", plain]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # What begins with a backslash is for psql alone.
    return "".join(line for line in dump.splitlines(keepends=True) if not line.startswith(("\\", "--")))


if __name__ == "__main__":
    main(sys.argv[1])

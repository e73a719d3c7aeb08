"""`timbre rekey`: another master key, and everything opens as before; on both databases."""

import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, inspect, text

from app.errors import DatabaseInUse, MasterKeyInvalid
from app.service.backup import make_backup
from app.service.rekey import change_master_key
from app.service.restore import restore_backup
from app.settings import Settings
from app.store import Vault
from app.store.database import check_schema, check_unused, make_engine
from app.store.ledger import Ledger
from tests.api.test_operation import serving_lifespan
from tests.bulk import ended, json_lines
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for

WITH_AUDIO = {"include_audio": "true"}
ONCE = {"idempotency-key": "once"}


@pytest.fixture
def settings(models_dir: Path, database_url: str, tmp_path: Path) -> Settings:
    return settings_for(
        models_dir,
        database_url,
        master_key=None,
        master_key_file=tmp_path / "keys" / "master.key",
        erasure_ledger=tmp_path / "timbre.erasures",
        jobs_dir=tmp_path / "jobs",
    )


def vault(path: Path) -> Vault:
    assert path.is_file()
    return Vault.load(path)


def wrapped(settings: Settings) -> list[bytes]:
    """Every value of every table that is long enough to begin with a wrapped data key."""
    engine = create_engine(settings.database_url)
    found: list[bytes] = []
    with engine.connect() as connection:
        for table in inspect(connection).get_table_names():
            for row in connection.execute(text(f"SELECT * FROM {table}")).mappings():
                for value in row.values():
                    if isinstance(value, bytes | memoryview):
                        found.append(bytes(value)[:60])
                    elif isinstance(value, dict) or (isinstance(value, str) and value.startswith("{")):
                        key = str(value).partition("key")[2].strip("\"': ")[:120]
                        found.append(bytes.fromhex(key) if len(key) == 120 else b"")
    engine.dispose()
    return [value for value in found if len(value) == 60]


def opens(value: bytes, with_: Vault) -> bool:
    try:
        with_.opener(value)
    except MasterKeyInvalid:
        return False
    return True


def filled(settings: Settings) -> dict[str, Any]:
    """A voice with its recordings, an answer that is kept, somebody erased, an objection; what was said."""
    with serving(settings) as client:
        client.patch("/v1/policy", json={"keep_audio": True}).raise_for_status()
        enroll(client, "ada", voice=1)
        enroll(client, "eve", voice=2)
        first = client.post(
            "/enroll", files=audio(clip(3)), data={"speaker_id": "bob"}, headers=ONCE
        ).raise_for_status()
        assert client.delete("/v1/speakers/eve").status_code == 204
        assert client.post("/v1/speakers/fay:opt-out").is_success
        return {"first": first.json(), "ada": client.get("/v1/speakers/ada/export", params=WITH_AUDIO).json()}


def assert_all_is_as_before(client: httpx.Client, before: dict[str, Any]) -> None:
    heard = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert heard.json()["decision"] == "accept"
    again = client.post("/enroll", files=audio(clip(3)), data={"speaker_id": "bob"}, headers=ONCE)
    assert (again.json(), again.headers["idempotency-replayed"]) == (before["first"], "true")
    shown = client.get("/v1/speakers/ada/export", params=WITH_AUDIO).json()
    assert shown["recordings"] == before["ada"]["recordings"] != {}
    assert shown["audit"][: len(before["ada"]["audit"])] == before["ada"]["audit"]
    objected = client.post("/enroll", files=audio(clip(4)), data={"speaker_id": "fay"})
    assert_problem(objected, 403, "speaker_opted_out")
    assert client.get("/v1/audit/chain").json()["intact"] is True
    ready = client.get("/readyz").json()["checks"]
    assert ready["erasure_ledger"]["writable"] is True
    assert client.delete("/v1/speakers/bob").status_code == 204


def test_everything_opens_with_the_new_key_and_nothing_with_the_old(settings: Settings) -> None:
    before = filled(settings)
    present = vault(settings.master_key_path)
    assert sum(opens(value, present) for value in wrapped(settings)) == 3, "two speakers and an answer"
    done = change_master_key(settings)
    assert (done.keys, done.path) == (3, settings.master_key_path)
    assert done.former is not None
    for path in (done.path, done.former):
        assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(done.path.parent.iterdir()) == sorted([done.path, done.former])
    new, former = vault(done.path), vault(done.former)
    assert not any(opens(value, former) for value in wrapped(settings))
    assert sum(opens(value, new) for value in wrapped(settings)) == 3
    with serving(settings) as client:
        assert_all_is_as_before(client, before)
        said = [each["action"] for each in client.get("/v1/audit").json()["entries"]]
        assert said.count("master_key.changed") == 1
    assert Ledger(settings.erasure_ledger_path, former).read().entries, "its lines hold under both"
    old = settings.model_copy(update={"master_key_file": done.former})
    with pytest.raises(MasterKeyInvalid, match="sealed with another one"), serving_lifespan(old):
        pass


def test_no_byte_of_a_key_wrapped_by_the_old_one_stays_in_the_file(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_for(models_dir, sqlite_url, master_key=None, master_key_file=tmp_path / "k")
    filled(settings)
    present = vault(settings.master_key_path)
    old = [value for value in wrapped(settings) if opens(value, present)]
    change_master_key(settings)
    path = Path(make_engine(sqlite_url).url.database or "")
    stored = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert len(old) == 3
    assert not any(value in stored for value in old)


def test_an_import_that_waits_goes_on(settings: Settings) -> None:
    with serving(settings.model_copy(update={"job_workers": 0})) as client:
        body = json_lines(
            *({"speaker_id": name, "audio": clip(voice)} for voice, name in ((1, "ada"), (2, "bob")))
        )
        job_id = client.post("/v1/imports", content=body).raise_for_status().json()["job_id"]
    present = vault(settings.master_key_path)
    assert sum(opens(value, present) for value in wrapped(settings)) == 1
    assert change_master_key(settings).keys == 1
    with serving(settings) as client:
        assert ended(client, job_id)["counts"] == {"accepted": 2}


def test_a_change_that_was_interrupted_is_made_again(settings: Settings) -> None:
    """The database has changed, and the files have not: as after a crash between the two."""
    before = filled(settings)
    done = change_master_key(settings)
    assert done.former is not None
    done.path.rename(done.path.with_name("master.key.new"))
    done.former.rename(done.path)
    with pytest.raises(MasterKeyInvalid, match="timbre rekey"), serving_lifespan(settings):
        pass
    again = change_master_key(settings)
    assert again.keys == 0, "all were wrapped"
    with serving(settings) as client:
        assert_all_is_as_before(client, before)


def test_nothing_changes_while_a_server_runs(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        enroll(client, "ada", voice=1)
        made = make_backup(settings, tmp_path / "monday")
        stored = wrapped(settings)
        with pytest.raises(DatabaseInUse, match="stop every one first") as refused:
            change_master_key(settings)
        assert "password" not in str(refused.value)
        with pytest.raises(DatabaseInUse):
            restore_backup(settings, tmp_path / "monday", without_ledger=True, replace=True)
        assert wrapped(settings) == stored
        assert [each.name for each in settings.master_key_path.parent.iterdir()] == ["master.key"]
        heard = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
        assert heard.json()["decision"] == "accept"
    assert made.rows["speakers"] == 1
    engine = make_engine(settings.database_url)
    check_unused(engine)
    check_schema(engine)  # and it serves on
    engine.dispose()


def test_a_backup_from_before_comes_back_with_the_key_of_its_day(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        enroll(client, "ada", voice=1)
        enroll(client, "eve", voice=2)
        make_backup(settings, tmp_path / "monday")
        assert client.delete("/v1/speakers/eve").status_code == 204
    former = change_master_key(settings).former
    assert former is not None
    with pytest.raises(MasterKeyInvalid):
        restore_backup(settings, tmp_path / "monday", replace=True)
    then = settings.model_copy(update={"master_key_file": former})
    assert restore_backup(then, tmp_path / "monday", replace=True).erased == 1
    assert change_master_key(then, settings.master_key_path).keys == 1
    with serving(settings) as client:
        heard = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
        assert heard.json()["decision"] == "accept"
        assert_problem(client.get("/v1/speakers/eve"), 404, "speaker_not_found")


def test_a_key_from_the_environment_needs_a_place_for_the_next(
    models_dir: Path, sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_for(models_dir, sqlite_url)
    with serving(settings) as client:
        enroll(client, "ada", voice=1)
    with pytest.raises(MasterKeyInvalid, match="--to"):
        change_master_key(settings)
    done = change_master_key(settings, tmp_path / "next.key")
    assert (done.keys, done.former) == (1, None)
    text_ = done.path.read_text().strip()
    assert len(base64.b64decode(text_.partition(".")[0])) == 32
    with serving(settings_for(models_dir, sqlite_url, master_key=text_)) as client:
        heard = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
        assert heard.json()["decision"] == "accept"


def test_a_foreign_key_is_not_taken(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as client:
        enroll(client, "ada", voice=1)
    stored = wrapped(settings)
    foreign = tmp_path / "foreign.key"
    Vault.load(foreign)
    with pytest.raises(MasterKeyInvalid, match="not made to follow"):
        change_master_key(settings, foreign)
    other = settings.model_copy(update={"master_key_file": foreign})
    with pytest.raises(MasterKeyInvalid, match="sealed with another one"):
        change_master_key(other)
    assert wrapped(settings) == stored


def test_the_command_says_where_both_keys_are(models_dir: Path, sqlite_url: str, tmp_path: Path) -> None:
    key = tmp_path / "master.key"
    settings = settings_for(models_dir, sqlite_url, master_key=None, master_key_file=key)
    with serving(settings) as client:
        enroll(client, "ada", voice=1)
    environment = {**os.environ, "TIMBRE_DATABASE_URL": sqlite_url, "TIMBRE_MASTER_KEY_FILE": str(key)}

    def rekey(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "app.cli", "rekey", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = rekey()
    assert (done.returncode, done.stdout) == (0, f"1 data keys are wrapped by {key}\n")
    (former,) = tmp_path.glob("master.key.former-*")
    assert former.name in done.stderr.replace("\n", "")
    environment["TIMBRE_MASTER_KEY_FILE"] = str(former)
    refused = rekey("--to", str(tmp_path / "next.key"))
    assert (refused.returncode, "sealed with another one" in refused.stderr) == (1, True)
    assert "Traceback" not in refused.stderr

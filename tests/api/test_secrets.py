"""Keys are compared in constant time; no log, error or probe shows a voice, a name or a secret."""

import base64
import contextlib
import hmac
import io
import json
import os
import secrets
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from sqlalchemy import make_url, text

from app.embedder import Embedder
from app.errors import Unauthorized
from app.main import create_app
from app.service import access
from app.settings import Settings
from app.store import Repository, Vault, make_engine
from tests.served import clip, process, serving_app, settings_for
from training.signals import speech_like

MARK: Final = "Zq7Marke"
"""Is in every name, id and metadata that the test sends; nothing else has it."""
KEY: Final = base64.b64encode(secrets.token_bytes(32)).decode()
PASSWORD: Final = f"{MARK}Pw"


def test_a_key_is_compared_by_digest_and_in_constant_time_whatever_is_wrong_with_it(
    models_dir: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(settings_for(models_dir, sqlite_url))
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest

    def watched(left: str, right: str) -> bool:
        compared.append((left, right))
        return real(left, right)

    with serving_app(app):
        parts = app.state.parts
        good = access.make_key(parts.repository, "default", ["read"]).token
        other = access.make_key(parts.repository, "default", ["read"]).token
        ended = access.make_key(parts.repository, "default", ["read"], days=-1).token
        monkeypatch.setattr(hmac, "compare_digest", watched)
        assert access.open_call(parts, good, None).caller.may("read")
        wrong = {
            "another's secret": good[:17] + other[17:],
            "an unknown id": "tmb_" + "0" * 12 + good[16:],
            "no key at all": "Bearer nonsense",
            "empty": "",
            "expired": ended,
        }
        for token in wrong.values():
            with pytest.raises(Unauthorized):
                access.open_call(parts, token, None)
    assert len(compared) == 1 + len(wrong), "one comparison each"
    assert {len(side) for pair in compared for side in pair} == {64}, "of digests, never of secrets"
    engine = make_engine(sqlite_url)
    with engine.connect() as connection:
        rows = repr(connection.execute(text("SELECT * FROM api_keys")).all())
    engine.dispose()
    assert not any(token[17:] in rows for token in (good, other, ended))


# ---------------------------------------------------------------- the sweep


@contextlib.contextmanager
def running(models_dir: Path, url: str, folder: Path) -> Iterator[tuple[httpx.Client, int, Path]]:
    """`timbre serve` as it is run, with everything logged; its output is in the file when the block ends."""
    chosen: dict[str, Any] = {
        "model": "tiny", "digit_model": None, "models_dir": models_dir, "database_url": url,
        "master_key": KEY, "jobs_dir": folder / "jobs", "log_level": "debug",
        "erasure_ledger": folder / "timbre.erasures", "keep_audio": True, "audit_decisions": True,
        "provider": "cpu", "min_speech_s": 0.6, "lockout_after": 2, "max_recording_bytes": 1_000_000,
    }  # fmt: skip
    log, settings = folder / "log", Settings(_env_file=None, **chosen)
    with process(settings, log=log, flags=("-X", "dev", "-W", "ignore")) as (client, server):
        yield client, server.pid, log


def decoders_of(parent: int) -> list[int]:
    """Processes below the server that decode."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    below = [pid for child in children for pid in decoders_of(child)]
    return below + [pid for pid in children if "timbre-decoder" in Path(f"/proc/{pid}/comm").read_text()]


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr(f"{MARK}-folder/{MARK}-a.wav", clip(21))
        out.writestr(f"{MARK}-folder/{MARK}-broken.wav", b"RIFF broken" + os.urandom(64))
    return packed.getvalue()


def use_everything(client: httpx.Client, engine: Any, pid: int) -> list[httpx.Response]:
    """Every kind of operation, good and failing; the answers that refuse something."""
    ada, bob = f"{MARK}-ada", f"{MARK}-bob"
    named = {"display_name": f"{MARK} Display", "metadata": json.dumps({"group": f"{MARK}-meta"})}
    named["consent"] = f"{MARK}-consent"

    def upload(data: bytes) -> list[tuple[str, tuple[str, bytes]]]:
        return [("audio", (f"{MARK}-file.wav", data))]

    def enroll(speaker_id: str, voice: int, take: int = 0) -> httpx.Response:
        return client.post(
            "/enroll", files=upload(clip(voice, take)), data={"speaker_id": speaker_id, **named}
        )

    found = [enroll(ada, 11), enroll(ada, 11, 1), enroll(bob, 12), enroll(bob, 12, 1)]
    assert [each.status_code for each in found] == [201] * 4, found[-1].text
    probe, claim = upload(clip(11, 7)), {"speaker_id": ada}
    found += [client.post("/verify", files=probe, data=claim), client.post("/identify", files=probe)]
    found += [client.post("/verify", files=upload(clip(12, 7)), data=claim) for _ in range(4)]
    for bad in (b"", b"RIFF" + clip(11)[50:5000], clip(11)[:4000], os.urandom(5000), clip(11) * 20):
        found.append(client.post("/enroll", files=upload(bad), data={"speaker_id": f"{MARK}-new", **named}))
        found.append(client.post("/identify", content=bad, headers={"Content-Type": f"audio/{MARK}"}))
    found += [
        client.post("/enroll", files=probe, data={"speaker_id": f"{MARK} no id"}),
        client.post("/enroll", files=probe, data={"speaker_id": ada, "metadata": f"{MARK} no json"}),
        client.post("/enroll", files=probe, data={"speaker_id": ada, "on_existing": MARK}),
        client.get(f"/v1/speakers/{MARK}-nobody"),
        client.get(f"/v1/{MARK}/nothing", params={"q": MARK}),
        client.patch(f"/v1/speakers/{ada}", json={"display_name": MARK, MARK: 1}),
        client.get("/v1/speakers", headers={"Authorization": f"Bearer {MARK}"}),
        client.post("/v1/segments", files=upload(clip(11, 0, 6.0))),
        client.post("/v1/imports", content=archive(), headers={"Content-Type": "application/zip"}),
        client.post("/v1/exports", json={}),
        client.request(MARK.upper(), "/verify"),
    ]
    for decoder in decoders_of(pid):
        os.kill(decoder, signal.SIGKILL)
    found.append(client.post("/identify", files=probe))
    with engine.begin() as connection:  # a row that no program wrote, and one that the database refuses
        connection.execute(
            text("UPDATE speakers SET metadata = :odd WHERE speaker_id = :bob"),
            {"odd": json.dumps([f"{MARK}-odd"]), "bob": bob},
        )
        refuse(connection, f"{MARK}-refused")
    found += [client.get(f"/v1/speakers/{bob}"), client.get("/v1/speakers"), enroll(f"{MARK}-refused", 13)]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE recordings RENAME TO recordings_away"))
    found += [enroll(f"{MARK}-failing", 14), client.delete(f"/v1/speakers/{ada}")]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE recordings_away RENAME TO recordings"))
    found += [client.delete(f"/v1/speakers/{ada}"), client.get("/metrics"), client.get("/openapi.json")]
    return found


def refuse(connection: Any, name: str) -> None:
    """Let the database itself refuse a speaker, in words that quote the row where it does so."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(f"ALTER TABLE speakers ADD CONSTRAINT odd CHECK (speaker_id <> '{name}') NOT VALID")
        )
    else:
        when = f"WHEN NEW.speaker_id = '{name}' BEGIN SELECT RAISE(ABORT, 'odd'); END"
        connection.execute(text(f"CREATE TRIGGER odd BEFORE INSERT ON speakers {when}"))


def runs(data: bytes, length: int = 16) -> set[bytes]:
    """Every run of so many bytes that is not nearly constant."""
    found = {data[place : place + length] for place in range(len(data) - length + 1)}
    return {run for run in found if len(set(run)) > 5}


def forms(data: bytes) -> Iterator[bytes]:
    """The ways in which bytes end up in a text."""
    yield data
    yield data.hex().encode()
    yield repr(data).encode()
    for shift in range(3):
        yield base64.b64encode(data[shift:])


@pytest.fixture
def secret_url(database_url: str) -> str:
    """The database with a password in its address, where it has one."""
    address = make_url(database_url)
    if address.get_backend_name() == "postgresql":
        address = address.set(password=PASSWORD)
    return address.render_as_string(hide_password=False)


def test_no_log_and_no_error_shows_a_voice_a_name_or_a_secret(
    models_dir: Path, secret_url: str, tmp_path: Path
) -> None:
    engine = make_engine(secret_url)
    token = access.make_key(Repository(engine, Vault(base64.b64decode(KEY))), "default", ["admin"]).token
    with running(models_dir, secret_url, tmp_path) as (client, pid, log):
        client.headers["Authorization"] = f"Bearer {token}"
        answers = use_everything(client, engine, pid)
    engine.dispose()
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(500) >= 3, statuses  # or nothing of what follows was tried
    assert 202 in statuses, "a job was at work"
    shown = log.read_bytes()
    assert shown.count(b'"event": "failure"') >= 3, "internal errors are logged, by name and place"
    probes = b"".join(answer.content for answer in answers[-2:])
    internal = b"".join(answer.content for answer in answers if answer.status_code >= 500)
    files = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"
    )
    everywhere = {"log": shown, "probes": probes, "internal errors": internal, "files": files}
    refused = b"".join(answer.content for answer in answers if answer.status_code >= 400)
    for secret in (token, token[17:], KEY, base64.b64decode(KEY).hex(), PASSWORD):
        for place, content in {**everywhere, "refusals": refused}.items():
            assert secret.encode() not in content, place
    for place, content in everywhere.items():
        at = content.find(MARK.encode())
        assert at < 0, f"{place}: …{content[max(0, at - 300) : at + 100]!r}"
    with contextlib.closing(Embedder.load(models_dir / "tiny", provider="cpu")) as embedder:
        voice = embedder.embed(speech_like(3.0, speaker=11, take=0))
    seen = runs(shown + probes + refused + files)
    for name, data in {"audio": clip(11)[44:20_000], "embedding": voice.tobytes()}.items():
        for form in forms(data):
            assert not runs(form) & seen, name
    numbers = {f"{abs(value):.6f}"[:7].encode() for value in np.asarray(voice)}
    assert sum(number in shown + refused for number in numbers) <= 1, "an embedding in decimals"

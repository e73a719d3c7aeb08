"""`timbre keys`, and what a service does with keys, without them, and on which address."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from app.cli.process import free_port
from tests.cli.conftest import Timbre
from tests.cli.test_serve import command, surroundings
from tests.served import audio, clip

TOKEN = re.compile(r"^tmb_[0-9a-z]{12}_[A-Za-z0-9_-]{43}$")


def test_a_key_is_made_listed_rotated_and_revoked(alone: Timbre) -> None:
    made = alone("keys", "create", "--scope", "verify", "--label", "door", "--days", "30")
    assert made.code == 0
    token = made.out.strip()
    assert TOKEN.match(token), "standard output is the key alone, for scripts"
    assert "not shown again" in made.err
    key_id = token.split("_")[1]
    rotated = json.loads(alone("keys", "rotate", key_id, "--overlap-hours", "0", "--json").out)
    assert TOKEN.match(rotated["token"])
    assert (rotated["label"], rotated["scopes"]) == ("door", ["verify"])
    alone("keys", "revoke", rotated["key_id"])
    listed = json.loads(alone("keys", "list", "--json").out)["keys"]
    assert [each["key_id"] for each in listed] == [key_id, rotated["key_id"]]
    assert all(each["expires_at"] is not None for each in listed)
    shown = alone("keys", "list").out
    assert key_id in shown
    assert token.split("_", 2)[2] not in shown
    wrong = alone("keys", "revoke", "000000000000")
    assert (wrong.code, "there is no such key" in wrong.err) == (2, True)
    assert alone("keys", "create", "--scope", "root").code == 2


def test_the_command_line_needs_no_key_on_its_own_database(alone: Timbre) -> None:
    alone("keys", "create")
    assert alone("speakers", "list").code == 0


def started(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 110
    while True:
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
            return
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("keys", "opened", "host", "told"),
    [
        (False, "false", "127.0.0.1", "not on 0.0.0.0; make one with: timbre keys create"),
        (False, "true", "0.0.0.0", "EVERYBODY may ask"),
        (True, "false", "0.0.0.0", ""),
    ],
)
def test_without_keys_it_listens_on_the_loopback_only_and_says_so(
    alone: Timbre, environment: Path, keys: bool, opened: str, host: str, told: str
) -> None:
    token = alone("keys", "create").out.strip() if keys else "none"
    port = free_port()
    process = subprocess.Popen(
        command("serve", "--host", "0.0.0.0", "--port", str(port)),
        env=surroundings(TIMBRE_OPEN=opened),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started(process, port)
        address = f"http://127.0.0.1:{port}"
        bare = httpx.get(f"{address}/v1/speakers").status_code
        assert bare == (401 if keys else 200)
        headers = {"Authorization": f"Bearer {token}"}
        if keys:
            assert httpx.get(f"{address}/v1/speakers", headers=headers).status_code == 200
            (environment / "a.wav").write_bytes(clip(1))
            done = subprocess.run(
                command("enroll", "ada", "a.wav", "--server", address),
                env=surroundings(TIMBRE_API_KEY=token),
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert done.returncode == 0, done.stderr
            refused = httpx.post(f"{address}/verify", files=audio(clip(1)), data={"speaker_id": "ada"})
            assert refused.status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert told in err
    assert f"http://{host}:{port}" in err

"""What the tests of jobs share."""

import io
import json
import tarfile
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import httpx

from tests.served import clip


def json_lines(*rows: dict[str, Any]) -> bytes:
    """Rows of an import; `audio` may be bytes."""
    plain = [
        {
            name: b64encode(value).decode() if isinstance(value, bytes) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in plain)


def tar_of(members: dict[str, bytes]) -> bytes:
    """A tar of these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def start(client: httpx.Client, body: bytes, **headers: str) -> str:
    """Queue an import; the id of its job."""
    answer = client.post("/v1/imports", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['job_id']}"
    assert job["kind"] == "import"
    return str(job["job_id"])


def ended(
    client: httpx.Client, job_id: str, longest_s: float = 60.0, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The job once it has ended; `headers` say who asks, where the client does not."""
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline:
        job = dict(client.get(f"/v1/jobs/{job_id}", headers=headers).json())
        if job["status"] in {"succeeded", "failed", "cancelled"}:
            return job
        time.sleep(0.02)
    raise AssertionError(f"the job does not end: {job}")


def rows(client: httpx.Client, job_id: str, **params: Any) -> list[dict[str, Any]]:
    """Every row of a job, from all pages."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.get(f"/v1/jobs/{job_id}/rows", params=params).json()
        found += page["rows"]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


def two_voices() -> list[dict[str, Any]]:
    """Four good rows of two speakers."""
    return [
        {"speaker_id": name, "display_name": name.title(), "audio": clip(voice, take)}
        for voice, name in enumerate(("ada", "bob"), 1)
        for take in range(2)
    ]

"""Who may do what: keys, scopes, tenants, limits, and a service without keys."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.errors import ValidationFailed
from app.main import create_app
from app.service import access
from app.service.call import SCOPES
from app.service.parts import Parts
from tests.bulk import ended
from tests.served import assert_problem, audio, clip, enroll, serving, serving_app, settings_for

ADA, BOB = "tenant-a-ada", "tenant-a-bob"


def parts_of(app: FastAPI) -> Parts:
    parts: Parts = app.state.parts
    return parts


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def served(models_dir: Path, database_url: str, tmp_path: Path) -> Iterator[tuple[FastAPI, httpx.Client]]:
    app = create_app(settings_for(models_dir, database_url, jobs_dir=tmp_path / "jobs"))
    with serving_app(app) as client:
        yield app, client


def key(app: FastAPI, tenant: str = "default", *scopes: str, **wish: Any) -> str:
    return access.make_key(parts_of(app).repository, tenant, scopes or list(SCOPES), **wish).token


# ---------------------------------------------------------------- keys


def test_without_keys_the_machine_itself_is_let_in_and_afterwards_nobody(
    served: tuple[FastAPI, httpx.Client],
) -> None:
    app, client = served
    assert client.get("/v1/speakers").status_code == 200
    token = key(app)
    refused = client.get("/v1/speakers")
    assert_problem(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/v1/speakers", headers=bearer(token)).status_code == 200
    assert client.get("/v1/speakers", headers={"X-Api-Key": token}).status_code == 200
    assert client.get("/v1/speakers", headers={"Ocp-Apim-Subscription-Key": token}).status_code == 200
    for probe in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert client.get(probe).status_code == 200


@pytest.mark.parametrize(
    "wrong", ["nonsense", "tmb_000000000000_" + "a" * 43, "tmb_é", "x" * 10_000, "' OR 1=1 --"]
)
def test_a_wrong_key_is_refused(served: tuple[FastAPI, httpx.Client], wrong: str) -> None:
    app, client = served
    token = key(app)
    headers = {b"Authorization": f"Bearer {wrong}".encode()}
    assert_problem(client.get("/v1/speakers", headers=headers), 401, "unauthorized")
    altered = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert_problem(client.get("/v1/speakers", headers=bearer(altered)), 401, "unauthorized")


def test_what_is_stored_of_a_key_does_not_let_anybody_in(served: tuple[FastAPI, httpx.Client]) -> None:
    app, client = served
    token = key(app)
    (stored,) = parts_of(app).repository.list_keys()
    assert token.rsplit("_", 1)[-1] not in repr(stored)
    taken = f"tmb_{stored.key_id}_{stored.secret_sha256[:43]}"
    assert_problem(client.get("/v1/speakers", headers=bearer(taken)), 401, "unauthorized")


def test_keys_expire_are_rotated_and_revoked(served: tuple[FastAPI, httpx.Client]) -> None:
    app, client = served
    repository = parts_of(app).repository

    def status(token: str) -> int:
        return client.get("/v1/speakers", headers=bearer(token)).status_code

    assert status(key(app, days=-1)) == 401
    old = key(app, "default", "read", rate_limit="1000/minute", label="door")
    key_id = old.split("_")[1]
    new = access.rotate_key(repository, key_id, overlap_h=1)
    assert (status(old), status(new.token)) == (200, 200)
    assert (new.key.scopes, new.key.label, new.key.rate_limit) == (("read",), "door", "1000/minute")
    assert repository.find_key(key_id)[0].replaced_by == new.key.key_id  # type: ignore[index]
    access.rotate_key(repository, key_id, overlap_h=0)
    assert status(old) == 401
    access.revoke_key(repository, new.key.key_id)
    assert status(new.token) == 401
    with pytest.raises(ValidationFailed, match="no such key"):
        access.revoke_key(repository, "000000000000")
    used = {each.key_id: each.used_at for each in repository.list_keys()}
    assert used[key_id] is not None


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_lets_in_where_it_should_and_nowhere_else(
    served: tuple[FastAPI, httpx.Client], scope: str
) -> None:
    app, client = served
    enroll(client, "ada", voice=1)
    client.headers = httpx.Headers(bearer(key(app, "default", scope)))
    probe = audio(clip(1, 5))
    calls = {
        "enroll": lambda: client.post("/enroll", files=probe, data={"speaker_id": "ada", "dry_run": "true"}),
        "identify": lambda: client.post("/identify", files=probe),
        "verify": lambda: client.post("/verify", files=probe, data={"speaker_id": "ada"}),
        "read": lambda: client.get("/v1/speakers"),
        "admin": lambda: client.get("/v1/audit"),
    }
    for needed, ask in calls.items():
        answer = ask()
        if scope in (needed, "admin"):
            assert answer.is_success, answer.text
        else:
            document = assert_problem(answer, 403, "insufficient_scope")
            assert document["reasons"][0]["held"] == scope
    assert client.post("/v1/audio/quality", files=probe).status_code == 200


def test_a_key_may_be_limited(served: tuple[FastAPI, httpx.Client]) -> None:
    app, client = served
    slow, free = key(app, rate_limit="3/hour"), key(app)
    codes = [client.get("/v1/speakers", headers=bearer(slow)).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    refused = client.get("/v1/speakers", headers=bearer(slow))
    document = assert_problem(refused, 429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert document["reasons"][0]["limit"] == "3 per 1 hour"
    assert client.get("/v1/speakers", headers=bearer(free)).status_code == 200
    policy = client.patch("/v1/policy", headers=bearer(free), json={"rate_limit": "4/hour"})
    assert policy.status_code == 200
    codes = [client.get("/v1/speakers", headers=bearer(free)).status_code for _ in range(5)]
    assert 429 in codes


@pytest.mark.parametrize(
    "wish", [{"scopes": ["root"]}, {"scopes": []}, {"tenant_id": "a b"}, {"rate_limit": "often"}]
)
def test_a_key_that_makes_no_sense_is_not_made(
    served: tuple[FastAPI, httpx.Client], wish: dict[str, Any]
) -> None:
    arguments = {"tenant_id": "default", "scopes": ["read"], **wish}
    with pytest.raises(ValidationFailed):
        access.make_key(parts_of(served[0]).repository, **arguments)
    assert parts_of(served[0]).repository.list_keys() == []


def test_without_keys_other_machines_are_turned_away(models_dir: Path, sqlite_url: str) -> None:
    """The other end says that it is behind a proxy on this machine, as a caller from elsewhere would be."""
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    with serving(settings_for(models_dir, sqlite_url)) as client:
        document = assert_problem(client.get("/v1/speakers", headers=elsewhere), 401, "unauthorized")
        assert "timbre keys create" in document["detail"]
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
            refused = client.post("/enroll", files=audio(clip(1)), headers=headers)
            assert_problem(refused, 401, "unauthorized")
        own = {"Origin": str(client.base_url).rstrip("/")}
        assert client.get("/v1/speakers", headers=own).json()["speakers"] == []
    with serving(settings_for(models_dir, sqlite_url, open=True)) as client:
        assert client.get("/v1/speakers", headers=elsewhere).status_code == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", None, "localhost")),
        *((host, False) for host in ("10.0.0.1", "0.0.0.0", "", "example.org")),
    ],
)
def test_what_the_loopback_is(host: str | None, expected: bool) -> None:
    assert access.is_loopback(host) is expected


# ---------------------------------------------------------------- tenants


@dataclass
class Tenants:
    """A tenant with something of everything, and the key of another."""

    client: httpx.Client
    app: FastAPI
    owner: dict[str, str]
    stranger: dict[str, str]
    hers: dict[str, str]
    """What the owner has, by the name of the path parameter."""

    def state(self) -> Any:
        """All that the owner can see of its speakers, rules, jobs and receipts."""
        seen = {}
        for path in (
            "/v1/speakers",
            f"/v1/speakers/{ADA}/enrollments",
            "/v1/policy",
            "/v1/erasures",
            "/v1/jobs",
        ):
            document = self.client.get(path, headers=self.owner).json()
            seen[path] = {name: value for name, value in document.items() if name != "request_id"}
        return seen


NOBODYS = {
    "speaker_id": "nobody-at-all",
    "profile_id": "nobody-at-all",
    "enrollment_id": "e" * 32,
    "receipt_id": "d" * 32,
    "job_id": "c" * 32,
    "calibration_id": "f" * 32,
    "decision_id": "bm90aGluZw",
    "challenge_id": "nobodys-challenge",
    "model": "no-such-model",
}


@pytest.fixture
def tenants(served: tuple[FastAPI, httpx.Client]) -> Tenants:
    app, client = served
    owner, stranger = bearer(key(app, "tenant-a")), bearer(key(app, "tenant-b"))
    client.headers = httpx.Headers(owner)
    takes = enroll(client, ADA, voice=1, display_name="Ada of tenant A")["enrollments"]
    enroll(client, BOB, voice=2)
    receipt = client.delete(f"/v1/speakers/{BOB}").headers["timbre-erasure-receipt"]
    decision = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": ADA}).json()["decision_id"]
    challenge = client.post("/v1/challenges", json={"speaker_id": ADA}).json()["challenge_id"]
    job = client.post("/v1/exports", json={}).json()["job_id"]
    ended(client, job)  # or its own progress would look like somebody's doing
    client.headers = httpx.Headers()
    hers = {
        "speaker_id": ADA,
        "profile_id": ADA,
        "enrollment_id": takes[0]["enrollment_id"],
        "receipt_id": receipt,
        "decision_id": decision,
        "challenge_id": challenge,
        "job_id": job,
    }
    return Tenants(client, app, owner, stranger, hers)


def body_for(operation: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """A body that the operation takes, about these ids."""
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        fields = content["multipart/form-data"]["schema"]["properties"]
        data = {"speaker_id": ids["speaker_id"]} if "speaker_id" in fields else {}
        if "candidate_ids" in fields:
            data["candidate_ids"] = ids["speaker_id"]
        return {"files": audio(clip(1, 6)), "data": data}
    if "application/json" in content:
        example = json.dumps(content["application/json"].get("example", {}))
        example = example.replace('"ada-2"', json.dumps(ids["speaker_id"])).replace(
            '"ada"', json.dumps(ids["speaker_id"])
        )
        return {"json": json.loads(example)}
    if any(kind.startswith("audio/") for kind in content):
        return {"content": clip(1, 6)}
    if content:
        row = {"speaker_id": "import-of-b", "audio": base64.b64encode(clip(3, 1)).decode()}
        return {"content": json.dumps(row).encode() + b"\n", "headers": {"Content-Type": next(iter(content))}}
    return {}


def comparable(answer: httpx.Response, ids: Mapping[str, str]) -> tuple[int, str]:
    """Status and body without what differs between any two requests."""
    text = answer.text
    for name, value in ids.items():
        text = text.replace(value, f"<{name}>")
    ids_made = "(?:request|decision|challenge|job|enrollment|receipt|calibration)_id"
    names = rf"{ids_made}|profileId|\w*_?at|hash|head|subject"
    made = rf'"({names})": ?"[^"]*"'
    return answer.status_code, re.sub(r"\d+(\.\d+)?", "0", re.sub(made, r'"\1":""', text))


def test_no_route_crosses_tenants(tenants: Tenants) -> None:
    """With the other tenant's key, what somebody has and what nobody has look the same, everywhere."""
    before = tenants.state()
    tried = 0
    document = tenants.app.openapi()
    for path, operations in document["paths"].items():
        if path in ("/healthz", "/readyz", "/metrics") or ":activate" in path:
            continue
        for method, operation in operations.items():
            answers = {}
            for whose, ids in (("hers", {**NOBODYS, **tenants.hers}), ("nobody's", NOBODYS)):
                sent = body_for(operation, ids)
                headers = {**tenants.stranger, **sent.pop("headers", {})}
                target = re.sub(r"\{(\w+)\}", lambda found, ids=ids: ids[found[1]], path)
                answer = tenants.client.request(method, target, headers=headers, **sent)
                assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.text)
                answers[whose] = comparable(answer, ids)
                if answer.status_code == 202:  # its end would change the stranger's list between two looks
                    ended(tenants.client, answer.json()["job_id"], headers=tenants.stranger)
                told = answer.text.replace(ADA, "", 1) if whose == "hers" else answer.text
                assert "Ada of tenant A" not in told, (method, path)
                # A stranger may enroll, under its own tenant, an id that is taken elsewhere.
                tenants.client.delete(f"/v1/speakers/{ids['speaker_id']}", headers=tenants.stranger)
            assert answers["hers"] == answers["nobody's"], (method, path)
            tried += 1
    assert tried > 30
    assert tenants.state() == before


def test_the_same_id_in_two_tenants_is_two_speakers(tenants: Tenants) -> None:
    client = tenants.client
    client.headers = httpx.Headers(tenants.stranger)
    enroll(client, ADA, voice=7)
    probe = audio(clip(1, 5))
    assert client.post("/verify", files=probe, data={"speaker_id": ADA}).json()["decision"] == "reject"
    assert client.post("/identify", files=probe).json()["gallery_size"] == 1
    assert client.delete(f"/v1/speakers/{ADA}").status_code == 204
    client.headers = httpx.Headers(tenants.owner)
    assert client.post("/verify", files=probe, data={"speaker_id": ADA}).json()["decision"] == "accept"
    assert client.post("/identify", files=probe).json()["speaker_id"] == ADA


def test_the_rules_of_one_tenant_are_not_those_of_another(tenants: Tenants) -> None:
    client = tenants.client
    changed = client.patch(
        "/v1/policy", headers=tenants.owner, json={"consent": "required", "min_margin": 2.0}
    )
    assert changed.json()["own"] == ["consent", "min_margin"]
    assert client.get("/v1/policy", headers=tenants.stranger).json()["policy"]["consent"] == "optional"
    files, data = audio(clip(4)), {"speaker_id": "new"}
    refused = client.post("/enroll", files=files, data=data, headers=tenants.owner)
    assert_problem(refused, 422, "consent_required")
    assert client.post("/enroll", files=files, data=data, headers=tenants.stranger).status_code == 201
    back = client.patch("/v1/policy", headers=tenants.owner, json={"consent": None})
    assert (back.json()["own"], back.json()["policy"]["consent"]) == (["min_margin"], "optional")


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"target_fmr": 2}, "validation_error"),
        ({"no_such_rule": 1}, "validation_error"),
        ({"rate_limit": "often"}, "validation_error"),
        ({"target_fmr": 1e-9}, "unsupported_rate"),
        ({"same_voice": "maybe"}, "validation_error"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(tenants: Tenants, patch: dict[str, Any], code: str) -> None:
    before = tenants.client.get("/v1/policy", headers=tenants.owner).json()["policy"]
    assert_problem(tenants.client.patch("/v1/policy", headers=tenants.owner, json=patch), 422, code)
    assert tenants.client.get("/v1/policy", headers=tenants.owner).json()["policy"] == before

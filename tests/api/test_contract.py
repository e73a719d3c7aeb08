"""What holds for every call: request ids, caching, entity tags, paging, operations that end."""

import asyncio
import uuid
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect

from app.api.deprecation import deprecated
from app.api.document import describe, operations_of
from app.errors import SpeakerNotFound
from app.main import create_app
from app.settings import Settings
from tests.served import assert_problem, audio, clip, enroll, serving_app, settings_for

DOCUMENT = describe(create_app(Settings(_env_file=None)))
CALLS = [(method.upper(), path) for path, method, _ in operations_of(DOCUMENT)]
NOWHERE = uuid.uuid4().hex


def filled(path: str) -> str:
    """A path with names in it that nothing has."""
    for _ in range(path.count("{")):
        path = path[: path.index("{")] + NOWHERE + path[path.index("}") + 1 :]
    return path


# ---------------------------------------------------------------- every call


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_has_its_request_id_and_is_in_no_cache(
    client: httpx.Client, method: str, path: str
) -> None:
    answer = client.request(method, filled(path), headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["cache-control"] == "no-store"
    if answer.headers.get("content-type") == "application/problem+json":
        assert answer.json()["request_id"] == "mine-1"
    assert answer.status_code < 500


def test_the_document_and_its_page_may_be_cached(client: httpx.Client) -> None:
    assert "cache-control" not in client.get("/openapi.json").headers
    assert "cache-control" not in client.get("/docs").headers


def test_a_conversation_has_a_request_id_too(models_dir: Path, sqlite_url: str) -> None:
    app = create_app(settings_for(models_dir, sqlite_url))

    @app.websocket("/v1/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    async def talk(address: str) -> list[str]:
        found = []
        for headers in ({"X-Request-Id": "mine-2"}, {}):
            async with connect(address, additional_headers=headers) as connection:
                assert connection.response is not None
                found.append(connection.response.headers["X-Request-Id"])
                await connection.send("hello")
                assert await connection.recv() == "hello"
        return found

    with serving_app(app) as server:
        given, made = asyncio.run(talk(str(server.base_url).replace("http", "ws", 1) + "/v1/echo"))
    assert given == "mine-2"
    assert len(made) == 32


def test_every_call_that_changes_by_post_takes_an_idempotency_key() -> None:
    with_key = {
        path
        for path, method, operation in operations_of(DOCUMENT)
        if method == "post"
        and any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
    }
    posts = {path for path, method, _ in operations_of(DOCUMENT) if method == "post"}
    reading = {"/identify", "/verify", "/v1/audio/quality", "/v1/segments"}
    azure = {path for path in posts if path.endswith(("/verify", "/identifySingleSpeaker"))}
    assert posts - with_key == reading | azure


def test_every_new_resource_says_where_it_is() -> None:
    for path, _, operation in operations_of(DOCUMENT):
        for status in {"201", "202"} & operation["responses"].keys():
            if not path.endswith("/enrollments") and "feedback" not in path:
                assert "Location" in operation["responses"][status]["headers"], (path, status)


def test_a_wrong_method_on_a_verb_is_told_the_right_one(client: httpx.Client) -> None:
    refused = client.get("/v1/speakers/ada:reset")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "POST"
    assert_problem(client.get("/v1/speakers/ada:lovelace"), 404, "route_not_found")


def test_every_list_is_paged_alike() -> None:
    for path, method, operation in operations_of(DOCUMENT):
        names = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
        if method == "get" and "cursor" in names:
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            answer = DOCUMENT["components"]["schemas"][schema.rsplit("/", 1)[1]]
            assert "limit" in names, path
            assert "next_cursor" in answer["required"], path


# ---------------------------------------------------------------- speakers


def test_a_speaker_that_is_known_is_not_sent_again(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    tag = client.get("/v1/speakers/ada").headers["etag"]
    for known in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        same = client.get("/v1/speakers/ada", headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert client.get("/v1/speakers/ada", headers={"if-none-match": '"0"'}).status_code == 200
    client.patch("/v1/speakers/ada", json={"display_name": "Ada"})
    changed = client.get("/v1/speakers/ada", headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/speakers/ada", {"display_name": "Ada"}),
        ("POST", "/v1/speakers/ada:reset", None),
        ("DELETE", "/v1/speakers/ada", None),
    ],
)
def test_a_change_of_what_somebody_else_has_changed_is_refused(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    enroll(client, "ada", voice=1)
    old = client.get("/v1/speakers/ada").headers["etag"]
    new = client.patch("/v1/speakers/ada", json={"metadata": {"a": 1}}).headers["etag"]
    late = client.request(method, path, json=body, headers={"if-match": old})
    assert_problem(late, 409, "concurrent_modification")
    assert client.get("/v1/speakers/ada").headers["etag"] == new
    assert client.request(method, path, json=body, headers={"if-match": new}).is_success


def test_a_speaker_may_be_created_before_there_is_a_recording(client: httpx.Client) -> None:
    made = client.post("/v1/speakers", json={"speaker_id": "ada", "metadata": {"group": "x"}})
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/speakers/ada"
    assert made.json()["enrollments_count"] == 0
    shown = client.get("/v1/speakers/ada")
    assert shown.headers["etag"] == made.headers["etag"]
    assert_problem(client.post("/v1/speakers", json={"speaker_id": "ada"}), 409, "speaker_exists")
    early = client.post("/verify", files=audio(clip(1)), data={"speaker_id": "ada"})
    assert_problem(early, 409, "speaker_not_enrolled")
    enrolled = enroll(client, "ada", voice=1)
    assert enrolled["status"] == "enrolled"
    assert client.get("/v1/speakers/ada").json()["metadata"] == {"group": "x"}
    unnamed = client.post("/v1/speakers", json={}, headers={"idempotency-key": uuid.uuid4().hex})
    assert client.get(unnamed.headers["location"]).status_code == 200
    assert_problem(client.post("/v1/speakers", json={"speaker_id": ".."}), 422, "invalid_speaker_id")
    assert_problem(client.post("/v1/speakers", json={"name": "x"}), 422, "validation_error")


# ---------------------------------------------------------------- operations that end


def test_a_deprecated_operation_says_so_in_every_answer(models_dir: Path, sqlite_url: str) -> None:
    app: FastAPI = create_app(settings_for(models_dir, sqlite_url))
    ending = deprecated(date(2027, 1, 31), date(2028, 1, 31), "/v1/speakers")

    @app.get("/v0/people/{name}", tags=["speakers"], **ending)
    async def show_person(name: str) -> dict[str, str]:
        if name == "nobody":
            raise SpeakerNotFound(name)
        return {"name": name}

    with serving_app(app) as server:
        for name, status in (("ada", 200), ("nobody", 404)):
            answer = server.get(f"/v0/people/{name}")
            assert answer.status_code == status
            since = datetime.fromtimestamp(int(answer.headers["deprecation"].removeprefix("@")), UTC)
            assert since == datetime(2027, 1, 31, tzinfo=UTC)
            assert parsedate_to_datetime(answer.headers["sunset"]) == datetime(2028, 1, 31, tzinfo=UTC)
            assert answer.headers["link"] == '</v1/speakers>; rel="successor-version"'
        assert "deprecation" not in server.get("/v1/speakers").headers
        operation = server.get("/openapi.json").json()["paths"]["/v0/people/{name}"]["get"]
    assert operation["deprecated"] is True
    assert {"Deprecation", "Sunset", "Link"} <= operation["responses"]["200"]["headers"].keys()

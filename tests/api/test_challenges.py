"""Random digits that must be said in the recording: asked for, said, not said, used twice, too late."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import ConnectionClosed

from app.errors import ModelInvalid
from app.main import create_app
from app.service import access
from app.service.call import SCOPES
from app.settings import Settings
from tests.api.test_live import conversation, rest, samples, say, start
from tests.conftest import _postgres_database
from tests.served import assert_problem, audio, clip, serving_app, settings_for, wav
from tests.spoken_digits import spoken
from tests.tiny import write_tiny_model

SHIPPED = Path(__file__).parents[2] / "models" / "digits-1"
ANYBODY = {"speaker_id": "ada", "threshold": "-1"}
"""The tiny model tells no real voices apart: every voice passes, so that only the digits decide."""


@dataclass(frozen=True)
class Two:
    """Two server processes on one database, and two tenants."""

    client: httpx.Client
    other_process: httpx.Client
    other_tenant: dict[str, str]
    apps: tuple[FastAPI, FastAPI]

    def challenge(self, **wish: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/challenges", json={"speaker_id": "ada", **wish})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def verify(self, challenge_id: str, digits: str, **fields: str) -> httpx.Response:
        files, wish = audio(wav(spoken(digits))), {**ANYBODY, "challenge_id": challenge_id, **fields}
        return self.client.post("/verify", files=files, data=wish)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models-with-digits")
    write_tiny_model(folder / "tiny")
    shutil.copytree(SHIPPED, folder / "digits-1")
    return folder


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("challenges") / "timbre.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server, template = (request.getfixturevalue(f"postgres_{name}") for name in ("server", "template"))
    yield from _postgres_database(server, template)


@pytest.fixture(scope="module")
def processes(models: Path, address: str) -> Iterator[Two]:
    settings = settings_for(models, address, digit_model="digits-1", sweep_s=3600, required_speech_s=2.0)
    with ExitStack() as stack:
        apps = create_app(settings), create_app(settings)
        clients = [stack.enter_context(serving_app(app, settings)) for app in apps]
        repository = apps[0].state.parts.repository
        mine, theirs = (
            {"Authorization": f"Bearer {access.make_key(repository, tenant, list(SCOPES)).token}"}
            for tenant in ("default", "another")
        )
        for client in clients:
            client.headers.update(mine)
        yield Two(clients[0], clients[1], theirs, apps)


@pytest.fixture
def two(processes: Two) -> Two:
    client = processes.client
    client.delete("/v1/speakers/ada")
    client.patch("/v1/policy", json={"challenge": None, "lockout_after": 0}).raise_for_status()
    client.post("/enroll", files=audio(clip(1)), data={"speaker_id": "ada"}).raise_for_status()
    return processes


# ---------------------------------------------------------------- asking


def test_a_challenge_has_digits_none_twice_in_a_row_and_an_end(two: Two) -> None:
    before = datetime.now(UTC)
    found = two.challenge()
    digits = found["digits"].split(" ")
    assert len(digits) == 6
    assert all(len(digit) == 1 and digit.isdigit() for digit in digits)
    assert all(one != next_ for one, next_ in pairwise(digits))
    left = datetime.fromisoformat(found["expires_at"]) - before
    assert timedelta(seconds=59) < left < timedelta(seconds=65)
    assert found["speaker_id"] == "ada"
    assert len(two.challenge(digits=10)["digits"].split(" ")) == 10
    assert two.challenge()["digits"] != found["digits"] or two.challenge()["digits"] != found["digits"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"speaker_id": "nobody"}, 404, "speaker_not_found"),
        ({"speaker_id": "no body"}, 422, "invalid_speaker_id"),
        ({"speaker_id": "ada", "digits": 3}, 422, "validation_error"),
        ({"speaker_id": "ada", "digits": 11}, 422, "validation_error"),
        ({"speaker_id": "ada", "lifetime_s": 61}, 422, "validation_error"),
        ({"speaker_id": "ada", "lifetime_s": 0}, 422, "validation_error"),
        ({}, 422, "validation_error"),
    ],
)
def test_what_cannot_be_asked_for(two: Two, body: dict[str, Any], status: int, code: str) -> None:
    assert_problem(two.client.post("/v1/challenges", json=body), status, code)


def test_a_speaker_has_few_open_ones_and_the_spent_do_not_count(two: Two) -> None:
    open_ones = [two.challenge() for _ in range(5)]
    refused = two.client.post("/v1/challenges", json={"speaker_id": "ada"})
    assert_problem(refused, 429, "too_many_challenges")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    first = open_ones[0]
    assert two.verify(first["challenge_id"], first["digits"]).json()["decision"] == "accept"
    two.challenge()


def test_asking_needs_the_scope_of_verifying(two: Two) -> None:
    repository = two.apps[0].state.parts.repository
    for scope, status in (("read", 403), ("verify", 201)):
        token = access.make_key(repository, "default", [scope]).token
        headers = {"Authorization": f"Bearer {token}"}
        answer = two.client.post("/v1/challenges", json={"speaker_id": "ada"}, headers=headers)
        assert answer.status_code == status


def test_a_challenge_can_be_looked_at_by_its_tenant(two: Two) -> None:
    asked = two.client.post("/v1/challenges", json={"speaker_id": "ada"})
    place = asked.headers["location"]
    shown = two.client.get(place).json()
    assert shown == asked.json() | {"request_id": shown["request_id"]}
    assert shown["status"] == "open"
    assert_problem(two.client.get(place, headers=two.other_tenant), 404, "challenge_not_found")
    two.verify(shown["challenge_id"], shown["digits"])
    assert two.client.get(place).json()["status"] == "spent"
    assert_problem(two.client.get("/v1/challenges/unknown"), 404, "challenge_not_found")


# ---------------------------------------------------------------- saying


@pytest.mark.parametrize("voice", ["ada", "gus"])
def test_who_says_the_digits_passes(two: Two, voice: str) -> None:
    asked = two.challenge()
    files = audio(wav(spoken(asked["digits"], voice)))
    answer = two.client.post("/verify", files=files, data=ANYBODY | {"challenge_id": asked["challenge_id"]})
    found = answer.json()
    assert found["decision"] == "accept", found
    verdict = found["challenge"]
    assert (verdict["evaluated"], verdict["passed"]) == (True, True)
    assert verdict["expected"] == asked["digits"]
    assert verdict["threshold"] <= verdict["score"] <= 0


@pytest.mark.parametrize("said", ["other digits", "reversed", "no digits"])
def test_who_says_something_else_is_rejected_and_told_why(two: Two, said: str) -> None:
    asked = two.challenge()
    digits = asked["digits"].split(" ")
    if digits == digits[::-1]:
        pytest.skip("it reads the same both ways")
    other = " ".join(str((int(digit) + 5) % 10) for digit in digits)
    recording = {
        "other digits": wav(spoken(other)),
        "reversed": wav(spoken(asked["digits"][::-1])),
        "no digits": clip(1, 3),
    }[said]
    wish = ANYBODY | {"challenge_id": asked["challenge_id"]}
    found = two.client.post("/verify", files=audio(recording), data=wish).json()
    assert found["decision"] == "reject"
    assert (found["challenge"]["evaluated"], found["challenge"]["passed"]) == (True, False)
    assert found["explanation"][0]["code"] == "challenge_failed"
    assert asked["digits"] in found["explanation"][0]["detail"]


def test_the_right_digits_of_the_wrong_voice_are_rejected(two: Two) -> None:
    asked = two.challenge()
    found = two.verify(asked["challenge_id"], asked["digits"], threshold="1.5").json()
    assert (found["decision"], found["challenge"]["passed"]) == ("reject", True)


def test_wrong_digits_count_as_failures_and_lock(two: Two) -> None:
    two.client.patch("/v1/policy", json={"lockout_after": 2}).raise_for_status()
    asked = [two.challenge() for _ in range(3)]
    for each in asked[:2]:
        wrong = " ".join(str((int(digit) + 5) % 10) for digit in each["digits"].split(" "))
        assert two.verify(each["challenge_id"], wrong).json()["decision"] == "reject"
    assert_problem(two.verify(asked[2]["challenge_id"], asked[2]["digits"]), 423, "verification_locked")


def test_a_live_verification_takes_one_too(two: Two) -> None:
    asked, headers = two.challenge(), {"Authorization": two.client.headers["authorization"]}
    fields = {"challenge_id": asked["challenge_id"], "threshold": -1, "min_speech_s": 0.6}
    for expected in (["accept"], ["challenge_spent"]):
        with conversation(two.client, headers) as socket:
            start(socket, **fields)
            with suppress(ConnectionClosed):  # the second is told at once
                say(socket, samples(spoken(asked["digits"])))
                socket.send(json.dumps({"type": "end"}))
            frames, _ = rest(socket)
        last = frames[-1]
        assert [last["problem"]["code"] if last["type"] == "problem" else last["decision"]] == expected
        assert last["type"] == "problem" or last["challenge"]["passed"]


def test_without_a_challenge_nothing_is_said_of_one(two: Two) -> None:
    found = two.client.post("/verify", files=audio(clip(1, 2)), data={"speaker_id": "ada"}).json()
    assert found["challenge"] is None


# ---------------------------------------------------------------- once, in time, by the right one


def test_a_challenge_is_good_for_one_decision(two: Two) -> None:
    asked = two.challenge()
    assert two.verify(asked["challenge_id"], asked["digits"]).status_code == 200
    assert_problem(two.verify(asked["challenge_id"], asked["digits"]), 409, "challenge_spent")


def test_of_many_at_once_in_two_processes_exactly_one_is_told(two: Two) -> None:
    asked = two.challenge()
    files, wish = audio(wav(spoken(asked["digits"]))), ANYBODY | {"challenge_id": asked["challenge_id"]}

    def ask(number: int) -> httpx.Response:
        client = (two.client, two.other_process)[number % 2]
        return client.post("/verify", files=files, data=wish)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    told = [answer for answer in answers if answer.status_code == 200]
    assert len(told) == 1, [answer.text for answer in answers]
    # The others were second, or there was no place for them.
    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    assert all(answer.json()["code"] == "challenge_spent" for answer in answers if answer.status_code == 409)


def test_too_late_is_too_late(two: Two) -> None:
    asked = two.challenge(lifetime_s=0.05)
    time.sleep(0.1)
    assert two.client.get(f"/v1/challenges/{asked['challenge_id']}").json()["status"] == "expired"
    assert_problem(two.verify(asked["challenge_id"], asked["digits"]), 409, "challenge_expired")


def test_a_recording_that_is_refused_does_not_spend_it(two: Two) -> None:
    asked = two.challenge()
    silence = audio(wav(0 * spoken("1 2")))
    wish = ANYBODY | {"challenge_id": asked["challenge_id"]}
    assert two.client.post("/verify", files=silence, data=wish).status_code == 422
    assert two.client.post("/verify", files=audio(b"no recording"), data=wish).status_code == 415
    assert two.verify(asked["challenge_id"], asked["digits"]).json()["decision"] == "accept"


def test_nobody_else_can_use_it(two: Two) -> None:
    asked = two.challenge()
    post = two.client.post
    post("/enroll", files=audio(clip(2)), data={"speaker_id": "bob"}).raise_for_status()
    assert_problem(
        two.verify(asked["challenge_id"], asked["digits"], speaker_id="bob"), 404, "challenge_not_found"
    )
    theirs: dict[str, Any] = {
        "files": audio(clip(1)),
        "data": {"speaker_id": "ada"},
        "headers": two.other_tenant,
    }
    post("/enroll", **theirs).raise_for_status()
    wish = ANYBODY | {"challenge_id": asked["challenge_id"]}
    refused = post("/verify", files=audio(wav(spoken(asked["digits"]))), data=wish, headers=two.other_tenant)
    assert_problem(refused, 404, "challenge_not_found")
    assert two.verify(asked["challenge_id"], asked["digits"]).json()["decision"] == "accept"


@pytest.mark.parametrize("erased", ["deleted", "reset"])
def test_it_goes_with_the_speaker(two: Two, erased: str) -> None:
    asked = two.challenge()
    if erased == "deleted":
        assert two.client.delete("/v1/speakers/ada").status_code == 204
    else:
        two.client.post("/v1/speakers/ada:reset").raise_for_status()
    two.client.post("/enroll", files=audio(clip(1)), data={"speaker_id": "ada"}).raise_for_status()
    assert_problem(two.verify(asked["challenge_id"], asked["digits"]), 404, "challenge_not_found")


def test_a_challenge_and_a_second_recording_contradict_each_other(two: Two) -> None:
    asked = two.challenge()
    files = audio(clip(1)) + audio(clip(1, 2), part="audio_reference")
    refused = two.client.post("/verify", files=files, data={"challenge_id": asked["challenge_id"]})
    assert_problem(refused, 422, "conflicting_parameters")


def test_what_expired_long_ago_is_swept(two: Two) -> None:
    asked = two.challenge()
    repository = two.apps[0].state.parts.repository
    assert repository.drop_expired_challenges(datetime.now(UTC) + timedelta(minutes=60)) == 0
    assert repository.drop_expired_challenges(datetime.now(UTC) + timedelta(minutes=62)) > 0
    assert_problem(two.verify(asked["challenge_id"], asked["digits"]), 404, "challenge_not_found")


def test_a_clock_that_is_put_back_makes_no_challenge_last_longer(two: Two) -> None:
    asked = two.challenge()
    repository = two.apps[0].state.parts.repository
    key = repository.get_speaker("default", "ada").key
    found = repository.get_challenge("default", asked["challenge_id"], key)
    found.check(found.created_at)
    for moment in (found.created_at - timedelta(minutes=1), found.expires_at):
        with pytest.raises(Exception, match="time for challenge"):
            repository.spend_challenge("default", key, asked["challenge_id"], moment)
    assert two.verify(asked["challenge_id"], asked["digits"]).json()["decision"] == "accept"


# ---------------------------------------------------------------- the rule, and no model


def test_where_the_rule_wants_one_no_speaker_is_verified_without(two: Two) -> None:
    two.client.patch("/v1/policy", json={"challenge": "required"}).raise_for_status()
    bare = two.client.post("/verify", files=audio(clip(1, 2)), data={"speaker_id": "ada"})
    assert_problem(bare, 422, "challenge_required")
    pair = audio(clip(1)) + audio(clip(1, 2), part="audio_reference")
    assert two.client.post("/verify", files=pair).status_code == 200, "two recordings are nobody's claim"
    asked = two.challenge()
    assert two.verify(asked["challenge_id"], asked["digits"]).json()["decision"] == "accept"


@pytest.mark.parametrize(("rule", "decision"), [("optional", "accept"), ("required", "reject")])
def test_without_a_digit_model_nothing_is_claimed(
    models: Path, sqlite_url: str, rule: str, decision: str
) -> None:
    settings = settings_for(models, sqlite_url, digit_model=None, required_speech_s=2.0, challenge=rule)
    with serving_app(create_app(settings), settings) as client:
        client.post("/enroll", files=audio(clip(1)), data={"speaker_id": "ada"}).raise_for_status()
        asked = client.post("/v1/challenges", json={"speaker_id": "ada"}).json()
        wish = ANYBODY | {"challenge_id": asked["challenge_id"]}
        found = client.post("/verify", files=audio(clip(1, 2)), data=wish).json()
    verdict = found["challenge"]
    assert (verdict["evaluated"], verdict["passed"], verdict["score"]) == (False, False, None)
    assert found["explanation"][0]["code"] == "challenge_not_evaluated"
    assert found["decision"] == decision


def test_the_digit_model_is_no_speaker_model(two: Two) -> None:
    assert two.client.get("/v1/models").json()["available"] == ["tiny"]


@pytest.mark.parametrize(
    ("damage", "said"), [("missing", "digits-1.*TIMBRE_DIGIT_MODEL=None"), ("weights", "digits-1")]
)
def test_a_bad_digit_model_refuses_the_start(
    models: Path, sqlite_url: str, tmp_path: Path, damage: str, said: str
) -> None:
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    if damage == "missing":
        shutil.rmtree(folder / "digits-1")
    else:
        path = folder / "digits-1" / "model.onnx"
        path.write_bytes(path.read_bytes() + b"\0")
    settings: Settings = settings_for(folder, sqlite_url, digit_model="digits-1")
    app = create_app(settings)

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")

    with pytest.raises(ModelInvalid, match=said):
        asyncio.run(start())

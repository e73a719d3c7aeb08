"""Azure's clients, on both databases: the calls of its published samples, in their order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.fuzzing import admin_token
from tests.served import clip, enroll, serving, settings_for

V2 = "/speaker/{}/v2.0/text-independent/profiles"
LATEST = "/speaker-recognition/{}/text-independent/profiles"
WAV = {"content-type": "audio/wav"}
APOSTROPHES = b"{\n    'locale':'en-us'\n}"
"""How the samples for the shell write the body; it is no JSON, and Azure took it."""
NOBODY = "00000000-0000-0000-0000-000000000000"

Create = Callable[..., str]


@pytest.fixture
def create(client: httpx.Client) -> Create:
    def created(kind: str, *voice: int, base: str = V2) -> str:
        """The id of a new profile, enrolled with two takes of a voice when there is one."""
        path = base.format(kind)
        made = client.post(path, content=APOSTROPHES, headers={"content-type": "application/json"})
        assert made.status_code == 201, made.text
        profile_id: str = made.json()["profileId"]
        for number in voice:
            for take in range(2):
                sent = client.post(
                    f"{path}/{profile_id}/enrollments", content=clip(number, take), headers=WAV
                )
                assert sent.status_code == 201, sent.text
        return profile_id

    return created


def refusal(answer: httpx.Response, status: int, code: str, inner: str) -> dict[str, Any]:
    """What holds for every refusal; returns the error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-ms-error-code"] == code
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["innererror"]["code"]) == (code, inner)
    assert error["innererror"]["request_id"] == answer.headers["x-request-id"]
    assert error["message"]
    return error


def test_a_verification_from_the_first_call_to_the_last(client: httpx.Client) -> None:
    path = V2.format("verification")
    made = client.post(path, content=APOSTROPHES, headers={"content-type": "application/json"})
    profile = made.json()
    assert made.status_code == 201
    assert made.headers["location"] == f"{path}/{profile['profileId']}"
    assert set(profile) == {
        *(
            "profileId",
            "locale",
            "enrollmentStatus",
            "createdDateTime",
            "lastUpdatedDateTime",
            "modelVersion",
        ),
        *("enrollmentsCount", "enrollmentsLength", "enrollmentsSpeechLength"),
        "remainingEnrollmentsSpeechLength",
    }
    assert (profile["locale"], profile["enrollmentStatus"]) == ("en-us", "Enrolling")
    assert (profile["lastUpdatedDateTime"], profile["modelVersion"]) == (None, None)
    assert profile["remainingEnrollmentsSpeechLength"] == 4.0
    path += f"/{profile['profileId']}"
    early = client.post(f"{path}/verify", content=clip(1, 5), headers=WAV)
    refusal(early, 409, "Conflict", "speaker_not_enrolled")
    first = client.post(f"{path}/enrollments", content=clip(1, 0), headers=WAV).json()
    assert set(first) == {
        *("profileId", "enrollmentStatus", "enrollmentsCount", "enrollmentsLength"),
        *("enrollmentsSpeechLength", "remainingEnrollmentsSpeechLength", "audioLength", "audioSpeechLength"),
    }
    assert (first["enrollmentStatus"], first["enrollmentsCount"], first["audioLength"]) == (
        "Enrolling",
        1,
        3.0,
    )
    second = client.post(f"{path}/enrollments?ignoreMinLength=true", content=clip(1, 1), headers=WAV).json()
    assert (second["enrollmentStatus"], second["enrollmentsLength"]) == ("Enrolled", 6.0)
    assert second["remainingEnrollmentsSpeechLength"] == 0
    own = client.post(f"{path}/verify", content=clip(1, 5), headers=WAV).json()
    other = client.post(f"{path}/verify", content=clip(2, 5), headers=WAV).json()
    assert (own["recognitionResult"], other["recognitionResult"]) == ("Accept", "Reject")
    assert 0 <= other["score"] < 0.5 <= own["score"] <= 1
    shown = client.get(path).json()
    assert (shown["enrollmentsCount"], shown["modelVersion"]) == (2, "2026-01-01")
    assert shown["lastUpdatedDateTime"] > shown["createdDateTime"]
    assert client.post(f"{path}/reset").status_code == 204
    assert client.get(path).json()["enrollmentsCount"] == 0
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    refusal(client.get(path), 404, "NotFound", "speaker_not_found")


def test_an_identification_from_the_first_call_to_the_last(client: httpx.Client, create: Create) -> None:
    path = V2.format("identification")
    ids = [create("identification", voice) for voice in (1, 2, 3)]
    listed = client.get(path).json()
    assert [each["profileId"] for each in listed["profiles"]] == ids
    assert listed["@nextLink"] == ""
    asked = {"profileIds": ",".join(ids)}
    found = client.post(f"{path}/identifySingleSpeaker", params=asked, content=clip(2, 5), headers=WAV).json()
    assert found["identifiedProfile"]["profileId"] == ids[1]
    scores = [each["score"] for each in found["profilesRanking"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert found["identifiedProfile"] == found["profilesRanking"][0]
    nobody = client.post(
        f"{path}/identifySingleSpeaker", params=asked, content=clip(7, 5), headers=WAV
    ).json()
    assert nobody["identifiedProfile"] == {"profileId": NOBODY, "score": 0.0}
    assert len(nobody["profilesRanking"]) == 3
    empty = create("identification")
    asked = {"profileIds": f"{ids[0]},{empty}"}
    early = client.post(f"{path}/identifySingleSpeaker", params=asked, content=clip(2, 5), headers=WAV)
    refusal(early, 409, "Conflict", "speaker_not_enrolled")
    for profile_id in (*ids, empty):
        assert client.delete(f"{path}/{profile_id}").status_code == 204


def test_pages_follow_their_links(client: httpx.Client, create: Create) -> None:
    ids = [create("verification") for _ in range(5)]
    for link, name, first in (
        ("@nextLink", "profiles", f"{V2.format('verification')}?$top=2"),
        ("nextLink", "value", f"{LATEST.format('verification')}?api-version=2021-09-05&maxpagesize=2"),
    ):
        seen: list[str] = []
        address: str | None = first
        while address:
            page = client.get(address).json()
            assert len(page[name]) <= 2
            seen += [each["profileId"] for each in page[name]]
            address = page.get(link)
        assert seen == ids


def test_the_later_version_says_the_same_in_its_own_words(client: httpx.Client, create: Create) -> None:
    version = {"api-version": "2021-09-05"}
    one = create("verification", 1, base=LATEST)
    path = f"{LATEST.format('verification')}/{one}"
    phrases = client.get("/speaker-recognition/verification/text-independent/phrases/en-us", params=version)
    assert phrases.json()["value"][0]["activationPhrase"]
    shown = client.get(path, params=version).json()
    assert (shown["enrollmentsLengthInSec"], shown["profileStatus"]) == (6.0, "Active")
    assert not [name for name in shown if name.endswith("Length")]
    verified = client.post(f"{path}:verify", params=version, content=clip(1, 5), headers=WAV).json()
    assert verified["recognitionResult"] == "Accept"
    identify = f"{LATEST.format('identification')}:identifySingleSpeaker"
    asked = version | {"profileIds": one}
    found = client.post(identify, params=asked, content=clip(1, 5), headers=WAV).json()
    assert found["identifiedProfile"]["profileId"] == one
    more = client.post(f"{path}/enrollments", params=version, content=clip(1, 2), headers=WAV).json()
    assert (more["audioLengthInSec"], more["enrollmentsCount"]) == (3.0, 3)
    reset = client.post(f"{path}:reset", params=version).json()
    assert reset["enrollmentsSpeechLengthInSec"] == 0
    assert client.delete(path, params=version).status_code == 204


def test_the_subscription_key_is_a_key_of_the_service(models_dir: Path, sqlite_url: str) -> None:
    settings = settings_for(models_dir, sqlite_url)
    with serving(settings) as server:
        token = admin_token(settings)
        path = V2.format("verification")
        refusal(server.get(path), 401, "Unauthorized", "unauthorized")
        wrong = {"Ocp-Apim-Subscription-Key": token[:-1] + ("a" if token[-1] != "a" else "b")}
        refusal(server.get(path, headers=wrong), 401, "Unauthorized", "unauthorized")
        assert server.get(path, headers={"Ocp-Apim-Subscription-Key": token}).json()["profiles"] == []


def test_profiles_are_the_speakers_of_the_tenant(client: httpx.Client, create: Create) -> None:
    enroll(client, "ada", voice=1)
    path = V2.format("verification")
    assert client.get(f"{path}/ada").json()["enrollmentStatus"] == "Enrolled"
    own = client.post(f"{path}/ada/verify", content=clip(1, 5), headers=WAV).json()
    assert own["recognitionResult"] == "Accept"
    profile_id = create("identification", 2)
    assert client.get(f"/v1/speakers/{profile_id}").json()["metadata"] == {"locale": "en-us"}
    assert client.get(f"{path}/{profile_id}").json()["enrollmentsCount"] == 2  # of the other kind too


@pytest.mark.parametrize(
    ("body", "code", "inner"),
    [
        (b"", "InvalidRequest", "malformed_request"),
        (b"[]", "InvalidRequest", "malformed_request"),
        (b"{}", "InvalidArgument", "validation_error"),
        (b'{"locale": 7}', "InvalidArgument", "validation_error"),
        (b'{"locale": "English"}', "InvalidArgument", "validation_error"),
    ],
)
def test_a_profile_needs_a_locale(client: httpx.Client, body: bytes, code: str, inner: str) -> None:
    refusal(client.post(V2.format("verification"), content=body), 400, code, inner)


def test_refusals_are_in_the_words_of_azure(client: httpx.Client, create: Create) -> None:
    path = V2.format("verification")
    profile = f"{path}/{create('verification')}"
    for call in ("enrollments", "verify"):
        unknown = client.post(f"{path}/nobody/{call}", content=clip(1), headers=WAV)
        refusal(unknown, 404, "NotFound", "speaker_not_found")
    junk = client.post(f"{profile}/enrollments", content=b"no recording at all", headers=WAV)
    refusal(junk, 415, "UnsupportedMediaType", "unsupported_media_type")
    nothing = client.post(f"{profile}/enrollments", headers=WAV)
    refusal(nothing, 400, "InvalidRequest", "audio_missing")
    large = client.post(f"{profile}/enrollments", content=bytes(2_000_001), headers=WAV)
    refusal(large, 413, "RequestTooLarge", "payload_too_large")
    for wrong in ({"$top": "0"}, {"$top": "501"}, {"$continuationToken": "x"}):
        refusal(client.get(path, params=wrong), 400, "InvalidArgument", "validation_error")
    early = client.post(f"{profile}/verify?ignoreMinLength=perhaps", content=clip(1), headers=WAV)
    refusal(early, 400, "InvalidArgument", "validation_error")
    many = {"profileIds": ",".join(f"speaker-{number}" for number in range(51))}
    asked = V2.format("identification") + "/identifySingleSpeaker"
    refusal(client.post(asked, params=many, content=clip(1)), 400, "InvalidArgument", "validation_error")
    assert client.get(profile).json()["enrollmentsCount"] == 0

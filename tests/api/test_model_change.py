"""From one model to another: re-embedding, the trial in the shadow, the switch, and the way back."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.bulk import ended, rows
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for
from tests.tiny import write_tiny_model


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models whose embeddings are not comparable."""
    folder = tmp_path_factory.mktemp("two-models") / "models"
    write_tiny_model(folder / "tiny")
    write_tiny_model(folder / "next", name="next", seed=5)
    return folder


@pytest.fixture
def kept(two_models: Path, database_url: str) -> Settings:
    return settings_for(two_models, database_url, keep_audio=True)


@pytest.fixture
def client(kept: Settings) -> Iterator[httpx.Client]:
    """A service that keeps the recordings of two speakers."""
    with serving(kept) as client:
        enroll(client, "ada", 1)
        enroll(client, "bob", 2)
        yield client


def reembed(client: httpx.Client) -> dict[str, Any]:
    answer = client.post("/v1/reembed-jobs", json={"model": "next"})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
    return ended(client, answer.json()["job_id"])


def coverage(client: httpx.Client, model: str = "next") -> tuple[int, int, int]:
    found = client.get(f"/v1/models/{model}/coverage").json()
    return found["enrolled"], found["ready"], found["reenrollment_required"]


def verified(client: httpx.Client, speaker_id: str, voice: int, **fields: str) -> dict[str, Any]:
    answer = client.post("/verify", files=audio(clip(voice, 5)), data={"speaker_id": speaker_id, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_kept_recordings_are_heard_by_another_model(client: httpx.Client) -> None:
    assert coverage(client) == (2, 0, 2)
    before = verified(client, "ada", 1)
    job = reembed(client)
    assert job["counts"] == {"ready": 2}
    assert (job["coverage"]["ready"], job["coverage"]["reenrollment_required"]) == (2, 0)
    assert coverage(client) == (2, 2, 0)
    after = verified(client, "ada", 1)
    assert (after["score"], after["model"]["name"]) == (before["score"], "tiny"), "nothing changes yet"
    takes = client.get("/v1/speakers/ada/enrollments").json()["enrollments"]
    by_model = [[t["speech_s"] for t in takes if t["model_id"].startswith(m)] for m in ("tiny", "next")]
    assert by_model[0] == by_model[1], "the same recordings in the same order"


def test_the_switch_and_the_way_back(client: httpx.Client) -> None:
    reembed(client)
    assert client.post("/v1/models/next:activate").status_code == 200
    found = verified(client, "ada", 1)
    assert (found["decision"], found["model"]["name"]) == ("accept", "next")
    assert verified(client, "ada", 2)["decision"] == "reject"
    named = client.post("/identify", files=audio(clip(2, 5))).json()
    assert (named["decision"], named["speaker_id"]) == ("match", "bob")
    assert client.post("/v1/models/tiny:activate").status_code == 200
    assert verified(client, "ada", 1)["model"]["name"] == "tiny"


def test_a_second_run_hears_only_what_is_new(client: httpx.Client) -> None:
    reembed(client)
    enroll(client, "cleo", 3)
    takes = len(client.get("/v1/speakers/ada/enrollments").json()["enrollments"])
    assert reembed(client)["counts"] == {"ready": 3}
    assert len(client.get("/v1/speakers/ada/enrollments").json()["enrollments"]) == takes == 4
    assert coverage(client) == (3, 3, 0)


def test_who_was_not_kept_has_to_speak_again(two_models: Path, database_url: str) -> None:
    forgetful = settings_for(two_models, database_url)
    with serving(forgetful) as client:
        enroll(client, "ada", 1)
    with serving(forgetful.model_copy(update={"keep_audio": True})) as client:
        enroll(client, "bob", 2)
        job = reembed(client)
        assert job["counts"] == {"ready": 1, "reenrollment_required": 1}
        (row,) = rows(client, job["job_id"], outcome="reenrollment_required")
        assert (row["speaker_id"], row["code"]) == ("ada", "reenrollment_required")
        assert coverage(client) == (2, 1, 1)
        client.post("/v1/models/next:activate")
        probe: dict[str, Any] = {"files": audio(clip(1, 5)), "data": {"speaker_id": "ada"}}
        assert_problem(client.post("/verify", **probe), 409, "reenrollment_required")
        shown = {each["speaker_id"]: each for each in client.get("/v1/speakers").json()["speakers"]}
        assert [shown[name]["reenrollment_required"] for name in ("ada", "bob")] == [True, False]
        assert [each["model_id"].split("@")[0] for each in shown["bob"]["models"]] == ["next", "tiny"]
        assert verified(client, "bob", 2)["decision"] == "accept"
        enroll(client, "ada", 1)
        assert verified(client, "ada", 1)["decision"] == "accept"


def test_a_deleted_recording_does_not_come_back(client: httpx.Client) -> None:
    first = client.get("/v1/speakers/ada/enrollments").json()["enrollments"][0]
    client.delete(f"/v1/speakers/ada/enrollments/{first['enrollment_id']}")
    job = reembed(client)
    assert job["counts"] == {"ready": 2}
    takes = client.get("/v1/speakers/ada/enrollments").json()["enrollments"]
    assert len(takes) == 2, "one under each model"


def test_a_recording_that_is_deleted_goes_from_both_models(client: httpx.Client) -> None:
    reembed(client)
    first = client.get("/v1/speakers/ada/enrollments").json()["enrollments"][0]
    assert first["model_id"].startswith("tiny")
    assert client.delete(f"/v1/speakers/ada/enrollments/{first['enrollment_id']}").status_code == 204
    takes = client.get("/v1/speakers/ada/enrollments").json()["enrollments"]
    assert len(takes) == 2, "the other recording, under each model"
    assert coverage(client) == (1, 1, 0), "neither model has enough of ada"


def test_an_unknown_model(client: httpx.Client) -> None:
    refused = client.post("/v1/reembed-jobs", json={"model": "none"})
    assert_problem(refused, 404, "model_not_found")
    assert_problem(client.get("/v1/models/none/coverage"), 404, "model_not_found")
    assert_problem(client.post("/v1/models/none:shadow"), 404, "model_not_found")
    assert_problem(client.post("/v1/models/tiny:shadow"), 409, "model_serving")
    assert_problem(client.post("/v1/reembed-jobs", json={}), 422, "validation_error")


# ---------------------------------------------------------------- the shadow


def report(client: httpx.Client, decisions: int) -> dict[str, Any]:
    """The comparison once it has so many decisions: they arrive after the answers."""
    deadline = time.monotonic() + 30
    while True:
        found = dict(client.get("/v1/models/next/shadow").json())
        if found["decisions"] >= decisions or time.monotonic() > deadline:
            assert found["decisions"] == decisions, found
            return found
        time.sleep(0.02)


def test_a_model_on_trial_decides_unseen(client: httpx.Client) -> None:
    verified(client, "ada", 1)
    assert client.post("/v1/models/next:shadow").json()["shadowing"] is True
    assert report(client, 0)["agreement"] is None
    without = verified(client, "ada", 1)
    assert without["model"]["name"] == "tiny"
    found = report(client, 1)
    assert (found["without_template"], found["agreeing"]) == (1, 0)
    assert found["outcomes"] == {"accept/no_template": 1}
    reembed(client)
    verified(client, "ada", 1)
    verified(client, "ada", 2)
    client.post("/identify", files=audio(clip(2, 5)))
    found = report(client, 4)
    assert found["agreeing"] == 3
    assert found["outcomes"] == {
        "accept/no_template": 1,
        "accept/accept": 1,
        "reject/reject": 1,
        "match/match": 1,
    }
    assert [each["quantile"] for each in found["scores"]] == [0.05, 0.25, 0.5, 0.75, 0.95]
    assert found["differing"][0]["shadow_outcome"] == "no_template"
    assert client.post("/v1/models/next:unshadow").json()["shadowing"] is False
    verified(client, "ada", 1)
    time.sleep(0.3)
    assert report(client, 4)["shadowing"] is False
    actions = [each["action"] for each in client.get("/v1/audit", params={"limit": 1000}).json()["entries"]]
    assert [each for each in actions if "shadow" in each] == ["model.shadowed", "model.unshadowed"]


def test_feedback_tells_which_model_was_right(client: httpx.Client) -> None:
    reembed(client)
    client.post("/v1/models/next:shadow")
    right = verified(client, "ada", 1)
    wrong = verified(client, "ada", 1, threshold="1.01")
    assert (right["decision"], wrong["decision"]) == ("accept", "reject")
    for each in (right, wrong):
        told = client.post(f"/v1/decisions/{each['decision_id']}/feedback", json={"speaker_id": "ada"})
        assert told.is_success, told.text
    found = report(client, 2)
    assert found["serving_errors"] == {"wrong": 1, "known": 2, "rate": 0.5}
    assert found["shadow_errors"] == {"wrong": 1, "known": 2, "rate": 0.5}


def test_activating_the_model_on_trial_ends_the_trial(client: httpx.Client) -> None:
    client.post("/v1/models/next:shadow")
    client.post("/v1/models/next:activate")
    assert client.get("/v1/models/next/shadow").json()["shadowing"] is False

"""Thresholds by error rate, open-set search, and why a decision came out as it did, over HTTP."""

from typing import Any

import httpx
import pytest

from tests.served import assert_problem, audio, clip, enroll

POINTS = [(0.001, 0.15, 0.85), (0.01, 0.03, 0.78), (0.05, 0.01, 0.69)]
"""FMR, FNMR and threshold of the tiny model's calibration, of 10,000 impostor trials."""


def identify(client: httpx.Client, voice: int = 1, take: int = 9, **fields: str) -> httpx.Response:
    return client.post("/identify", files=audio(clip(voice, take)), data=fields)


def verify(client: httpx.Client, speaker_id: str, voice: int, **fields: str) -> httpx.Response:
    return client.post("/verify", files=audio(clip(voice, 9)), data={"speaker_id": speaker_id, **fields})


def codes(answer: dict[str, Any]) -> list[str]:
    return [remark["code"] for remark in answer["explanation"]]


def test_verify_by_rate_names_its_errors_and_refuses_what_it_cannot_promise(client: httpx.Client) -> None:
    enroll(client, "ada", 1)
    for fmr, fnmr, threshold in POINTS:
        answer = verify(client, "ada", 1, target_fmr=str(fmr)).json()
        assert answer["threshold"] == threshold
        assert (answer["operating_point"]["fmr"], answer["operating_point"]["fnmr"]) == (fmr, fnmr)
        assert answer["operating_point"]["impostor_trials"] == 10_000
        assert "fpir" not in answer["operating_point"]
    refusal = assert_problem(verify(client, "ada", 1, target_fmr="0.0009"), 422, "unsupported_rate")
    reason = refusal["reasons"][0]
    assert (reason["field"], reason["asked"]) == ("target_fmr", 0.0009)
    assert (reason["least_supported"], reason["impostor_trials"]) == (0.001, 10_000)
    assert "0.001" in refusal["detail"]


def test_identify_corrects_the_rate_for_the_size_of_the_gallery(client: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo", "dan"), start=1):
        enroll(client, name, number)
    one = identify(client, target_fpir="0.05", candidate_ids="ada").json()
    assert (one["gallery_size"], one["threshold"]) == (1, 0.69)
    four = identify(client, target_fpir="0.05").json()
    # 1 - (1 - 0.01)^4 = 0.0394 keeps to 0.05; 0.05 in each of four comparisons would not.
    assert (four["gallery_size"], four["threshold"]) == (4, 0.78)
    point = four["operating_point"]
    assert point["fmr"] == 0.01
    assert point["fpir"] == pytest.approx(1 - 0.99**4)
    assert point["fpir_interval"] == pytest.approx([1 - 0.995**4, 1 - 0.98**4])
    assert (point["gallery_size"], point["fnmr"]) == (4, 0.03)
    strict = identify(client, target_fpir="0.01").json()
    assert strict["threshold"] == 0.85


def test_identify_says_what_the_default_comes_to_in_the_gallery(client: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo"), start=1):
        enroll(client, name, number)
    answer = identify(client).json()
    assert answer["threshold"] == 0.69
    assert answer["operating_point"]["fmr"] == 0.05
    assert answer["operating_point"]["fpir"] == pytest.approx(1 - 0.95**3)


def test_a_promise_that_the_gallery_is_too_large_for_is_refused(client: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo", "dan"), start=1):
        enroll(client, name, number)
    refusal = assert_problem(identify(client, target_fpir="0.003"), 422, "unsupported_rate")
    reason = refusal["reasons"][0]
    assert (reason["field"], reason["asked"], reason["gallery_size"]) == ("target_fpir", 0.003, 4)
    assert reason["largest_gallery"] == 3  # 1 - 0.999^3 = 0.002997
    assert reason["least_supported"] == pytest.approx(1 - 0.999**4, rel=1e-3)
    assert identify(client, target_fpir=str(reason["least_supported"])).json()["threshold"] == 0.85
    assert identify(client, target_fpir="0.003", candidate_ids="ada,bruno,cleo").status_code == 200


@pytest.mark.parametrize("rate", ["0", "1", "-0.1", "nan", "many"])
def test_what_is_no_rate_is_refused(client: httpx.Client, rate: str) -> None:
    assert_problem(identify(client, target_fpir=rate), 422, "validation_error")


def test_a_threshold_and_a_rate_exclude_each_other(client: httpx.Client) -> None:
    answer = identify(client, target_fpir="0.05", threshold="0.5")
    assert_problem(answer, 422, "conflicting_parameters")


def test_an_explained_match(client: httpx.Client) -> None:
    enroll(client, "ada", 1)
    enroll(client, "bruno", 2)
    answer = identify(client).json()
    assert (answer["decision"], answer["speaker_id"]) == ("match", "ada")
    assert codes(answer)[:4] == [
        "score_reaches_threshold",
        "margin_sufficient",
        "speakers_searched",
        "threshold_of_policy",
    ]
    facts = {remark["code"]: remark["facts"] for remark in answer["explanation"]}
    first, second = answer["candidates"]
    assert facts["score_reaches_threshold"] == {"score": first["score"], "threshold": answer["threshold"]}
    assert facts["margin_sufficient"]["margin"] == answer["margin"] == first["margin"] == -second["margin"]
    assert facts["margin_sufficient"]["runner_up"] == "bruno"
    assert facts["margin_sufficient"]["min_margin"] == answer["min_margin"] == 0.03
    assert facts["speakers_searched"] == {"gallery_size": 2, "filtered": 0}
    assert facts["speech_heard"]["speech_s"] == answer["audio"]["speech_s"]
    assert facts["speech_heard"]["enrolled_speech_s"] == first["enrolled_speech_s"]
    assert all(remark["detail"].endswith(".") for remark in answer["explanation"])
    assert f"{first['score']:.2f}" in answer["explanation"][0]["detail"]


def test_explained_strangers_and_twins(client: httpx.Client) -> None:
    enroll(client, "ada", 1)
    stranger = identify(client, voice=5, threshold="0.999").json()
    assert stranger["decision"] == "unknown"
    assert codes(stranger)[:3] == ["score_below_threshold", "speakers_searched", "threshold_of_request"]
    assert "margin_sufficient" not in codes(stranger)
    enroll(client, "adas-twin", 1)
    twins = identify(client).json()
    assert (twins["decision"], twins["speaker_id"]) == ("ambiguous", None)
    assert codes(twins)[:2] == ["score_reaches_threshold", "margin_too_small"]
    assert twins["explanation"][1]["facts"]["runner_up"] == twins["candidates"][1]["speaker_id"]
    relaxed = identify(client, min_margin="0").json()
    assert (relaxed["decision"], relaxed["min_margin"]) == ("match", 0.0)


def test_an_explained_verification(client: httpx.Client) -> None:
    enroll(client, "ada", 1)
    own = verify(client, "ada", 1).json()
    assert codes(own)[:3] == ["score_reaches_threshold", "threshold_of_policy", "speech_heard"]
    other = verify(client, "ada", 3, threshold="0.99").json()
    assert codes(other)[:2] == ["score_below_threshold", "threshold_of_request"]
    asked = verify(client, "ada", 1, target_fmr="0.01").json()
    # The same recording once more.
    assert codes(asked)[:3] == ["replayed_recording", "score_reaches_threshold", "threshold_of_request_rate"]
    assert asked["explanation"][2]["facts"] == {"fmr": 0.01, "fnmr": 0.03}
    clips = client.post("/verify", files=[*audio(clip(1)), *audio(clip(1, 2), part="audio_reference")]).json()
    assert codes(clips)[0] == "score_reaches_threshold"


def test_an_empty_gallery_is_explained_and_so_is_an_empty_part_of_one(client: httpx.Client) -> None:
    empty = identify(client).json()
    assert (empty["decision"], empty["margin"], empty["gallery_size"]) == ("unknown", None, 0)
    assert codes(empty)[0] == "nobody_searched"
    assert empty["operating_point"]["fpir"] == 0.0
    enroll(client, "ada", 1)
    part = identify(client, candidate_ids="nobody").json()
    assert (part["decision"], part["gallery_size"], part["candidates"]) == ("unknown", 0, [])
    assert "named" in part["explanation"][0]["detail"]


def test_top_k_is_the_most_and_never_more_than_there_are(client: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo"), start=1):
        enroll(client, name, number)
    for top_k, shown in (("1", 1), ("2", 2), ("3", 3), ("50", 3)):
        answer = identify(client, top_k=top_k).json()
        assert [each["rank"] for each in answer["candidates"]] == list(range(1, shown + 1))
        assert answer["gallery_size"] == 3
        assert answer["margin"] is not None  # the second counts even when it is not shown
    scores = [each["score"] for each in answer["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert [each["margin"] for each in answer["candidates"]] == pytest.approx(
        [scores[0] - scores[1], scores[1] - scores[0], scores[2] - scores[0]], abs=2e-6
    )
    alone = identify(client, candidate_ids="ada").json()
    assert (alone["margin"], alone["candidates"][0]["margin"]) == (None, None)
    assert "no_runner_up" in codes(alone)


def test_groups_and_lists_filter_before_the_search(client: httpx.Client) -> None:
    enroll(client, "ada", 1, metadata='{"group": "kitchen"}')
    enroll(client, "bruno", 2, metadata='{"group": "kitchen"}')
    enroll(client, "cleo", 3, metadata='{"group": "office"}')
    kitchen = identify(client, voice=3, group="kitchen").json()
    assert kitchen["gallery_size"] == 2
    assert {each["speaker_id"] for each in kitchen["candidates"]} == {"ada", "bruno"}
    assert kitchen["operating_point"]["gallery_size"] == 2
    assert {"gallery_size": 2, "filtered": 1} in [remark["facts"] for remark in kitchen["explanation"]]
    both = identify(client, voice=3, group="kitchen", candidate_ids="bruno,cleo").json()
    assert [each["speaker_id"] for each in both["candidates"]] == ["bruno"]


def test_the_points_that_can_be_asked_for_are_those_that_are_answered(client: httpx.Client) -> None:
    for number, name in enumerate(("ada", "bruno", "cleo"), start=1):
        enroll(client, name, number)
    listed = client.get("/v1/operating-points").json()
    assert [(p["fmr"], p["fnmr"], p["threshold"]) for p in listed["verify"]["points"]] == POINTS
    assert listed["verify"]["default"]["threshold"] == verify(client, "ada", 1).json()["threshold"]
    assert listed["verify"]["least_fmr"] == 0.001
    assert listed["calibration"]["own"] is False
    found = listed["identify"]
    assert found["gallery_size"] == 3
    default = identify(client).json()
    assert found["default"]["threshold"] == default["threshold"]
    assert found["default"]["fpir"] == default["operating_point"]["fpir"]
    for point in found["points"]:
        answer = identify(client, target_fpir=str(point["fpir"] + 1e-6)).json()
        assert answer["threshold"] == point["threshold"]
        assert answer["operating_point"]["fpir"] == pytest.approx(point["fpir"])
    assert found["least_fpir"] == pytest.approx(1 - 0.999**3, rel=1e-3)
    large = client.get("/v1/operating-points", params={"gallery_size": 1000}).json()["identify"]
    assert large["points"] == []
    assert large["default"]["fpir"] == pytest.approx(1 - 0.95**1000)
    one = client.get("/v1/operating-points", params={"target_fmr": 0.02, "target_fpir": 0.04}).json()
    assert [point["threshold"] for point in one["verify"]["points"]] == [0.78]
    assert [point["threshold"] for point in one["identify"]["points"]] == [0.78]
    refused = client.get("/v1/operating-points", params={"target_fpir": 0.001, "gallery_size": 50})
    assert assert_problem(refused, 422, "unsupported_rate")["reasons"][0]["largest_gallery"] == 1

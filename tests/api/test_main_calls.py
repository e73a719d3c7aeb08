"""Enroll, verify, identify: the good answers, over HTTP, on both databases."""

import json
import math
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from tests.served import assert_problem, audio, clip, enroll, wav
from training.signals import speech_like

AUDIO_KEYS = [
    *("duration_s", "speech_s", "sample_rate_hz", "channels", "codec", "bandwidth_hz", "snr_db"),
    *("peak_dbfs", "rms_dbfs", "clipped_ratio", "quality", "warnings"),
]


def operating_point(models_dir: Path, fmr: float) -> dict[str, Any]:
    points = json.loads((models_dir / "tiny" / "calibration.json").read_text())["operating_points"]
    return dict(next(point for point in points if point["fmr"] == fmr))


def test_enroll_answers_as_designed(client: httpx.Client) -> None:
    answer = enroll(client, "ada", voice=1, takes=2)
    assert set(answer) == {
        *("speaker_id", "status", "enrollments", "enrollments_count", "speech_s", "required_speech_s"),
        *("remaining_speech_s", "progress", "consistency", "dry_run", "model", "request_id"),
    }
    assert (answer["speaker_id"], answer["status"]) == ("ada", "enrolled")
    assert answer["enrollments_count"] == 2
    assert answer["remaining_speech_s"] == 0
    assert answer["progress"] == 1
    assert 0.5 < answer["consistency"] <= 1
    assert answer["speech_s"] == pytest.approx(
        sum(each["audio"]["speech_s"] for each in answer["enrollments"]), abs=0.002
    )
    first = answer["enrollments"][0]
    assert list(first["audio"]) == AUDIO_KEYS
    assert first["accepted"] is True
    assert first["duplicate"] is False
    assert re.fullmatch(r"tiny@[0-9a-f]{12}", answer["model"]["id"])


def test_a_speaker_is_enrolled_only_with_enough_speech(client: httpx.Client) -> None:
    first = client.post("/enroll", files=audio(clip(1)), data={"speaker_id": "ada"}).json()
    assert first["status"] == "enrolling"
    assert first["consistency"] is None
    assert first["progress"] == pytest.approx(first["speech_s"] / first["required_speech_s"], abs=1e-3)
    left = first["required_speech_s"] - first["speech_s"]
    assert first["remaining_speech_s"] == pytest.approx(left, abs=0.002)
    refused = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    reason = assert_problem(refused, 409, "speaker_not_enrolled")["reasons"][0]
    assert reason["measured_s"] == pytest.approx(first["speech_s"], abs=0.002)
    assert reason["required_s"] == 4.0
    unseen = client.post("/identify", files=audio(clip(1, 5))).json()
    assert (unseen["decision"], unseen["gallery_size"], unseen["candidates"]) == ("unknown", 0, [])
    second = client.post("/enroll", files=audio(clip(1, 1)), data={"speaker_id": "ada"}).json()
    assert (second["status"], second["enrollments_count"]) == ("enrolled", 2)
    seen = client.post("/identify", files=audio(clip(1, 5))).json()
    assert (seen["decision"], seen["speaker_id"], seen["gallery_size"]) == ("match", "ada", 1)


def test_enroll_without_an_id_makes_one(client: httpx.Client) -> None:
    answer = client.post("/enroll", files=audio(clip(1), clip(1, 1))).json()
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", answer["speaker_id"])
    assert client.get(f"/v1/speakers/{answer['speaker_id']}").status_code == 200


def test_the_same_clip_again_is_a_duplicate(client: httpx.Client) -> None:
    first = enroll(client, "ada", voice=1)
    again = client.post("/enroll", files=audio(clip(1, 0), clip(1, 7)), data={"speaker_id": "ada"})
    assert again.status_code == 201
    verdicts = again.json()["enrollments"]
    assert [each["duplicate"] for each in verdicts] == [True, False]
    assert verdicts[0]["enrollment_id"] == first["enrollments"][0]["enrollment_id"]
    assert again.json()["enrollments_count"] == 3
    nothing_new = client.post("/enroll", files=audio(clip(1, 0), clip(1, 0)), data={"speaker_id": "ada"})
    assert nothing_new.status_code == 200
    assert [each["duplicate"] for each in nothing_new.json()["enrollments"]] == [True, True]
    assert nothing_new.json()["enrollments_count"] == 3


def test_on_existing(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    body = {"speaker_id": "ada", "on_existing": "fail"}
    assert_problem(client.post("/enroll", files=audio(clip(1, 4)), data=body), 409, "speaker_exists")
    replaced = enroll(client, "ada", voice=2, takes=3, on_existing="replace")
    assert replaced["enrollments_count"] == 3
    own = client.post("/verify", files=audio(clip(2, 9)), data={"speaker_id": "ada"}).json()
    old = client.post("/verify", files=audio(clip(1, 9)), data={"speaker_id": "ada"}).json()
    assert (own["decision"], old["decision"]) == ("accept", "reject")


def test_a_dry_run_stores_nothing(client: httpx.Client) -> None:
    fields = {"speaker_id": "ada", "dry_run": "true"}
    answer = client.post("/enroll", files=audio(clip(1), clip(1, 1), clip(1)), data=fields)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["enrollments_count"], body["dry_run"]) == ("enrolled", 2, True)
    assert [each["duplicate"] for each in body["enrollments"]] == [False, False, True]
    assert [each["enrollment_id"] for each in body["enrollments"]] == [None] * 3
    assert_problem(client.get("/v1/speakers/ada"), 404, "speaker_not_found")
    assert client.post("/enroll", files=audio(clip(1)), data={"dry_run": "true"}).json()["speaker_id"] is None


def test_one_bad_file_refuses_all(client: httpx.Client) -> None:
    silence = wav(np.zeros(32000, np.float32))
    files = audio(clip(1), silence, clip(1, 1), b"%PDF-1.4 not a recording")
    refused = assert_problem(
        client.post("/enroll", files=files, data={"speaker_id": "ada"}), 422, "no_speech"
    )
    assert [(reason["file"], reason["code"]) for reason in refused["reasons"]] == [
        (1, "no_speech"),
        (3, "unsupported_media_type"),
    ]
    assert refused["audio"]["duration_s"] == 2.0
    assert_problem(client.get("/v1/speakers/ada"), 404, "speaker_not_found")


def test_allow_partial_stores_the_good(client: httpx.Client) -> None:
    silence = wav(np.zeros(32000, np.float32))
    fields = {"speaker_id": "ada", "allow_partial": "true"}
    answer = client.post("/enroll", files=audio(silence, clip(1)), data=fields)
    assert answer.status_code == 201
    bad, good = answer.json()["enrollments"]
    assert (bad["accepted"], bad["code"], bad["enrollment_id"]) == (False, "no_speech", None)
    assert bad["audio"]["duration_s"] == 2.0
    assert good["accepted"]
    assert answer.json()["enrollments_count"] == 1
    nothing_good = client.post("/enroll", files=audio(silence, silence), data=fields | {"speaker_id": "bob"})
    refused = assert_problem(nothing_good, 422, "no_speech")
    assert [reason["file"] for reason in refused["reasons"]] == [0, 1]
    assert_problem(client.get("/v1/speakers/bob"), 404, "speaker_not_found")


def test_verify_answers_as_designed(client: httpx.Client, models_dir: Path) -> None:
    enroll(client, "ada", voice=1)
    answer = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        *("decision", "speaker_id", "score", "similarity", "distance", "threshold", "operating_point"),
        *("decision_id", "explanation", "warnings", "replay", "pad", "challenge"),
        *("audio", "audio_reference", "model", "request_id"),
    }
    assert (body["decision"], body["speaker_id"]) == ("accept", "ada")
    assert body["score"] == body["similarity"], "as the tiny model's calibration says"
    assert body["distance"] == pytest.approx(math.sqrt(2 - 2 * body["similarity"]), abs=1e-4)
    assert not body["pad"]["evaluated"]
    default_fmr = Settings.model_fields["target_fmr"].default
    point = operating_point(models_dir, default_fmr)
    assert body["threshold"] == point["threshold"]
    assert body["operating_point"] == {
        "source": "synthetic voices",
        "fmr": default_fmr,
        "fnmr": point["fnmr"],
        "fmr_interval": point["fmr_interval"],
        "fnmr_interval": point["fnmr_interval"],
        "target_trials": 1000,
        "impostor_trials": 10000,
    }
    stranger = client.post("/verify", files=audio(clip(2, 5)), data={"speaker_id": "ada"}).json()
    assert stranger["decision"] == "reject"
    assert stranger["score"] < stranger["threshold"] <= body["score"]


def test_the_threshold_of_the_caller_has_no_operating_point(client: httpx.Client, models_dir: Path) -> None:
    enroll(client, "ada", voice=1)
    probe = audio(clip(1, 5))
    lax = client.post(
        "/verify", files=audio(clip(2, 5)), data={"speaker_id": "ada", "threshold": "-1"}
    ).json()
    assert (lax["decision"], lax["threshold"], lax["operating_point"]) == ("accept", -1.0, None)
    strict = client.post("/verify", files=probe, data={"speaker_id": "ada", "target_fmr": "0.001"}).json()
    assert (strict["threshold"], strict["operating_point"]["fmr"]) == (
        operating_point(models_dir, 0.001)["threshold"],
        0.001,
    )
    both = {"speaker_id": "ada", "target_fmr": "0.001", "threshold": "0.5"}
    assert_problem(client.post("/verify", files=probe, data=both), 422, "conflicting_parameters")
    unsupported = client.post("/verify", files=probe, data={"speaker_id": "ada", "target_fmr": "0.0001"})
    assert assert_problem(unsupported, 422, "unsupported_rate")["reasons"][0]["field"] == "target_fmr"


def test_two_clips_are_compared_without_a_speaker(client: httpx.Client) -> None:
    files = [*audio(clip(1, 5)), *audio(clip(1, 6), part="audio_reference")]
    same = client.post("/verify", files=files).json()
    assert (same["decision"], same["speaker_id"]) == ("accept", None)
    assert list(same["audio_reference"]) == AUDIO_KEYS
    itself = [*audio(clip(1, 5)), *audio(clip(1, 5), part="audio_reference")]
    alike = client.post("/verify", files=itself).json()
    assert (alike["similarity"], alike["distance"]) == pytest.approx((1.0, 0.0), abs=1e-5)
    assert same["distance"] == pytest.approx(math.sqrt(2 - 2 * same["similarity"]), abs=1e-4)
    assert same["distance"] > 0.001
    both = client.post("/verify", files=files, data={"speaker_id": "ada"})
    assert_problem(both, 422, "conflicting_parameters")
    silent = [*audio(clip(1)), *audio(wav(np.zeros(32000, np.float32)), part="audio_reference")]
    refused = assert_problem(client.post("/verify", files=silent), 422, "no_speech")
    assert refused["reasons"][0]["field"] == "audio_reference"
    assert client.get("/v1/speakers").json()["speakers"] == []


def test_identify_answers_as_designed(client: httpx.Client) -> None:
    for number in range(1, 5):
        enroll(client, f"voice-{number}", voice=number)
    answer = client.post("/identify", files=audio(clip(3, 8)), data={"top_k": "3"})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        *("decision", "speaker_id", "candidates", "margin", "threshold", "gallery_size"),
        *("decision_id", "explanation", "warnings", "replay", "pad"),
        *("min_margin", "operating_point", "audio", "model", "request_id"),
    }
    assert (body["decision"], body["speaker_id"], body["gallery_size"]) == ("match", "voice-3", 4)
    assert [each["rank"] for each in body["candidates"]] == [1, 2, 3]
    scores = [each["score"] for each in body["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert body["margin"] == pytest.approx(scores[0] - scores[1], abs=2e-6)
    one = client.post("/identify", files=audio(clip(3, 8)), data={"top_k": "1"}).json()
    assert len(one["candidates"]) == 1
    assert one["margin"] == body["margin"]


def test_an_empty_gallery_and_a_stranger_are_unknown(client: httpx.Client) -> None:
    empty = client.post("/identify", files=audio(clip(3))).json()
    assert (empty["decision"], empty["speaker_id"], empty["margin"]) == ("unknown", None, None)
    enroll(client, "ada", voice=1)
    stranger = client.post("/identify", files=audio(clip(2, 8)), data={"threshold": "0.999"}).json()
    assert (stranger["decision"], stranger["speaker_id"]) == ("unknown", None)
    assert [each["speaker_id"] for each in stranger["candidates"]] == ["ada"]
    assert stranger["operating_point"] is None


def test_a_close_pair_is_ambiguous(client: httpx.Client) -> None:
    enroll(client, "twin-a", voice=1)
    enroll(client, "twin-b", voice=1)
    body = client.post("/identify", files=audio(clip(1, 8))).json()
    assert (body["decision"], body["speaker_id"]) == ("ambiguous", None)
    assert body["margin"] == pytest.approx(0, abs=1e-6)
    assert len(body["candidates"]) == 2
    sure = client.post("/identify", files=audio(clip(1, 8)), data={"min_margin": "0"}).json()
    assert sure["decision"] == "match"


def test_candidate_ids_and_group_narrow_the_search_before_it(client: httpx.Client) -> None:
    for number in range(1, 5):
        group = "upstairs" if number < 3 else "downstairs"
        enroll(client, f"voice-{number}", voice=number, metadata=f'{{"group": "{group}"}}')
    ask = {"top_k": "1", "candidate_ids": "voice-1, voice-2,nobody"}
    named = client.post("/identify", files=audio(clip(3, 8)), data=ask).json()
    assert named["gallery_size"] == 2
    assert named["candidates"][0]["speaker_id"] in {"voice-1", "voice-2"}
    repeated = client.post(
        "/identify",
        params={"candidate_ids": ["voice-1", "voice-3"]},
        content=clip(3, 8),
        headers={"content-type": "audio/wav"},
    ).json()
    assert (repeated["speaker_id"], repeated["gallery_size"]) == ("voice-3", 2)
    grouped = client.post("/identify", files=audio(clip(3, 8)), data={"group": "downstairs"}).json()
    assert (grouped["speaker_id"], grouped["gallery_size"]) == ("voice-3", 2)
    nobody = client.post("/identify", files=audio(clip(3, 8)), data={"candidate_ids": "nobody"}).json()
    assert (nobody["decision"], nobody["gallery_size"]) == ("unknown", 0)
    for empty in ("", ",", "voice-1,,voice-2"):
        refused = client.post("/identify", files=audio(clip(3, 8)), data={"candidate_ids": empty})
        assert assert_problem(refused, 422, "validation_error")["reasons"][0]["field"] == "candidate_ids"


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_main_calls_stand_under_v1_too(client: httpx.Client, prefix: str) -> None:
    recordings = audio(clip(1), clip(1, 1))
    assert client.post(f"{prefix}/enroll", files=recordings, data={"speaker_id": "ada"}).status_code == 201
    probe = audio(clip(1, 5))
    assert client.post(f"{prefix}/verify", files=probe, data={"speaker_id": "ada"}).status_code == 200
    assert client.post(f"{prefix}/identify", files=probe).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["audio/wav", "audio/mpeg", "application/octet-stream", "text/plain", ""]
)
def test_a_raw_body_is_what_its_bytes_say(client: httpx.Client, content_type: str) -> None:
    fields = {"speaker_id": "ada", "display_name": "Ada", "metadata": '{"group": "x"}'}
    headers = {"content-type": content_type} if content_type else {}
    answer = client.post("/enroll", params=fields, content=clip(1), headers=headers)
    assert answer.status_code == 201
    speaker = client.get("/v1/speakers/ada").json()
    assert (speaker["display_name"], speaker["metadata"]) == ("Ada", {"group": "x"})


def test_a_part_without_a_file_name_is_a_recording(client: httpx.Client) -> None:
    boundary = b"b0undary"
    head = b'--%s\r\nContent-Disposition: form-data; name="audio"\r\n\r\n' % boundary
    body = head + clip(1) + b"\r\n--%s--\r\n" % boundary
    headers = {"content-type": "multipart/form-data; boundary=b0undary"}
    answer = client.post("/v1/audio/quality", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["accepted"] is True


def test_stereo_and_other_rates_are_reported(client: httpx.Client) -> None:
    voice = np.repeat(speech_like(3.0, speaker=1), 3)
    stereo = wav(np.stack([voice, voice], axis=1), rate=48000)
    report = client.post("/v1/audio/quality", files=audio(stereo)).json()["audio"]
    assert (report["channels"], report["sample_rate_hz"], report["codec"]) == (2, 48000, "pcm_s16le")
    flac = wav(speech_like(3.0, speaker=1), kind="FLAC")
    named_wrongly = [("audio", ("voice.mp3", flac, "audio/mpeg"))]
    report = client.post("/v1/audio/quality", files=named_wrongly).json()["audio"]
    assert report["codec"] == "flac"


def test_quality_tells_what_the_main_calls_would_say(client: httpx.Client) -> None:
    body = client.post("/v1/audio/quality", files=audio(wav(np.zeros(32000, np.float32)))).json()
    assert body["accepted"] is False
    assert [reason["code"] for reason in body["reasons"]] == ["no_speech"]
    assert body["audio"]["speech_s"] == 0
    undecodable = client.post("/v1/audio/quality", files=audio(b"%PDF-1.4 nothing"))
    assert_problem(undecodable, 415, "unsupported_media_type")


def test_consent_and_metadata_are_kept(client: httpx.Client) -> None:
    enroll(
        client, "ada", voice=1, consent='{"basis": "contract"}', metadata='{"n": 1, "deep": {"a": [null]}}'
    )
    speaker = client.get("/v1/speakers/ada").json()
    assert speaker["consent"] == {"basis": "contract"}
    assert speaker["metadata"] == {"n": 1, "deep": {"a": [None]}}
    enroll(client, "bob", voice=2, consent="form 17, drawer 3")
    assert client.get("/v1/speakers/bob").json()["consent"] == {"reference": "form 17, drawer 3"}

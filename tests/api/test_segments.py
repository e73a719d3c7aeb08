"""POST /v1/segments: who speaks when."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.arrays import Waveform
from tests.served import assert_problem, audio, clip, enroll, serving, settings_for, wav
from training.diarisation import Spoken, errors
from training.signals import speech_like

ADA, BOB, CLEO = 1, 2, 3


def meeting(*voices: int, seconds: float = 4.0) -> tuple[bytes, list[Spoken]]:
    """A recording in which these synthetic voices take turns, and who speaks when."""
    pieces: list[Waveform] = []
    truth, length = [], 0
    for take, voice in enumerate(voices):
        speech = speech_like(seconds, speaker=voice, take=10 + take)
        truth.append(Spoken(length / 16_000, (length + len(speech)) / 16_000, str(voice)))
        pieces += [speech, np.random.default_rng(take).normal(0, 4e-4, 8_000).astype(np.float32)]
        length += len(speech) + 8_000
    return wav(np.concatenate(pieces)), truth


def found(answer: dict[str, Any]) -> list[Spoken]:
    return [Spoken(each["start_s"], each["end_s"], each["label"]) for each in answer["segments"]]


def post(client: httpx.Client, recording: bytes, **fields: str) -> httpx.Response:
    return client.post("/v1/segments", files=audio(recording), data=fields)


def test_the_enrolled_are_named_and_a_stranger_is_kept_apart(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    enroll(client, "bob", BOB)
    recording, truth = meeting(ADA, CLEO, BOB, ADA, CLEO)
    answer = post(client, recording)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    names = {str(ADA): "ada", str(BOB): "bob", str(CLEO): "unknown-1"}
    real = [turn._replace(voice=names[turn.voice]) for turn in truth]
    assert errors(real, found(body), named=True).rate < 0.1
    assert [each["label"] for each in body["speakers"]] == ["ada", "unknown-1", "bob"]
    for each in body["speakers"]:
        assert (each["speaker_id"] is None) == (each["decision"] != "match")
        assert each["segments_count"] == sum(s["label"] == each["label"] for s in body["segments"])
    starts = [each["start_s"] for each in body["segments"]]
    assert starts == sorted(starts)
    assert all(each["end_s"] <= later for each, later in zip(body["segments"], starts[1:], strict=False))
    assert all((each["score"] is None) == (each["speaker_id"] is None) for each in body["segments"])
    assert body["gallery_size"] == 2
    assert sum(each["speech_s"] for each in body["speakers"]) == pytest.approx(body["speech_s"], rel=0.1)


def test_two_strangers_are_two(client: httpx.Client) -> None:
    recording, truth = meeting(ADA, BOB, ADA, BOB)
    body = post(client, recording).json()
    assert [each["label"] for each in body["speakers"]] == ["unknown-1", "unknown-2"]
    assert all(each["score"] is None and each["similarity"] is None for each in body["speakers"])
    assert errors(truth, found(body)).rate < 0.1
    assert body["gallery_size"] == 0


def test_the_gallery_can_be_narrowed_and_the_voices_be_limited(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    enroll(client, "bob", BOB)
    recording, _ = meeting(ADA, BOB)
    only = post(client, recording, candidate_ids="bob").json()
    assert {each["label"] for each in only["speakers"]} == {"unknown-1", "bob"}
    one = post(client, recording, max_speakers="1").json()
    assert len(one["speakers"]) == 1
    never = post(client, recording, threshold="1.5").json()
    assert never["operating_point"] is None
    assert all(each["speaker_id"] is None for each in never["segments"])
    whole = post(client, recording, min_segment_s="60").json()
    assert whole["segments"] == []
    assert len(whole["speakers"]) == 2


def test_a_recording_longer_than_others_may_be_is_taken_and_the_longest_is_not(
    models_dir: Path, sqlite_url: str
) -> None:
    settings = settings_for(models_dir, sqlite_url, max_duration_s=10.0, max_segments_duration_s=30.0)
    with serving(settings) as client:
        recording, _ = meeting(ADA, BOB, ADA)
        assert_problem(client.post("/identify", files=audio(recording)), 422, "audio_too_long")
        assert post(client, recording).status_code == 200
        longest, _ = meeting(*[ADA] * 8)
        assert_problem(post(client, longest), 422, "audio_too_long")


def test_what_cannot_be_used_is_refused(client: httpx.Client) -> None:
    assert_problem(client.post("/v1/segments"), 422, "audio_missing")
    assert_problem(post(client, b"no sound"), 415, "unsupported_media_type")
    assert_problem(post(client, wav(np.zeros(48_000, np.float32))), 422, "no_speech")
    assert_problem(post(client, clip(ADA), speaker_id="ada"), 422, "validation_error")
    assert_problem(post(client, clip(ADA), max_speakers="0"), 422, "validation_error")
    assert_problem(post(client, clip(ADA), candidate_ids="a b"), 422, "invalid_speaker_id")
    both = post(client, clip(ADA), threshold="1", target_fpir="0.1")
    assert_problem(both, 422, "conflicting_parameters")


def test_a_rate_that_cannot_be_promised_is_refused_before_anything_is_heard(client: httpx.Client) -> None:
    enroll(client, "ada", ADA)
    assert_problem(post(client, b"no sound", target_fpir="0.000001"), 422, "unsupported_rate")
    recording, _ = meeting(ADA, BOB)
    body = post(client, recording, target_fpir="0.05").json()
    assert body["operating_point"]["fpir"] <= 0.05
    assert body["operating_point"]["gallery_size"] == 1


def test_each_voice_is_written_down_where_decisions_are(models_dir: Path, sqlite_url: str) -> None:
    with serving(settings_for(models_dir, sqlite_url, audit_decisions=True)) as client:
        enroll(client, "ada", ADA)
        recording, _ = meeting(ADA, BOB, ADA)
        assert post(client, recording).status_code == 200
        written = client.get("/v1/audit").json()["entries"]
        found = [each["facts"] for each in written if each["action"] == "voice.identified"]
        assert sorted(each["decision"] for each in found) == ["match", "unknown"]


def test_the_deleted_are_strangers_at_once(client: httpx.Client) -> None:
    enroll(client, "zenobia", ADA)
    recording, _ = meeting(ADA, BOB)
    assert "zenobia" in json.dumps(post(client, recording).json())
    assert client.delete("/v1/speakers/zenobia").status_code == 204
    assert "zenobia" not in json.dumps(post(client, recording).json())

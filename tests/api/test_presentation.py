"""Whoever's voice it is, how did the recording come: copies of earlier ones, and a detector as a plug-in."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import scipy.signal
from fastapi import FastAPI
from sqlalchemy import text
from websockets.sync.client import connect

from app.errors import DetectorInvalid
from app.main import create_app
from app.service.detection import load_detection
from app.settings import Settings
from tests.codecs import encode
from tests.served import assert_problem, audio, clip, enroll, serving, serving_app, settings_for, wav
from training.signals import speech_like


def rules(client: httpx.Client, **changes: object) -> None:
    answer = client.patch("/v1/policy", json=changes)
    assert answer.status_code == 200, answer.text


def verify(client: httpx.Client, recording: bytes, speaker_id: str = "ada", **fields: str) -> dict[str, Any]:
    answer = client.post("/verify", files=audio(recording), data={"speaker_id": speaker_id, **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def recoded(voice: int, take: int, kind: str = "mp3") -> bytes:
    """A recording in another coding, and quieter."""
    return encode(speech_like(3.0, speaker=voice, take=take) * np.float32(0.4), kind)


def audited(client: httpx.Client, action: str) -> list[dict[str, Any]]:
    entries = client.get("/v1/audit", params={"limit": 1000}).json()["entries"]
    return [entry for entry in entries if entry["action"] == action]


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus"])
def test_a_copy_of_an_enrolled_recording_is_told_and_accepted_by_default(
    client: httpx.Client, kind: str
) -> None:
    enrolled = enroll(client, "zenobia", voice=1)
    sent = clip(1, 1) if kind == "wav" else recoded(1, 1, kind)
    before = len(audited(client, "voice.replay_suspected"))
    found = verify(client, sent, "zenobia")
    assert found["decision"] == "accept"
    assert found["warnings"] == ["replayed_recording"]
    assert found["replay"].pop("seconds") > 1.5
    assert found["replay"].pop("similarity") == (1.0 if kind == "wav" else pytest.approx(0.75, abs=0.25))
    assert found["replay"] == {
        "checked": True,
        "suspected": True,
        "of": "enrollment",
        "enrollment_id": enrolled["enrollments"][1]["enrollment_id"],
    }
    assert found["explanation"][0]["code"] == "replayed_recording"
    (entry,) = audited(client, "voice.replay_suspected")[before:]
    assert entry["facts"]["of"] == "enrollment"
    assert "zenobia" not in json.dumps(entry)


def test_another_recording_is_no_copy(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    found = verify(client, clip(1, 5))
    assert (found["decision"], found["warnings"]) == ("accept", [])
    assert found["replay"]["checked"]
    assert not found["replay"]["suspected"]
    assert found["replay"]["similarity"] < 0.4
    assert (found["replay"]["of"], found["replay"]["enrollment_id"]) == (None, None)


def test_where_the_policy_refuses_copies_they_are_rejected_and_lock(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    rules(client, replayed="refuse", lockout_after=2)
    for _ in range(2):
        found = verify(client, recoded(1, 0))
        assert found["decision"] == "reject"
        assert found["score"] >= found["threshold"]
        assert found["warnings"] == ["replayed_recording"]
    answer = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert_problem(answer, 423, "verification_locked")


def test_where_the_policy_allows_copies_nothing_is_asked_or_remembered(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    rules(client, replayed="allow")
    for _ in range(2):
        found = verify(client, clip(1, 5))
        assert found["replay"] == dict.fromkeys(found["replay"]) | {"checked": False, "suspected": False}
    rules(client, replayed="warn")
    assert verify(client, clip(1, 5))["warnings"] == []


def test_what_was_accepted_once_is_a_copy_the_second_time(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    assert verify(client, clip(1, 5))["warnings"] == []
    for again in (clip(1, 5), recoded(1, 5)):
        found = verify(client, again)
        assert found["warnings"] == ["replayed_recording"]
        assert (found["replay"]["of"], found["replay"]["enrollment_id"]) == ("verification", None)


def test_what_was_rejected_is_not_remembered(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    for _ in range(2):
        found = verify(client, clip(2, 5))
        assert (found["decision"], found["warnings"]) == ("reject", [])


def test_only_the_last_accepted_recordings_are_remembered(models_dir: Path, database_url: str) -> None:
    with serving(settings_for(models_dir, database_url, replay_memory=2)) as client:
        enroll(client, "ada", voice=1)
        for take in (5, 6, 7):
            assert verify(client, clip(1, take))["decision"] == "accept"
        suspected = [verify(client, recoded(1, take))["replay"]["suspected"] for take in (7, 6, 5)]
        assert suspected == [True, True, False]


def test_nothing_is_remembered_where_the_memory_is_none(models_dir: Path, database_url: str) -> None:
    app = create_app(settings_for(models_dir, database_url, replay_memory=0))
    with serving_app(app) as client:
        enroll(client, "ada", voice=1)
        for _ in range(2):
            assert verify(client, clip(1, 5))["warnings"] == []
        assert heard_clips(app) == 0


def test_what_was_heard_goes_with_the_voice(models_dir: Path, database_url: str) -> None:
    app = create_app(settings_for(models_dir, database_url))
    with serving_app(app) as client:
        for end in (
            lambda: client.post("/v1/speakers/ada:reset"),
            lambda: client.post(
                "/enroll",
                files=audio(clip(1, 0), clip(1, 1)),
                data={"speaker_id": "ada", "on_existing": "replace"},
            ),
            lambda: client.delete("/v1/speakers/ada"),
        ):
            client.delete("/v1/speakers/ada")
            enroll(client, "ada", voice=1)
            verify(client, clip(1, 5))
            assert heard_clips(app) == 1
            assert end().is_success
            assert heard_clips(app) == 0


def heard_clips(app: FastAPI) -> int:
    with app.state.parts.engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM heard_clips")) or 0)


def test_a_merge_takes_what_was_heard_along(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    enroll(client, "twin", voice=1, takes=4)
    verify(client, clip(1, 5), "twin")
    merged = client.post("/v1/speakers/ada:merge", json={"other_speaker_id": "twin"})
    assert merged.status_code == 200, merged.text
    assert verify(client, recoded(1, 3))["replay"]["of"] == "enrollment"
    assert verify(client, recoded(1, 5))["replay"]["of"] == "verification"


def test_a_recording_taken_back_is_no_longer_known(client: httpx.Client) -> None:
    enrolled = enroll(client, "ada", voice=1, takes=3)
    first = enrolled["enrollments"][0]["enrollment_id"]
    assert client.delete(f"/v1/speakers/ada/enrollments/{first}").status_code == 204
    assert verify(client, clip(1, 0))["warnings"] == []


def test_two_recordings_by_themselves_are_not_asked_about(client: httpx.Client) -> None:
    files = [*audio(clip(1, 0)), *audio(clip(1, 0), part="audio_reference")]
    found = client.post("/verify", files=files).json()
    assert (found["replay"]["checked"], found["warnings"]) == (False, [])


def test_an_identification_names_nobody_by_a_copy_where_the_policy_refuses_it(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    enroll(client, "bob", voice=2)
    found = client.post("/identify", files=audio(recoded(1, 0))).json()
    assert (found["decision"], found["speaker_id"]) == ("match", "ada")
    assert found["warnings"] == ["replayed_recording"]
    rules(client, replayed="refuse")
    refused = client.post("/identify", files=audio(recoded(1, 0))).json()
    assert (refused["decision"], refused["speaker_id"]) == ("unknown", None)
    assert refused["candidates"] == found["candidates"]
    assert client.post("/identify", files=audio(clip(1, 6))).json()["decision"] == "match"


def test_a_copy_in_a_live_verification_is_told(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    rules(client, replayed="refuse")
    address = str(client.base_url).replace("http", "ws").rstrip("/") + "/v1/verify/live"
    samples = (speech_like(3.0, speaker=1, take=0) * 30_000).astype("<i2").tobytes()
    with connect(address, open_timeout=20) as socket:
        socket.send(json.dumps({"speaker_id": "ada", "sample_rate_hz": 16_000, "min_speech_s": 1.5}))
        socket.send(samples)
        socket.send(json.dumps({"type": "end"}))
        frames = [json.loads(frame) for frame in socket]
    assert (frames[-1]["final"], frames[-1]["decision"]) == (True, "reject")
    assert frames[-1]["warnings"] == ["replayed_recording"]
    assert frames[-1]["replay"]["of"] == "enrollment"


# ---------------------------------------------------------------- the detector's plug-in

NARROW = '''
"""Takes a recording without anything above 4 kHz for one that was played over a telephone."""
import numpy as np

class Narrow:
    name, version, threshold = "narrow", "1.2", 0.5

    def score(self, waveform):
        power = np.abs(np.fft.rfft(waveform)) ** 2
        high = power[len(power) // 2 :].sum() / power.sum()
        return float(np.clip(1.0 - high * 1e4, 0.0, 1.0))

class Raising(Narrow):
    def score(self, waveform):
        if len(waveform) == 16_000:
            return 0.0
        raise RuntimeError("it is broken")

class Slow(Narrow):
    def score(self, waveform):
        if len(waveform) != 16_000:
            import time
            time.sleep(2.0)
        return 0.0

class Boasting(Narrow):
    def score(self, waveform):
        return 0.0 if len(waveform) == 16_000 else 7.0

class AlwaysRaising(Narrow):
    def score(self, waveform):
        raise ValueError("no model file")

class Nameless:
    version, threshold = "1", 0.5
    def score(self, waveform):
        return 0.0

class Beyond(Narrow):
    threshold = 1.5

def failing():
    raise OSError("the weights are not there")
'''
ENTRIES = """[timbre.pad]
narrow = detectors_of_a_test:Narrow
raising = detectors_of_a_test:Raising
slow = detectors_of_a_test:Slow
boasting = detectors_of_a_test:Boasting
always-raising = detectors_of_a_test:AlwaysRaising
nameless = detectors_of_a_test:Nameless
beyond = detectors_of_a_test:Beyond
failing = detectors_of_a_test:failing
gone = a_module_that_is_not_there:Detector
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with detectors, installed beside the service."""
    info = tmp_path / "detectors-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: detectors\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "detectors_of_a_test.py").write_text(NARROW)
    monkeypatch.syspath_prepend(tmp_path)


@contextmanager
def examined(models_dir: Path, database_url: str, detector: str, **changes: Any) -> Iterator[httpx.Client]:
    settings = settings_for(models_dir, database_url, pad_detector=detector, replayed="allow", **changes)
    with serving(settings) as client:
        yield client


def muffled(voice: int, take: int) -> bytes:
    """A recording as a telephone lets it through."""
    filters = scipy.signal.butter(12, 3_400, fs=16_000, output="sos")
    heard = scipy.signal.sosfiltfilt(filters, speech_like(3.0, speaker=voice, take=take))
    return wav(heard.astype(np.float32), subtype="FLOAT")


@pytest.mark.usefixtures("plugins")
def test_a_detector_says_what_it_thinks_of_a_recording(models_dir: Path, database_url: str) -> None:
    with examined(models_dir, database_url, "narrow") as client:
        enroll(client, "ada", voice=1)
        living, played = verify(client, clip(1, 5)), verify(client, muffled(1, 5))
        named = {"evaluated": True, "detector": "narrow", "version": "1.2", "threshold": 0.5}
        assert living["pad"].pop("score") < 0.5
        assert living["pad"] == {**named, "decision": "bona_fide"}
        assert living["warnings"] == []
        assert played["pad"].pop("score") >= 0.5
        assert played["pad"] == {**named, "decision": "attack"}
        assert played["warnings"] == ["presentation_attack_suspected"]
        assert played["explanation"][0]["code"] == "presentation_attack_suspected"
        passed = played["score"] >= played["threshold"]
        assert played["decision"] == ("accept" if passed else "reject"), "by default it is told, no more"
        rules(client, spoofed="refuse")
        assert verify(client, muffled(1, 5), threshold="-1")["decision"] == "reject"
        assert verify(client, clip(1, 5))["decision"] == "accept"
        found = client.post("/identify", files=audio(muffled(1, 5)), data={"threshold": "-1"}).json()
        assert (found["decision"], found["pad"]["decision"]) == ("unknown", "attack")
        rules(client, spoofed="allow")
        assert not verify(client, muffled(1, 5))["pad"]["evaluated"]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("detector", ["raising", "slow", "boasting"])
def test_a_detector_that_fails_is_told_or_answers_503(
    models_dir: Path, sqlite_url: str, detector: str
) -> None:
    with examined(models_dir, sqlite_url, detector, inference_timeout_s=1.0) as client:
        enroll(client, "ada", voice=1)
        found = verify(client, clip(1, 5))
        assert (found["decision"], found["warnings"]) == ("accept", ["pad_failed"])
        assert not found["pad"]["evaluated"]
        rules(client, spoofed="refuse")
        answer = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
        assert_problem(answer, 503, "pad_unavailable")
        assert "it is broken" not in answer.text


def test_where_nothing_can_be_examined_a_policy_that_refuses_answers_503(client: httpx.Client) -> None:
    enroll(client, "ada", voice=1)
    rules(client, spoofed="refuse")
    answer = client.post("/verify", files=audio(clip(1, 5)), data={"speaker_id": "ada"})
    assert_problem(answer, 503, "pad_unavailable")
    rules(client, spoofed="warn")
    found = verify(client, clip(1, 5))
    assert found["pad"] == dict.fromkeys(found["pad"]) | {"evaluated": False}


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("detector", "why"),
    [
        ("none-of-that-name", "no installed package brings it; there are: .*narrow"),
        ("gone", "ModuleNotFoundError"),
        ("failing", "the weights are not there"),
        ("nameless", "lacks name"),
        ("beyond", "threshold a number between 0 and 1"),
        ("always-raising", "asked about noise, it failed with ValueError"),
    ],
)
def test_a_broken_detector_refuses_the_start_in_one_line(detector: str, why: str) -> None:
    settings = Settings(_env_file=None, pad_detector=detector)
    with pytest.raises(DetectorInvalid, match=why) as refusal:
        load_detection(settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("plugins")
def test_the_service_does_not_start_with_a_broken_detector(models_dir: Path, sqlite_url: str) -> None:
    app = create_app(settings_for(models_dir, sqlite_url, pad_detector="failing"))

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pass

    with pytest.raises(DetectorInvalid):
        asyncio.run(start())

"""The score of an answer is the model's log-likelihood ratio of what that answer measured."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from app.embedder import pin_calibration
from app.scoring import ScoreModel
from tests.served import audio, clip, enroll, serving, settings_for

SCORES = ScoreModel(
    offset=-6.0,
    similarity=10.0,
    speech=0.5,
    enrolled=1.5,
    similarity_x_speech=2.0,
    similarity_x_enrolled=-1.0,
    speech_range_s=(0.5, 30.0),
    centre=math.log(4.0),
)


@pytest.fixture(scope="module")
def scored(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server whose scores are no cosines: durations count."""
    folder = tmp_path_factory.mktemp("scored") / "tiny"
    shutil.copytree(models_dir / "tiny", folder)
    path = folder / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"score": asdict(SCORES)}))
    pin_calibration(folder)
    database = f"sqlite:///{folder.parent}/timbre.db"
    with serving(settings_for(folder.parent, database, min_margin=0.5)) as client:
        enroll(client, "ada", voice=1, takes=2)
        enroll(client, "grace", voice=2, takes=4)
        yield client


def test_a_claim_is_scored_with_all_the_speech_that_the_speaker_enrolled(scored: httpx.Client) -> None:
    enrolled_s = scored.get("/v1/speakers/grace").json()["speech_s"]
    body = scored.post("/verify", files=audio(clip(2, 9)), data={"speaker_id": "grace"}).json()
    expected = SCORES.llr(body["similarity"], enrolled_s, body["audio"]["speech_s"])
    assert enrolled_s > 2 * body["audio"]["speech_s"]
    assert body["score"] == pytest.approx(float(expected), abs=0.01)
    assert abs(body["score"] - body["similarity"]) > 1.0


def test_the_score_decides_and_not_the_similarity(scored: httpx.Client) -> None:
    probe = audio(clip(2, 9))
    score = scored.post("/verify", files=probe, data={"speaker_id": "grace"}).json()["score"]
    for threshold, decision in ((score - 0.01, "accept"), (score + 0.01, "reject")):
        asked = {"speaker_id": "grace", "threshold": str(threshold)}
        body = scored.post("/verify", files=probe, data=asked).json()
        assert (body["decision"], body["threshold"]) == (decision, threshold)
        found = scored.post("/identify", files=probe, data={"threshold": str(threshold)}).json()
        assert found["decision"] == ("match" if decision == "accept" else "unknown")


def test_two_clips_are_scored_with_the_speech_of_the_reference(scored: httpx.Client) -> None:
    short, long = clip(1, 5, seconds=1.5), clip(1, 6, seconds=9.0)
    there = scored.post("/verify", files=[*audio(short), *audio(long, part="audio_reference")]).json()
    back = scored.post("/verify", files=[*audio(long), *audio(short, part="audio_reference")]).json()
    assert there["similarity"] == pytest.approx(back["similarity"], abs=1e-5)
    for body in (there, back):
        seconds = (body["audio_reference"]["speech_s"], body["audio"]["speech_s"])
        assert body["score"] == pytest.approx(float(SCORES.llr(body["similarity"], *seconds)), abs=0.01)
    assert abs(there["score"] - back["score"]) > 0.5, "reference and recording do not play the same part"


def test_each_candidate_is_scored_with_its_own_enrollment(scored: httpx.Client) -> None:
    body = scored.post("/identify", files=audio(clip(1, 8))).json()
    speech_s = body["audio"]["speech_s"]
    assert [each["speaker_id"] for each in body["candidates"]] == ["ada", "grace"]
    for candidate in body["candidates"]:
        enrolled_s = scored.get(f"/v1/speakers/{candidate['speaker_id']}").json()["speech_s"]
        expected = float(SCORES.llr(candidate["similarity"], enrolled_s, speech_s))
        assert candidate["score"] == pytest.approx(expected, abs=0.01)
    first, second = (each["score"] for each in body["candidates"])
    assert body["margin"] == pytest.approx(first - second, abs=2e-6)

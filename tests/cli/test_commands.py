"""What a script relies on: answers, exit codes, words on the right stream."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cli import commands, tables
from app.cli.process import free_port
from tests.cli.conftest import Timbre
from tests.served import clip, wav
from training.signals import speech_like


@pytest.fixture
def takes(tmp_path: Path) -> dict[str, Path]:
    """Recordings of two synthetic voices as files."""
    files = {}
    for name, voice, take in (("ada-1", 1, 0), ("ada-2", 1, 1), ("ada-3", 1, 2), ("bob-1", 2, 0)):
        files[name] = tmp_path / f"{name}.wav"
        files[name].write_bytes(clip(voice, take))
    return files


def test_enroll_then_verify_identify_and_delete(timbre: Timbre, takes: dict[str, Path]) -> None:
    done = timbre("enroll", "ada", takes["ada-1"], takes["ada-2"], "--name", "Ada L.")
    assert done.code == 0, done.err
    assert "ada enrolled" in done.out

    own = timbre("verify", "ada", takes["ada-3"])
    assert (own.code, "accept" in own.out) == (0, True)
    assert all(name in own.out for name in ("score", "threshold", "similarity"))
    assert "FMR 5.00% [2.50%, 10.00%], FNMR 1.00% [0.50%, 2.00%] (synthetic voices)" in own.out
    other = timbre("verify", "ada", takes["bob-1"])
    assert (other.code, "reject" in other.out) == (1, True)

    known = timbre("identify", takes["ada-3"])
    assert (known.code, "match" in known.out) == (0, True)
    stranger = timbre("identify", takes["bob-1"])
    assert (stranger.code, "unknown" in stranger.out) == (1, True)

    listed = timbre("speakers", "list")
    assert "Ada L." in listed.out
    assert "Ada L." in timbre("speakers", "show", "ada").out
    assert timbre("speakers", "delete", "ada").code == 0
    assert json.loads(timbre("speakers", "list", "--json").out) == {"speakers": []}


def test_json_is_the_answer_of_the_service_and_nothing_else(timbre: Timbre, takes: dict[str, Path]) -> None:
    enrolled = json.loads(timbre("enroll", "ada", takes["ada-1"], takes["ada-2"], "--json").out)
    assert enrolled["enrollments_count"] == 2
    verified = timbre("verify", "ada", takes["bob-1"], "--json")
    assert verified.code == 1
    assert json.loads(verified.out)["decision"] == "reject"
    assert json.loads(timbre("models", "--json").out)["models"][0]["name"] == "tiny"


def test_a_threshold_of_ones_own_decides(timbre: Timbre, takes: dict[str, Path]) -> None:
    timbre("enroll", "ada", takes["ada-1"], takes["ada-2"])
    assert timbre("verify", "ada", takes["bob-1"], "--threshold", "-1").code == 0
    assert timbre("identify", takes["ada-3"], "--threshold", "1").code == 1


def test_an_error_rate_takes_the_place_of_a_threshold(timbre: Timbre, takes: dict[str, Path]) -> None:
    timbre("enroll", "ada", takes["ada-1"], takes["ada-2"])
    strict = json.loads(timbre("verify", "ada", takes["ada-3"], "--target-fmr", "0.001", "--json").out)
    lax = json.loads(timbre("verify", "ada", takes["ada-3"], "--json").out)
    assert (strict["operating_point"]["fmr"], lax["operating_point"]["fmr"]) == (0.001, 0.05)
    found = json.loads(timbre("identify", takes["ada-3"], "--target-fpir", "0.01", "--json").out)
    assert found["operating_point"]["fpir"] == 0.01
    refused = timbre("identify", takes["ada-3"], "--target-fpir", "0.0001")
    assert (refused.code, "cannot be promised" in refused.err) == (2, True)


def test_a_decision_says_why(timbre: Timbre, takes: dict[str, Path]) -> None:
    timbre("enroll", "ada", takes["ada-1"], takes["ada-2"])
    found = timbre("identify", takes["ada-3"]).out
    assert "why" in found
    assert "FPIR 5.00%" in found
    flat = " ".join(found.split())
    assert "Nobody else was searched" in flat
    assert "of speech" in " ".join(timbre("verify", "ada", takes["ada-3"]).out.split())


def test_segments_are_a_table_of_who_speaks_when(
    timbre: Timbre, takes: dict[str, Path], tmp_path: Path
) -> None:
    timbre("enroll", "ada", takes["ada-1"], takes["ada-2"])
    meeting = tmp_path / "meeting.wav"
    spoken = [speech_like(4.0, speaker=speaker, take=7) for speaker in (1, 2, 1)]
    meeting.write_bytes(wav(np.concatenate(spoken)))
    shown = timbre("segments", meeting)
    assert shown.code == 0, shown.err
    labels = [line.split()[2] for line in shown.out.splitlines() if line.startswith("0:00:")]
    assert labels == ["ada", "unknown-1", "ada"]
    assert "ambiguous" not in shown.out
    answer = json.loads(timbre("segments", meeting, "--json", "--max-speakers", "1").out)
    assert len(answer["speakers"]) == 1
    assert timbre("segments", takes["ada-3"], "--threshold", "2").out.count("unknown-1") >= 2


def test_times_are_written_as_a_clock() -> None:
    times = (0.0, 59.94, 59.96, 3599.99, 7325.5)
    expected = ["0:00:00.0", "0:00:59.9", "0:01:00.0", "1:00:00.0", "2:02:05.5"]
    assert [tables.clock(seconds) for seconds in times] == expected


def test_two_recordings_are_compared(timbre: Timbre, takes: dict[str, Path]) -> None:
    same = timbre("similarity", takes["ada-1"], takes["ada-2"])
    assert (same.code, "accept" in same.out) == (0, True), same.err
    assert all(name in same.out for name in ("score", "threshold", "similarity", "distance"))
    assert "None" not in same.out
    other = timbre("similarity", takes["ada-1"], takes["bob-1"], "--json")
    answer = json.loads(other.out)
    assert (other.code, answer["decision"], answer["speaker_id"]) == (1, "reject", None)
    assert answer["distance"] ** 2 == pytest.approx(2 - 2 * answer["similarity"], abs=1e-4)
    assert timbre("similarity", takes["ada-1"], takes["bob-1"], "--threshold", "-1").code == 0
    itself = json.loads(timbre("similarity", takes["ada-1"], takes["ada-1"], "--json").out)
    assert (itself["similarity"], itself["distance"]) == pytest.approx((1.0, 0.0), abs=1e-5)
    assert timbre("similarity", takes["ada-1"], "no-such.wav").code == 2


def test_a_refusal_ends_with_2_and_says_why(timbre: Timbre, takes: dict[str, Path], tmp_path: Path) -> None:
    nobody = timbre("verify", "nobody", takes["ada-1"])
    assert (nobody.code, nobody.out) == (2, "")
    assert "No speaker 'nobody'" in nobody.err
    assert "speaker_not_found" in nobody.err

    text = tmp_path / "text.wav"
    text.write_text("this is no recording")
    assert timbre("identify", text).code == 2
    timbre("enroll", "ada", takes["ada-1"])
    again = timbre("enroll", "ada", takes["ada-2"], "--on-existing", "fail")
    assert (again.code, "speaker_exists" in again.err) == (2, True)


def test_a_missing_file_is_named(timbre: Timbre) -> None:
    done = timbre("identify", "no-such.wav")
    assert (done.code, "no-such.wav" in done.err) == (2, True)


def test_a_recording_comes_from_standard_input(
    timbre: Timbre, takes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    timbre("enroll", "ada", takes["ada-1"], takes["ada-2"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(clip(1, 2))))
    assert timbre("identify", "-").code == 0


def test_every_page_of_speakers_is_listed(
    timbre: Timbre, takes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PAGE", 2)
    for name in "abcde":
        assert timbre("enroll", name, takes["ada-1"]).code == 0
    listed = json.loads(timbre("speakers", "list", "--json").out)["speakers"]
    assert [speaker["speaker_id"] for speaker in listed] == list("abcde")


def test_without_a_server_it_works_in_its_own_process(alone: Timbre, takes: dict[str, Path]) -> None:
    assert alone("enroll", "ada", takes["ada-1"], takes["ada-2"]).code == 0
    verified = alone("verify", "ada", takes["ada-3"], "--json")
    assert (verified.code, json.loads(verified.out)["decision"]) == (0, "accept")
    nobody = alone("verify", "nobody", takes["ada-1"])
    assert (nobody.code, "speaker_not_found" in nobody.err) == (2, True)
    assert alone("similarity", takes["ada-1"], takes["ada-3"]).code == 0


def test_a_server_that_does_not_answer_is_an_error(alone: Timbre) -> None:
    done = alone("models", "--server", f"http://127.0.0.1:{free_port()}")
    assert (done.code, "no answer from http://127.0.0.1" in done.err) == (2, True)


def test_models_shows_where_the_model_runs_and_its_operating_points(timbre: Timbre) -> None:
    done = timbre("models")
    assert done.code == 0
    assert "CPUExecutionProvider" in done.out
    assert "synthetic voices" in done.out
    assert "0.10% [0.05%, 0.20%]" in done.out

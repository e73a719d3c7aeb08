import numpy as np
import pytest

from app.audio import prepare
from tests.codecs import encode
from tests.speech import say
from training.diarisation import Errors, Spoken, errors
from training.meetings import make_meeting

TRUTH = [Spoken(0.0, 10.0, "ada"), Spoken(10.0, 20.0, "bob"), Spoken(25.0, 30.0, "ada")]


def test_the_truth_has_no_errors_whatever_the_labels():
    renamed = [turn._replace(voice={"ada": "x", "bob": "ada"}[turn.voice]) for turn in TRUTH]
    assert errors(TRUTH, renamed).rate == 0.0
    assert errors(TRUTH, renamed).speech_s == pytest.approx(25 - 6 * 0.25)
    assert errors(TRUTH, TRUTH, named=True).rate == 0.0
    # "ada" is now said of bob's time, and "x" is nobody's name.
    wrong = errors(TRUTH, renamed, named=True)
    assert wrong.confused_s == wrong.speech_s


def test_what_is_missed_invented_and_confused_is_told_apart():
    found = [Spoken(0.0, 8.0, "1"), Spoken(10.0, 15.0, "2"), Spoken(15.0, 20.0, "1"), Spoken(21.0, 22.0, "2")]
    wrong = errors(TRUTH, found, collar_s=0.0)
    assert wrong.speech_s == pytest.approx(25.0)
    assert wrong.missed_s == pytest.approx(2.0 + 5.0)
    assert wrong.false_alarm_s == pytest.approx(1.0)
    assert wrong.confused_s == pytest.approx(5.0)
    assert wrong.rate == pytest.approx(13 / 25)


def test_each_found_voice_stands_for_one_true_voice():
    one_for_all = [Spoken(0.0, 30.0, "1")]
    wrong = errors(TRUTH, one_for_all, collar_s=0.0)
    assert wrong.confused_s == pytest.approx(10.0)
    split = [Spoken(float(second), second + 1.0, str(second)) for second in range(10)]
    assert errors(TRUTH[:1], split, collar_s=0.0).confused_s == pytest.approx(9.0)


def test_the_collar_forgives_a_quarter_of_a_second():
    early = [Spoken(0.0, 9.8, "1"), Spoken(9.8, 20.0, "2"), Spoken(25.0, 30.0, "1")]
    assert errors(TRUTH, early).rate == 0.0
    assert errors(TRUTH, early, collar_s=0.0).confused_s == pytest.approx(0.2)


def test_errors_add_up():
    total = Errors(10.0, 1.0, 0.0, 1.0) + Errors(10.0, 0.0, 2.0, 0.0)
    assert (total.speech_s, total.rate) == (20.0, pytest.approx(0.2))


def test_nothing_found_is_all_missed():
    assert errors(TRUTH, []).missed_s == errors(TRUTH, []).speech_s


def test_a_meeting_holds_its_turns_where_it_says():
    voices = {voice: [say(take, voice) for take in range(4)] for voice in ("ada", "dan", "ivo")}
    meeting = make_meeting(voices, np.random.default_rng(3))
    assert len(meeting.truth) >= 4
    assert all(a.voice != b.voice for a, b in zip(meeting.truth, meeting.truth[1:], strict=False))
    assert all(2.0 <= turn.end_s - turn.start_s <= 8.0 for turn in meeting.truth)
    assert all(b.start_s >= a.end_s for a, b in zip(meeting.truth, meeting.truth[1:], strict=False))
    heard = prepare(encode(meeting.waveform, "wav"), max_duration_s=300.0)
    pieces = [Spoken(start / 16_000, stop / 16_000, "speech") for start, stop in heard.pieces]
    speech = errors([turn._replace(voice="speech") for turn in meeting.truth], pieces, named=True)
    assert speech.missed_s < 0.1 * speech.speech_s  # the clips have pauses of their own
    assert speech.false_alarm_s < 0.02 * speech.speech_s
    again = make_meeting(voices, np.random.default_rng(3))
    np.testing.assert_array_equal(again.waveform, meeting.waveform)

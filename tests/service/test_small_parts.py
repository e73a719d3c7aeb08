"""Progress, thresholds, traces and speaker ids: the small things that the use cases agree on."""

import threading

import pytest

from app.errors import ConflictingParameters, InvalidSpeakerId, UnsupportedRate
from app.scoring import Calibration, OperatingPoint, ScoreModel
from app.service.enrolment import check_speaker_id
from app.service.progress import Progress
from app.service.thresholds import choose
from app.service.trace import Trace, current, stage, tracing

POINTS = tuple(
    OperatingPoint(fmr, 0.1, at, (0.0, 1.0), (0.0, 1.0), "trials", 100, 1000)
    for fmr, at in [(0.01, 0.7), (0.1, 0.4)]
)
CALIBRATION = Calibration("0" * 64, "trials", ScoreModel(0.0, 1.0), 100, 1000, 20, 0.05, 0.2, 0.15, POINTS)


@pytest.mark.parametrize(
    ("speech_s", "status", "remaining_s", "share"),
    [
        (0.0, "enrolling", 4.0, 0.0),
        (3.0, "enrolling", 1.0, 0.75),
        (4.0, "enrolled", 0.0, 1.0),
        (9.0, "enrolled", 0.0, 1.0),
    ],
)
def test_progress(speech_s: float, status: str, remaining_s: float, share: float) -> None:
    progress = Progress(1, speech_s, 4.0)
    assert (progress.status, progress.remaining_speech_s, progress.progress) == (status, remaining_s, share)


def test_thresholds() -> None:
    default = choose(CALIBRATION, threshold=None, target_fmr=None, default_fmr=0.02)
    assert (default.value, default.operating_point) == (0.7, POINTS[0])
    assert choose(CALIBRATION, threshold=None, target_fmr=0.5, default_fmr=0.02).value == 0.4
    own = choose(CALIBRATION, threshold=0.0, target_fmr=None, default_fmr=0.02)
    assert (own.value, own.operating_point) == (0.0, None)
    with pytest.raises(ConflictingParameters):
        choose(CALIBRATION, threshold=0.5, target_fmr=0.1, default_fmr=0.02)
    with pytest.raises(UnsupportedRate):
        choose(CALIBRATION, threshold=None, target_fmr=0.001, default_fmr=0.02)


@pytest.mark.parametrize("speaker_id", ["a", "A.b_c~d-9", "x" * 128, "...", "-"])
def test_good_speaker_ids(speaker_id: str) -> None:
    assert check_speaker_id(speaker_id) == speaker_id


@pytest.mark.parametrize("speaker_id", ["", ".", "..", "a b", "a\n", "é", "x" * 129, "a:reset", "a/b"])
def test_bad_speaker_ids(speaker_id: str) -> None:
    with pytest.raises(InvalidSpeakerId):
        check_speaker_id(speaker_id)


def test_stages_add_up_and_stay_in_their_trace() -> None:
    with tracing(Trace("one")) as one:
        with stage("decode"):
            pass
        first = one.seconds["decode"]
        with stage("decode"):
            threading.Event().wait(0.005)
        assert one.seconds["decode"] >= first + 0.005
        with tracing(Trace("two")) as two:
            assert current() is two
            assert two.seconds == {}
        assert current() is one
    assert current().request_id == ""

"""Why a decision came out as it did: every number in the words is the number of the decision."""

from dataclasses import replace

import pytest

from app.audio.quality import AudioReport
from app.scoring import Candidate, IdentifyDecision, SearchPoint, identify_decision
from app.service.explanation import Remark, explain_search, explain_verification
from app.service.thresholds import Threshold, choose, choose_for_search
from tests.scoring.test_points import CALIBRATION

AUDIO = AudioReport(
    duration_s=3.5,
    speech_s=2.8,
    sample_rate_hz=16000,
    channels=1,
    codec="pcm_s16le",
    bandwidth_hz=7800.0,
    snr_db=30.0,
    peak_dbfs=-3.0,
    rms_dbfs=-20.0,
    clipped_ratio=0.0,
    quality=0.9,
    warnings=(),
)
ADA, BRUNO = Candidate("ada", 0.8, 0.7, 1, 5.5), Candidate("bruno", 0.55, 0.6, 2, 4.5)


def threshold_of(**wishes: float | None) -> Threshold:
    wanted = {"threshold": None, "target_fpir": None, "default_fpir": None} | wishes
    return choose_for_search(CALIBRATION, 2, default_fmr=0.01, **wanted)


def explained(
    *candidates: Candidate,
    threshold: Threshold | None = None,
    min_margin: float = 0.1,
    filtered: bool = False,
) -> tuple[IdentifyDecision, tuple[Remark, ...]]:
    chosen = threshold_of() if threshold is None else threshold
    decision, margin = identify_decision(candidates, chosen.value, min_margin)
    return decision, explain_search(
        decision, candidates, margin, min_margin, chosen, len(candidates), filtered, AUDIO, CALIBRATION
    )


def words(remarks: tuple[Remark, ...]) -> dict[str, str]:
    return {remark.code: remark.detail for remark in remarks}


def test_a_match_says_what_it_reached_and_whom_it_led() -> None:
    decision, remarks = explained(ADA, BRUNO)
    assert decision == "match"
    assert words(remarks)["score_reaches_threshold"] == "The best score, of 'ada', is 0.80; 0.50 is enough."
    assert words(remarks)["margin_sufficient"] == "It leads that of 'bruno' (0.55) by 0.25; 0.10 is enough."
    assert words(remarks)["speakers_searched"] == "2 speakers were searched, the whole gallery."
    assert words(remarks)["speech_heard"] == "The recording holds 2.8 s of speech, the other side 5.5 s."


def test_a_close_pair_says_who_else_it_might_be() -> None:
    decision, remarks = explained(ADA, BRUNO, min_margin=0.3)
    assert decision == "ambiguous"
    found = next(remark for remark in remarks if remark.code == "margin_too_small")
    assert found.detail == "It leads that of 'bruno' (0.55) by 0.25; 0.30 is needed to tell the two apart."
    assert found.facts == {
        "margin": pytest.approx(0.25),
        "min_margin": 0.3,
        "runner_up": "bruno",
        "runner_up_score": 0.55,
    }


def test_a_stranger_is_told_what_was_lacking_and_nothing_of_margins() -> None:
    decision, remarks = explained(BRUNO, threshold=threshold_of(threshold=0.6))
    assert decision == "unknown"
    assert remarks[0].detail == "The best score, of 'bruno', is 0.55; 0.60 is needed, 0.05 more."
    assert not {code for code in words(remarks) if "margin" in code or code == "no_runner_up"}
    assert words(remarks)["threshold_of_request"].startswith("The threshold is the request's own")


@pytest.mark.parametrize(
    ("filtered", "why"), [(False, "the gallery is empty"), (True, "none of those named")]
)
def test_nobody_searched_is_said_first(filtered: bool, why: str) -> None:
    decision, remarks = explained(filtered=filtered)
    assert decision == "unknown"
    assert remarks[0].code == "nobody_searched"
    assert why in remarks[0].detail


def test_whose_rate_it_is_and_what_it_comes_to_in_the_gallery() -> None:
    _, by_policy = explained(ADA, BRUNO)
    found = next(remark for remark in by_policy if remark.code == "threshold_of_policy")
    assert found.facts == {"fmr": 0.01, "fnmr": 0.1, "fpir": pytest.approx(1 - 0.99**2), "gallery_size": 2}
    assert "1.99% are expected to reach it among 2 speakers (1.000% in one comparison)" in found.detail
    _, asked = explained(ADA, BRUNO, threshold=threshold_of(target_fpir=0.01))
    assert "threshold_of_request_rate" in words(asked)
    _, promised = explained(ADA, BRUNO, threshold=threshold_of(default_fpir=0.01))
    assert "threshold_of_policy" in words(promised)


def test_a_verification_is_explained_without_a_gallery() -> None:
    threshold = choose(CALIBRATION, threshold=None, target_fmr=0.01, default_fmr=0.1)
    remarks = explain_verification(0.3, threshold, AUDIO, 4.5, CALIBRATION)
    assert [remark.code for remark in remarks] == [
        "score_below_threshold",
        "threshold_of_request_rate",
        "speech_heard",
    ]
    assert remarks[0].detail == "The score is 0.30; 0.50 is needed, 0.20 more."
    assert remarks[1].facts == {"fmr": 0.01, "fnmr": 0.1}
    assert "1.000% are expected to reach it, of the right ones 10.0% to miss it" in remarks[1].detail


def test_little_speech_and_a_poor_recording_are_remarked() -> None:
    threshold = choose(CALIBRATION, threshold=0.5, target_fmr=None, default_fmr=0.1)
    poor = replace(AUDIO, speech_s=0.2, warnings=("narrowband", "noisy"))
    found = {r.code: r for r in explain_verification(0.6, threshold, poor, 4.5, CALIBRATION)}
    assert found["speech_very_short"].facts == {"speech_s": 0.2, "least_s": 0.25}
    assert found["recording_warnings"].facts == {"warnings": "narrowband, noisy"}


def test_a_threshold_from_trials_knows_its_search() -> None:
    chosen = threshold_of()
    assert chosen.search == SearchPoint.of(CALIBRATION.operating_points[0], 2)
    assert (chosen.value, chosen.origin) == (0.5, "policy")

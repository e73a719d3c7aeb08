"""Why a decision came out as it did: stable codes, and sentences with the numbers for a support desk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from app.audio.quality import AudioReport
from app.scoring import Calibration, Candidate, IdentifyDecision
from app.service.thresholds import Threshold

Fact: TypeAlias = float | int | str | None


@dataclass(frozen=True)
class Remark:
    """One thing that the decision rested on."""

    code: str
    """The stable word for programs."""
    detail: str
    """The same for people, in one sentence."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """The numbers in it."""


@dataclass(frozen=True)
class Objection:
    """What speaks against a recording because of the way in which it came."""

    remark: Remark
    refuses: bool
    """It turns an acceptance into a rejection; otherwise it is only told."""


def explain_verification(
    score: float, threshold: Threshold, audio: AudioReport, enrolled_speech_s: float, calibration: Calibration
) -> tuple[Remark, ...]:
    """Say why a comparison passed or did not.

    Args:
        score: Of the comparison.
        threshold: What it was held against.
        audio: What was measured of the recording.
        enrolled_speech_s: Speech on the other side, in seconds.
        calibration: What the score means.
    """
    return (
        _against_threshold("The score", score, threshold.value),
        _origin(threshold),
        *_speech(audio, enrolled_speech_s, calibration),
    )


def explain_search(
    decision: IdentifyDecision,
    candidates: tuple[Candidate, ...],
    margin: float | None,
    min_margin: float,
    threshold: Threshold,
    gallery_size: int,
    filtered: bool,
    audio: AudioReport,
    calibration: Calibration,
) -> tuple[Remark, ...]:
    """Say why a search named somebody, nobody, or could not tell.

    Args:
        decision: What was decided.
        candidates: By falling score.
        margin: Lead of the first over the second; None with fewer than two.
        min_margin: The least lead of a match.
        threshold: What the best score was held against.
        gallery_size: Speakers searched.
        filtered: Whether the caller narrowed the search.
        audio: What was measured of the recording.
        calibration: What the scores mean.
    """
    if not candidates:
        words = "Nobody was searched: " + (
            "none of those named is enrolled." if filtered else "the gallery is empty."
        )
        return (
            Remark("nobody_searched", words, {"gallery_size": gallery_size}),
            *_speech(audio, None, calibration),
        )
    best = candidates[0]
    remarks = [_against_threshold(f"The best score, of '{best.speaker_id}',", best.score, threshold.value)]
    if decision != "unknown":
        remarks.append(_lead(candidates, margin, min_margin))
    remarks += [_searched(gallery_size, filtered), _origin(threshold)]
    return (*remarks, *_speech(audio, best.enrolled_speech_s, calibration))


def _against_threshold(subject: str, score: float, threshold: float) -> Remark:
    facts: dict[str, Fact] = {"score": round(score, 6), "threshold": threshold}
    if score >= threshold:
        return Remark(
            "score_reaches_threshold", f"{subject} is {score:.2f}; {threshold:.2f} is enough.", facts
        )
    words = f"{subject} is {score:.2f}; {threshold:.2f} is needed, {threshold - score:.2f} more."
    return Remark("score_below_threshold", words, facts)


def _lead(candidates: tuple[Candidate, ...], margin: float | None, min_margin: float) -> Remark:
    if margin is None:
        return Remark("no_runner_up", "Nobody else was searched, so there is no lead to ask for.")
    second = candidates[1]
    facts: dict[str, Fact] = {
        "margin": round(margin, 6),
        "min_margin": min_margin,
        "runner_up": second.speaker_id,
        "runner_up_score": round(second.score, 6),
    }
    lead = f"It leads that of '{second.speaker_id}' ({second.score:.2f}) by {margin:.2f}; {min_margin:.2f}"
    if margin < min_margin:
        return Remark("margin_too_small", f"{lead} is needed to tell the two apart.", facts)
    return Remark("margin_sufficient", f"{lead} is enough.", facts)


def _searched(gallery_size: int, filtered: bool) -> Remark:
    what = "of those that the request names" if filtered else "the whole gallery"
    words = f"{gallery_size} speaker{'s were' if gallery_size != 1 else ' was'} searched, {what}."
    return Remark("speakers_searched", words, {"gallery_size": gallery_size, "filtered": int(filtered)})


def _origin(threshold: Threshold) -> Remark:
    point, search = threshold.operating_point, threshold.search
    if point is None:
        words = "The threshold is the request's own; nothing is known of the errors at it."
        return Remark("threshold_of_request", words, {"threshold": threshold.value})
    whose = "the request asks for" if threshold.origin == "rate" else "the policy asks for"
    facts: dict[str, Fact] = {"fmr": point.fmr, "fnmr": point.fnmr}
    words = f"The threshold is the one for the error rate that {whose}: "
    if search is not None:
        facts |= {"fpir": round(search.fpir, 6), "gallery_size": search.gallery_size}
        words += (
            f"of strangers {search.fpir:.2%} are expected to reach it among {search.gallery_size} speakers "
            f"({point.fmr:.3%} in one comparison), "
        )
    else:
        words += f"of other voices {point.fmr:.3%} are expected to reach it, "
    words += f"of the right ones {point.fnmr:.1%} to miss it."
    return Remark(
        "threshold_of_request_rate" if threshold.origin == "rate" else "threshold_of_policy", words, facts
    )


def _speech(
    audio: AudioReport, enrolled_speech_s: float | None, calibration: Calibration
) -> tuple[Remark, ...]:
    facts: dict[str, Fact] = {"speech_s": round(audio.speech_s, 3)}
    words = f"The recording holds {audio.speech_s:.1f} s of speech"
    if enrolled_speech_s is not None:
        facts["enrolled_speech_s"] = round(enrolled_speech_s, 3)
        words += f", the other side {enrolled_speech_s:.1f} s"
    remarks = [Remark("speech_heard", f"{words}.", facts)]
    least = calibration.score.speech_range_s[0]
    if audio.speech_s < least:
        words = (
            f"That is less than the {least:.1f} s of the shortest recordings that the scores were fitted on."
        )
        remarks.append(Remark("speech_very_short", words, {"speech_s": facts["speech_s"], "least_s": least}))
    if audio.warnings:
        warnings = ", ".join(audio.warnings)
        remarks.append(
            Remark("recording_warnings", f"The recording was marked: {warnings}.", {"warnings": warnings})
        )
    return tuple(remarks)

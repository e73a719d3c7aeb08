"""Presentation-attack detection: what the plug-in says of a recording, and what follows by the policy."""

from dataclasses import dataclass
from typing import Literal

from app.audio import Utterance
from app.errors import DetectorUnavailable
from app.service.call import Call
from app.service.detection import Detector
from app.service.explanation import Fact, Objection, Remark
from app.service.trace import stage


@dataclass(frozen=True, kw_only=True)
class Pad:
    """What the detector said."""

    evaluated: bool
    detector: str | None = None
    version: str | None = None
    score: float | None = None
    threshold: float | None = None
    decision: Literal["bona_fide", "attack"] | None = None
    objection: Objection | None = None


def detect_attack(call: Call, utterance: Utterance) -> Pad:
    """Ask the detector about a recording, where there is one and the policy wants it.

    Raises:
        DetectorUnavailable: It cannot answer, or there is none, and the policy refuses what was not examined.
    """
    rule, detection = call.policy.spoofed, call.parts.detection
    if rule == "allow":
        return Pad(evaluated=False)
    if detection is None:
        if rule == "refuse":
            raise DetectorUnavailable("none is installed")
        return Pad(evaluated=False)
    try:
        with stage("embed"):
            score = detection.score(utterance.waveform)
    except DetectorUnavailable as failure:
        if rule == "refuse":
            raise
        remark = Remark("pad_failed", f"The recording was not examined for an attack: {failure.problem}.")
        return Pad(evaluated=False, objection=Objection(remark, refuses=False))
    attack = score >= detection.detector.threshold
    return Pad(
        evaluated=True,
        detector=detection.detector.name,
        version=detection.detector.version,
        score=score,
        threshold=detection.detector.threshold,
        decision="attack" if attack else "bona_fide",
        objection=Objection(_remark(detection.detector, score), rule == "refuse") if attack else None,
    )


def _remark(detector: Detector, score: float) -> Remark:
    words = (
        f"{detector.name} takes the recording for a played or made voice: its score is {score:.2f}, "
        f"from {detector.threshold:.2f} on it says so."
    )
    facts: dict[str, Fact] = {
        "score": round(score, 6),
        "threshold": detector.threshold,
        "detector": detector.name,
    }
    return Remark("presentation_attack_suspected", words, facts)

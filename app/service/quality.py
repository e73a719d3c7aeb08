"""Quality: what a recording is worth, without using it for anything."""

from dataclasses import dataclass

from app.audio.quality import AudioReport, refuse
from app.errors import AudioMissing, AudioRefused
from app.service.call import Call
from app.service.listening import hear


@dataclass(frozen=True)
class QualityVerdict:
    """What was measured, and why the main calls would refuse the recording if they would."""

    audio: AudioReport
    refusal: AudioRefused | None


def assess(call: Call, recording: bytes | None) -> QualityVerdict:
    """Measure one recording and judge it by the limits of the main calls.

    Args:
        call: Who asks, and what serves them.
        recording: The upload, container and all.

    Returns:
        The report and the verdict; nothing is embedded or stored.

    Raises:
        AudioMissing: There is no recording.
        AudioRefused: It cannot be decoded at all, so there is nothing to measure.
    """
    if recording is None:
        raise AudioMissing("audio")
    report = hear(call, recording).report
    try:
        refuse(report, call.limits)
    except AudioRefused as refusal:
        return QualityVerdict(report, refusal)
    return QualityVerdict(report, None)

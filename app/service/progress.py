"""How far a speaker is on the way to being enrolled."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """Speech gathered and speech still needed, in seconds."""

    enrollments_count: int
    speech_s: float
    required_speech_s: float

    @property
    def status(self) -> Literal["enrolling", "enrolled"]:
        """`enrolled` once there is enough speech to be verified and identified."""
        return "enrolled" if self.speech_s >= self.required_speech_s else "enrolling"

    @property
    def remaining_speech_s(self) -> float:
        """Speech still needed, in seconds, 0 when there is enough."""
        return max(0.0, self.required_speech_s - self.speech_s)

    @property
    def progress(self) -> float:
        """Share of the needed speech, in [0, 1]."""
        return min(1.0, self.speech_s / self.required_speech_s)

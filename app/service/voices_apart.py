"""Several voices in one recording: a second speaker in what should be one."""

from dataclasses import dataclass
from typing import Final

from app.arrays import SAMPLE_RATE_HZ
from app.audio import Utterance
from app.errors import SeveralVoices
from app.scoring.turns import rules_of, several_voices
from app.service.call import Call
from app.service.windowed import embed_windows

LEAST_SPEECH_S: Final = 4.0
"""With less there are too few windows to tell two voices from one, in seconds."""


@dataclass(frozen=True)
class VoicesFound:
    """How many voices a recording seems to hold.

    Attributes:
        count: 2 for several; 1 otherwise, also where there was too little speech to look.
        score: How different the two most different halves of the recording are; None when nobody looked.
        threshold: From this score on there are several.
    """

    count: int
    score: float | None
    threshold: float

    @property
    def refusal(self) -> SeveralVoices | None:
        """What is said against the recording; None of one voice."""
        if self.count == 1 or self.score is None:
            return None
        return SeveralVoices(round(self.score, 3), round(self.threshold, 3))


def voices_in(call: Call, utterance: Utterance) -> VoicesFound:
    """Look for a second voice in a recording.

    It finds six in ten recordings in which one voice follows another, fewer where they take turns, and takes
    one in a hundred of one voice for two: see docs/segments.md. It is a reason to ask, not to accuse.

    Args:
        call: Who asks, and what serves them.
        utterance: The speech of the recording.

    Raises:
        Overloaded: Too many recordings wait for the model.
        InferenceTimeout: The model did not answer in time.
    """
    rules = rules_of(call.serving.calibration)
    if len(utterance.waveform) < LEAST_SPEECH_S * SAMPLE_RATE_HZ:
        return VoicesFound(1, None, rules.apart)
    # Across the pauses: every window is whole, where short pieces between pauses would say too little.
    windowed = embed_windows(call, utterance, pieces=((0, len(utterance.waveform)),))
    several, score = several_voices(windowed.embeddings, rules)
    return VoicesFound(2 if several else 1, score, rules.apart)

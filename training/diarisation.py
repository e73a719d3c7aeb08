"""Who spoke when, found against true: missed speech, false alarms, confusions and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

STEP_S: Final = 0.01
"""Both sides are compared at every hundredth of a second."""
COLLAR_S: Final = 0.25
"""Around each true border nothing is scored: nobody can say to the tenth of a second where a voice begins."""
NOBODY: Final = -1

Frames: TypeAlias = npt.NDArray[np.int64]


class Spoken(NamedTuple):
    """One turn: a stretch of one voice.

    Attributes:
        start_s: Its beginning, in seconds.
        end_s: Its end, in seconds.
        voice: Whose; any label.
    """

    start_s: float
    end_s: float
    voice: str


@dataclass(frozen=True)
class Errors:
    """What went wrong, in seconds; errors of several recordings add up.

    Attributes:
        speech_s: True speech that was scored.
        missed_s: Of that, taken for silence.
        false_alarm_s: Silence that was taken for speech.
        confused_s: Speech that was given to another voice.

    Source: J. G. Fiscus et al., "The Rich Transcription 2006 Spring Meeting Recognition Evaluation",
        MLMI 2006.
    """

    speech_s: float = 0.0
    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confused_s: float = 0.0

    @property
    def rate(self) -> float:
        """The diarisation error rate: all errors over the true speech; above 1 when they are more."""
        return (self.missed_s + self.false_alarm_s + self.confused_s) / self.speech_s

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.speech_s + other.speech_s,
            self.missed_s + other.missed_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confused_s + other.confused_s,
        )


def errors(
    truth: Sequence[Spoken], found: Sequence[Spoken], *, named: bool = False, collar_s: float = COLLAR_S
) -> Errors:
    """Compare found turns with the true ones; turns of one side must not overlap.

    Args:
        truth: Who really spoke when.
        found: Who is said to have spoken when.
        named: The labels of both sides mean the same. Otherwise the found voices are given to the true
            ones, one to one, so that most time agrees.
        collar_s: Time on both sides of each true border that is not scored, in seconds.
    """
    end = round(max((turn.end_s for turn in (*truth, *found)), default=0.0) / STEP_S) + 1
    true_voices = sorted({turn.voice for turn in truth})
    labels = true_voices if named else sorted({turn.voice for turn in found})
    real, said = _frames(truth, true_voices, end), _frames(found, labels, end)
    scored = np.ones(end, dtype=np.bool_)
    for border in (edge for turn in truth for edge in turn[:2]):
        scored[max(0, round((border - collar_s) / STEP_S)) : round((border + collar_s) / STEP_S)] = False
    real, said = real[scored], said[scored]
    both = (real != NOBODY) & (said != NOBODY)
    agreed = np.count_nonzero(real[both] == said[both]) if named else _best_agreement(real[both], said[both])
    return Errors(
        speech_s=STEP_S * np.count_nonzero(real != NOBODY),
        missed_s=STEP_S * np.count_nonzero((real != NOBODY) & (said == NOBODY)),
        false_alarm_s=STEP_S * np.count_nonzero((real == NOBODY) & (said != NOBODY)),
        confused_s=STEP_S * (np.count_nonzero(both) - agreed),
    )


def _frames(turns: Sequence[Spoken], labels: Sequence[str], end: int) -> Frames:
    """int64 (end,): the number of the voice in each step; a voice without a label has one that nobody has."""
    frames = np.full(end, NOBODY)
    for start_s, end_s, voice in turns:
        number = labels.index(voice) if voice in labels else len(labels)
        frames[round(start_s / STEP_S) : round(end_s / STEP_S)] = number
    return frames


def _best_agreement(real: Frames, said: Frames) -> int:
    """Steps that agree when each found voice stands for one true voice, chosen for the most agreement."""
    from scipy.optimize import linear_sum_assignment

    if not len(real):
        return 0
    together = np.zeros((real.max() + 1, said.max() + 1), dtype=np.int64)
    np.add.at(together, (real, said), 1)
    return int(together[linear_sum_assignment(together, maximize=True)].sum())

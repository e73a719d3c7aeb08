"""Similarity and seconds of speech → score: a log-likelihood ratio."""

import itertools
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ScoreModel:
    """Turns a similarity into a log-likelihood ratio, natural log.

    A short recording says less: the same cosine is worth another score there. With
    q = ln(seconds of speech, held inside `speech_range_s`) - centre, of the recording (q_t) and of what
    the speaker was enrolled with (q_e), and s the similarity:

        score = offset + similarity s + speech q_t + enrolled q_e
                + similarity_x_speech s q_t + similarity_x_enrolled s q_e

    Attributes:
        offset: Score of a similarity of 0.
        similarity: Rise of the score for each unit of similarity.
        speech: For each unit of q_t.
        enrolled: For each unit of q_e.
        similarity_x_speech: For each unit of s q_t.
        similarity_x_enrolled: For each unit of s q_e.
        speech_range_s: The durations that were fitted, in seconds; shorter and longer ones count as its ends.
        centre: A logarithm of seconds, subtracted from every ln(seconds).

    Raises:
        ValueError: A number is not finite, the range is none, or somewhere in it a higher
            similarity would not mean a higher score.

    Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection",
        Computer Speech and Language 20, 2006; durations as quality measures after M. I. Mandasari et al.,
        "Quality measure functions for calibration of speaker recognition systems in various duration
        conditions", IEEE TASLP 21, 2013.
    """

    offset: float
    similarity: float
    speech: float = 0.0
    enrolled: float = 0.0
    similarity_x_speech: float = 0.0
    similarity_x_enrolled: float = 0.0
    speech_range_s: tuple[float, float] = (0.25, 60.0)
    centre: float = 0.0

    def __post_init__(self) -> None:
        shortest, longest = self.speech_range_s
        if not np.isfinite((*astuple(self)[:6], shortest, longest, self.centre)).all():
            raise ValueError("every number of a score model is finite")
        if not 0.0 < shortest <= longest:
            raise ValueError("speech_range_s rises from a duration above 0")
        # The slope is linear in both q, so what holds in the corners holds everywhere between them.
        for enrolled_s, speech_s in itertools.product(self.speech_range_s, repeat=2):
            if not self._slope(self._q(enrolled_s), self._q(speech_s)) > 0.0:
                raise ValueError(
                    f"at {speech_s:g} s of speech against {enrolled_s:g} s enrolled, "
                    "the score does not rise with the similarity"
                )

    def llr(
        self, similarity: npt.ArrayLike, enrolled_speech_s: npt.ArrayLike, speech_s: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """Scores similarities; the arguments broadcast against each other.

        Args:
            similarity: Cosines, in [-1, 1].
            enrolled_speech_s: Speech behind the speaker's centroid, in seconds.
            speech_s: Speech in the recording, in seconds.

        Returns:
            float64 of the common shape (a scalar for scalars): log-likelihood ratios, natural log; above
            0 where the trials speak for the same voice. NaN where an argument is.
        """
        s = np.asarray(similarity, dtype=np.float64)
        q_e, q_t = self._q(enrolled_speech_s), self._q(speech_s)
        # As level + slope s, and not as six terms: rounding cannot turn two similarities around.
        level = self.offset + self.speech * q_t + self.enrolled * q_e
        return np.asarray(level + self._slope(q_e, q_t) * s, dtype=np.float64)[()]

    def _q(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        held = np.clip(np.asarray(seconds, dtype=np.float64), *self.speech_range_s)
        return np.asarray(np.log(held) - self.centre)

    def _slope(self, q_e: npt.NDArray[np.float64], q_t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.similarity + self.similarity_x_speech * q_t + self.similarity_x_enrolled * q_e

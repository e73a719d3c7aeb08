"""How well a recording says these digits, by what a model makes of each of its frames.

Each frame has a log-probability for each token: the blank of CTC, ten digits, and "something else". The
asked digits are aligned with the frames as well as they can be, other words and noises allowed before,
between and behind them; the best alignment of any digits at all is what it is compared with. Their difference
per digit is the score: 0 when nothing fits better than what was asked, the lower the more has to be bent.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

BLANK: Final = 0
"""Nothing is said now."""
FIRST: Final = 1
"""Token of the digit 0; that of the digit d is FIRST + d."""
OTHER: Final = 11
"""Any other word."""
TOKENS: Final = 12

_Costs: TypeAlias = npt.NDArray[np.float64]
Frames: TypeAlias = npt.NDArray[np.float32]
"""Log-probabilities of the tokens, float32 (frames, TOKENS)."""


def alignment_score(frames: Frames, digits: Sequence[int]) -> float:
    """Score the asked digits against the best of all sequences.

    Args:
        frames: Log-probabilities, float32 (frames, TOKENS).
        digits: What was asked, each 0..9.

    Returns:
        Log-likelihood ratio per digit, natural log, at most 0; minus infinity where there are too few frames
        to say so many digits.

    Source: Viterbi alignment over the states of Graves and others, Connectionist temporal classification,
        2006, with a filler; against a free loop, as in keyword spotting since Rose and Paul, 1990.
    """
    if not len(frames):
        return float("-inf")
    tokens, two, three = _states(digits)
    emitted = frames[:, tokens].astype(np.float64)
    # Three places of minus infinity before the first state: whoever looks back from there finds nobody.
    padded = np.full(len(tokens) + 3, -np.inf)
    best = padded[3:]
    best[:3] = emitted[0, :3]  # it begins with the blank, with another word, or at once with the first digit
    for frame in emitted[1:]:
        found = np.maximum(best, padded[2:-1])
        np.maximum(found, padded[1:-2] + two, out=found)
        np.maximum(found, padded[:-3] + three, out=found)
        # From something else back to the blank beside it: words and pauses may alternate.
        np.maximum(found[::3], best[1::3], out=found[::3])
        np.add(found, frame, out=best)
    free = float(frames.max(axis=1).astype(np.float64).sum())
    return (float(best[-3:].max()) - free) / len(digits)


def _states(digits: Sequence[int]) -> tuple[npt.NDArray[np.intp], _Costs, _Costs]:
    """Tokens of the states, and what it costs to come from two and from three states before: 0, or infinity.

    The states are blank, other, digit, blank, other, digit, …, blank, other. From one state before anybody
    may come: from the blank to other, from other to the digit, from the digit to the blank behind it.
    """
    tokens = [BLANK, OTHER]
    for digit in digits:
        tokens += [FIRST + digit, BLANK, OTHER]
    two, three = np.zeros(len(tokens)), np.full(len(tokens), -np.inf)
    two[::3] = -np.inf  # from other to the next blank would leave a digit out
    for place in range(5, len(tokens), 3):  # from digit to digit at once, unless they are alike
        if tokens[place] != tokens[place - 3]:
            three[place] = 0.0
    return np.array(tokens), two, three


def heard_digits(frames: Frames) -> list[int]:
    """The digits of the best sequence: the best token of each frame, alike ones beside each other once."""
    best = frames.argmax(axis=1)
    changed = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(token) - FIRST for token in best[changed] if FIRST <= token < OTHER]

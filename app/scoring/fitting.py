"""Scored trials → ScoreModel: weighted logistic regression, cross-validated by speaker."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from app.scoring.rates import Floats
from app.scoring.score import ScoreModel

Mask = npt.NDArray[np.bool_]

SIMILARITY_ONLY: Final = ("similarity",)
WITH_DURATIONS: Final = ("similarity", "speech", "enrolled")
TERMS: Final = (
    SIMILARITY_ONLY,
    ("similarity", "speech"),
    ("similarity", "enrolled"),
    WITH_DURATIONS,
    ("similarity", "speech", "similarity_x_speech"),
    (*WITH_DURATIONS, "similarity_x_speech"),
    (*WITH_DURATIONS, "similarity_x_speech", "similarity_x_enrolled"),
)
"""Terms of the ScoreModel that are tried against each other, fewest first."""
EXTRAS: Final = {
    "lowest SNR": ("snr",),
    "difference of SNR": ("snr_gap",),
    "telephone band in one, in both": ("narrow_one", "narrow_both"),
}
"""What a ScoreModel cannot hold, tried to know whether it would pay; terms by their words."""

P_TARGET: Final = 0.05
"""Share of target trials for which the fit is made, after which its log-odds are taken off again.

A straight line does not fit everywhere; this says where it should fit best. Thresholds for an FMR of 0.1 to
10 % lie at scores between about 0 and 5, and a fit at even odds (0.5) would look after scores around 0.
"""
_RIDGE: Final = 1e-2
"""Keeps the weights finite where trials can be told apart without an error; else it changes nothing."""


@dataclass(frozen=True)
class Examples:
    """Trials of all sets in a row, one array row each.

    Attributes:
        block: int64, which trials count together: each block weighs as much as any other in a fit.
        labels: int64, 1 = target.
        similarity: Cosine.
        enrolled_speech_s: Speech behind what the recording is compared with, in seconds.
        speech_s: Speech in the recording, in seconds.
        enroll_fold: int64, fold of the enrolled speaker.
        test_fold: int64, fold of the tested speaker.
        extras: float64 (trials, extras), see `EXTRAS`.
    """

    block: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    similarity: Floats
    enrolled_speech_s: Floats
    speech_s: Floats
    enroll_fold: npt.NDArray[np.int64]
    test_fold: npt.NDArray[np.int64]
    extras: Floats

    def chosen(self, which: Mask) -> Self:
        """Some of the trials."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Iterable["Examples"]) -> "Examples":
        """One after the other."""
        held = list(parts)
        return cls(*(np.concatenate([getattr(p, f.name) for p in held]) for f in fields(cls)))


def speaker_folds(sets: Iterable[Iterable[str]], folds: int, seed: int = 0) -> dict[str, int]:
    """A fold for each speaker; every set spreads its speakers over all folds as evenly as it can."""
    rng = np.random.default_rng(seed)
    found: dict[str, int] = {}
    for speakers in sets:
        new = sorted(set(speakers) - found.keys())
        start = int(rng.integers(folds))
        found |= {str(name): (start + i) % folds for i, name in enumerate(rng.permutation(new))}
    return found


def balance(block: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], p_target: float) -> Floats:
    """Weights by which every block counts alike and targets make up `p_target`; their sum is the trials'.

    Blocks without trials of both kinds weigh nothing.

    Raises:
        ValueError: No block has both kinds.
    """
    counts = np.array([np.bincount(block[labels == kind], minlength=block.max() + 1) for kind in (0, 1)])
    usable: Mask = counts.min(axis=0) > 0
    if not usable.any():
        raise ValueError("no set has target and impostor trials left to fit on")
    share = np.where(labels == 1, p_target, 1 - p_target) * len(labels) / usable.sum()
    return np.asarray(np.where(usable[block], share / np.maximum(counts[labels, block], 1), 0.0))


@dataclass(frozen=True)
class Frame:
    """How seconds become covariates: held inside a range, as logarithms around a centre."""

    speech_range_s: tuple[float, float]
    centre: float

    @classmethod
    def of(cls, seconds: Floats, least: float = 0.25) -> "Frame":
        """From the durations that a fit sees: all but the outermost hundredths, centred on their median."""
        low, high = np.percentile(seconds, [1, 99])
        low, high = max(float(low), least), max(float(high), least)
        middle = float(np.log(np.clip(np.median(seconds), low, high)))
        return cls((round(low, 3), round(high, 3)), round(middle, 4))

    def columns(self, trials: Examples, terms: Sequence[str]) -> Floats:
        """float64 (trials, terms): what each term of the ScoreModel, or of `EXTRAS`, multiplies."""
        s = trials.similarity
        q_t = np.log(np.clip(trials.speech_s, *self.speech_range_s)) - self.centre
        q_e = np.log(np.clip(trials.enrolled_speech_s, *self.speech_range_s)) - self.centre
        known = {
            "similarity": s,
            "speech": q_t,
            "enrolled": q_e,
            "similarity_x_speech": s * q_t,
            "similarity_x_enrolled": s * q_e,
        }
        names = list(itertools.chain.from_iterable(EXTRAS.values()))
        known |= {name: trials.extras[:, i] for i, name in enumerate(names)}
        return np.stack([known[term] for term in terms], axis=1)


@dataclass(frozen=True)
class Fit:
    """A fitted line: score = offset + columns @ weights."""

    frame: Frame
    terms: tuple[str, ...]
    offset: float
    weights: Floats

    def llr(self, trials: Examples) -> Floats:
        """Log-likelihood ratios, natural log."""
        return np.asarray(self.offset + self.frame.columns(trials, self.terms) @ self.weights)

    def score_model(self) -> ScoreModel:
        """The same as the service reads it.

        Raises:
            ValueError: Somewhere in the range of durations, the score does not rise with the similarity.
        """
        return ScoreModel(
            offset=self.offset,
            speech_range_s=self.frame.speech_range_s,
            centre=self.frame.centre,
            **dict(zip(self.terms, self.weights.tolist(), strict=True)),
        )


def fit(trials: Examples, terms: Sequence[str], frame: Frame, p_target: float = P_TARGET) -> Fit:
    """Weighted logistic regression of the label on the terms.

    Raises:
        ValueError: There are no trials of both kinds.

    Source: S. Pigeon, P. Druyts and P. Verlinde, "Applying logistic regression to the fusion of the NIST'99
        1-speaker submissions", Digital Signal Processing 10, 2000; the prior after N. Brümmer and
        E. de Villiers, "The BOSARIS toolkit", 2013.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and most processes never fit

    weights = balance(trials.block, trials.labels, p_target)
    line = LogisticRegression(C=1 / _RIDGE, solver="newton-cholesky", tol=1e-6)
    line.fit(frame.columns(trials, terms), trials.labels, sample_weight=weights)
    offset = float(line.intercept_[0]) - float(np.log(p_target / (1 - p_target)))
    return Fit(frame, tuple(terms), offset, np.asarray(line.coef_[0], np.float64))


def shift(trials: Examples, frame: Frame, weight: float = 1.0, p_target: float = P_TARGET) -> Fit:
    """The same regression with the similarity's weight held, so that the offset alone is fitted.

    Args:
        trials: Their similarity is a score already.
        frame: Of the durations, which do not enter.
        weight: Of the similarity, above 0.
        p_target: See `fit`.

    Raises:
        ValueError: There are no trials of both kinds.
    """
    from scipy.optimize import brentq  # slow to import, and most processes never fit
    from scipy.special import expit

    weights = balance(trials.block, trials.labels, p_target)
    log_odds = float(np.log(p_target / (1 - p_target)))
    scores = weight * trials.similarity

    def slope(offset: float) -> float:
        return float(weights @ (expit(scores + log_odds + offset) - trials.labels))

    # Beyond these, every trial would be called an impostor, or every one a target.
    ends = -scores.max() - 50.0, -scores.min() + 50.0
    return Fit(frame, SIMILARITY_ONLY, float(brentq(slope, *ends)), np.array([weight]))


def cross_validated(
    training: Examples, tested: Examples, terms: Sequence[str], frame: Frame, p_target: float = P_TARGET
) -> Floats:
    """Scores of the tested trials by fits that saw neither of their speakers.

    For each pair of folds (a fold with itself too) a line is fitted on the trials without a speaker in
    either, and scores the trials between the two: so each trial is scored once. Trials with one speaker
    inside and one outside are in neither.

    Args:
        training: Trials to fit on, folds as of `tested`.
        tested: Trials to score.
        terms: Of the fit.
        frame: Of the durations.
        p_target: See `fit`.
    """
    return held_out(training, tested, lambda some: fit(some, terms, frame, p_target))


def held_out(training: Examples, tested: Examples, fitting: Callable[[Examples], Fit]) -> Floats:
    """The same for any way of fitting a line."""
    scores = np.full(len(tested.labels), np.nan)
    low = np.minimum(tested.enroll_fold, tested.test_fold)
    high = np.maximum(tested.enroll_fold, tested.test_fold)
    for one, other in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        seen = np.isin(training.enroll_fold, (one, other)) | np.isin(training.test_fold, (one, other))
        here = (low == one) & (high == other)
        scores[here] = fitting(training.chosen(~seen)).llr(tested.chosen(here))
    return scores

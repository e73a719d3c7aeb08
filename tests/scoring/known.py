"""Trials whose log-likelihood ratios or error rates are known."""

import numpy as np

from app.scoring import ScoreModel
from app.scoring.fitting import Examples, Frame

FRAME = Frame((0.5, 20.0), float(np.log(3.0)))
TRUTH = ScoreModel(
    offset=-7.5, similarity=18.0, speech=-1.25, similarity_x_speech=3.0,
    speech_range_s=FRAME.speech_range_s, centre=FRAME.centre,
)  # fmt: skip
LABELS = np.array([1] * 50 + [0] * 200)
TERMS = ("similarity", "speech", "similarity_x_speech")


def known_trials(seed: int, targets: int, impostors: int, block: int = 0) -> Examples:
    """Trials whose log-likelihood ratio is TRUTH's: two normal distributions about `middle`, of one width,
    that lie further apart the more speech there is."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [targets, impostors])
    least, most = np.log(FRAME.speech_range_s)
    speech_s = np.exp(rng.uniform(least, most, len(labels)))
    slope = TRUTH.similarity + TRUTH.similarity_x_speech * (np.log(speech_s) - FRAME.centre)
    middle, deviation = 7.5 / 18.0, 0.15
    shift = slope * deviation**2 / 2
    similarity = rng.normal(middle + np.where(labels == 1, shift, -shift), deviation)
    folds = rng.integers(0, 5, len(labels))
    return Examples(
        np.full(len(labels), block), labels, similarity, np.exp(rng.uniform(0, 3, len(labels))), speech_s,
        folds, np.where(labels == 1, folds, rng.integers(0, 5, len(labels))), np.zeros((len(labels), 4)),
    )  # fmt: skip


def normal_scores(
    distance: float, seed: int = 0, targets: int = 4000, impostors: int = 16000
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(distance, 1, targets), rng.normal(0, 1, impostors)])
    return scores, np.array([1] * targets + [0] * impostors)


def calibrated(distance: float, seed: int = 0, each: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    """True log-likelihood ratios of two normal distributions that lie so many deviations apart."""
    rng = np.random.default_rng(seed)
    middle = distance**2 / 2
    scores = np.concatenate([rng.normal(middle, distance, each), rng.normal(-middle, distance, each)])
    return scores, np.repeat([1, 0], each)

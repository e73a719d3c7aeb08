"""Intervals of figures by resampling speakers: trials that share a voice are no independent witnesses."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from app.scoring.rates import Floats

Labels = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]
ENDS: Final = (2.5, 97.5)
"""Percentiles at the ends of a 95 % interval."""


def speaker_weights(
    labels: Labels, enroll: Names, test: Names, rounds: int, seed: int = 0
) -> Iterator[Labels]:
    """How often each trial counts when as many speakers as there are get drawn with replacement.

    An impostor trial counts as often as the product of its two speakers' draws, a target trial as often as
    its one speaker was drawn. A draw that leaves no trial of one kind is drawn again.

    Args:
        labels: int64 (trials,), 1 = target.
        enroll: Speaker of the first recording of each trial.
        test: Speaker of the tested recording.
        rounds: Number of draws.
        seed: Of the draws.

    Yields:
        int64 (trials,), `rounds` times.

    Source: N. Poh and S. Bengio, "Estimating the confidence interval of expected performance curve in
        biometric authentication using joint bootstrap", ICASSP 2007.
    """
    rng = np.random.default_rng(seed)
    voices, places = np.unique(np.concatenate([enroll, test]), return_inverse=True)
    left, right = places.reshape(2, -1)
    done = 0
    while done < rounds:
        drawn = np.bincount(rng.integers(len(voices), size=len(voices)), minlength=len(voices))
        counts = np.where(left == right, drawn[left], drawn[left] * drawn[right])
        if counts[labels == 1].any() and counts[labels == 0].any():
            done += 1
            yield counts


def speaker_bootstrap(
    statistic: Callable[[Floats, Labels], float],
    scores: Floats,
    labels: Labels,
    enroll_speakers: Names,
    test_speakers: Names,
    rounds: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a figure of trials, by resampling their speakers.

    With few speakers (below about 20) it is too narrow; nothing can tell by how much.

    Args:
        statistic: From scores and labels to the figure.
        scores: float64 (trials,).
        labels: int64 (trials,), 1 = target.
        enroll_speakers: Speaker of the first recording of each trial.
        test_speakers: Speaker of the tested recording.
        rounds: Number of draws.
        seed: Of the draws.

    Returns:
        Lower and upper end.
    """
    order = np.argsort(scores)  # once: statistics sort again, and what is sorted sorts fast
    scores, labels = scores[order], labels[order]
    draws = speaker_weights(labels, enroll_speakers[order], test_speakers[order], rounds, seed)
    values = [statistic(np.repeat(scores, counts), np.repeat(labels, counts)) for counts in draws]
    low, high = np.percentile(values, ENDS)
    return float(low), float(high)


def rate_intervals(
    passed: Mapping[str, npt.NDArray[np.bool_]],
    labels: Mapping[str, Labels],
    speakers: Mapping[str, tuple[Names, Names]],
    rounds: int = 200,
) -> tuple[Floats, Floats]:
    """95 % intervals of the rates (FMR, FNMR) of several thresholds, in the mean over sets.

    Args:
        passed: For each set bool (thresholds, trials): accepted.
        labels: For each set int64 (trials,), 1 = target.
        speakers: For each set the speakers of the first and of the tested recordings.
        rounds: Number of draws; in each, every set draws its own speakers.

    Returns:
        Two float64 (thresholds, 2): lower and upper end of FMR and of FNMR.
    """
    fmr, fnmr = [], []
    for seed, (name, accepted) in enumerate(passed.items()):
        target = labels[name] == 1
        draws = np.array(list(speaker_weights(labels[name], *speakers[name], rounds, seed)), np.float64)
        fmr.append((draws[:, ~target] @ accepted[:, ~target].T) / draws[:, ~target].sum(axis=1)[:, None])
        fnmr.append((draws[:, target] @ ~accepted[:, target].T) / draws[:, target].sum(axis=1)[:, None])
    ends = [np.percentile(np.mean(rates, axis=0), ENDS, axis=0).T for rates in (fmr, fnmr)]
    return ends[0], ends[1]

"""Error rates of trials: scores that rise with likeness, and labels, 1 for one speaker → figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import det_curve

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trials:
    """A trial list: pairs of utterances and whether one speaker spoke both.

    Attributes:
        labels: int64 (trials,), 1 = target, 0 = impostor.
        enroll: Utterance ids, the first of each pair.
        test: Utterance ids, the second of each pair.
    """

    labels: npt.NDArray[np.int64]
    enroll: Sequence[str]
    test: Sequence[str]

    def chosen(self, places: Sequence[int]) -> "Trials":
        """The trials at these places, in their order."""
        return Trials(self.labels[places], [self.enroll[i] for i in places], [self.test[i] for i in places])

    def thinned(self, most: int) -> "Trials":
        """At most `most` trials of each kind, evenly spread over the list."""
        keep = []
        for label in (0, 1):
            places = np.flatnonzero(self.labels == label)
            keep.append(places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)])
        return self.chosen(np.sort(np.concatenate(keep)).tolist())


def read_trials(path: Path) -> Trials:
    """Reads lines `label enroll_utterance test_utterance`.

    Raises:
        ValueError: A line has another form, or one of the two kinds of trial is missing.
    """
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    wrong = next((i for i, row in enumerate(rows, 1) if len(row) != 3 or row[0] not in ("0", "1")), None)
    if wrong is not None:
        raise ValueError(f"{path}, line {wrong}: expected `0|1 enroll_utterance test_utterance`")
    labels = np.array([int(row[0]) for row in rows], np.int64)
    if not 0 < labels.sum() < len(labels):
        raise ValueError(f"{path} needs both target (1) and impostor (0) trials")
    return Trials(labels, [row[1] for row in rows], [row[2] for row in rows])


def read_trial_folder(folder: Path, most: int | None = None) -> dict[str, Trials]:
    """Every `*.txt` of a folder as a trial list, by its name; thinned to `most` of each kind."""
    lists = {path.stem: read_trials(path) for path in sorted(folder.glob("*.txt"))}
    return {name: trials.thinned(most) if most else trials for name, trials in lists.items()}


def error_rates(scores: Floats, labels: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """The DET curve: (fmr, fnmr, thresholds) for `accept when score >= threshold`, thresholds rising."""
    fmr, fnmr, thresholds = det_curve(labels, scores)
    order = np.argsort(thresholds, kind="stable")
    return fmr[order], fnmr[order], thresholds[order]


def equal_error_rate(scores: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The rate at which FMR and FNMR meet, in [0, 1], interpolated between the two nearest points."""
    fmr, fnmr, _ = error_rates(scores, labels)
    fmr, fnmr = np.append(fmr, 0.0), np.append(fnmr, 1.0)
    gap = fnmr - fmr
    i = int(np.argmax(gap >= 0))
    if i == 0:
        return float((fmr[0] + fnmr[0]) / 2)
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    return float(fmr[i - 1] + share * (fmr[i] - fmr[i - 1]))


def min_dcf(
    scores: Floats,
    labels: npt.NDArray[np.int64],
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Least detection cost over all thresholds, normalised by the better of always yes and always no.

    Source: NIST speaker recognition evaluation plans.
    """
    fmr, fnmr, _ = error_rates(scores, labels)
    cost = c_miss * p_target * fnmr + c_fa * (1 - p_target) * fmr
    return float(min(cost.min() / min(c_miss * p_target, c_fa * (1 - p_target)), 1.0))


def threshold_at_fmr(
    scores: Floats, labels: npt.NDArray[np.int64], target_fmr: float
) -> tuple[float, float, float]:
    """The least threshold whose FMR is at most the target: (threshold, fmr, fnmr)."""
    fmr, fnmr, thresholds = error_rates(scores, labels)
    fits = np.flatnonzero(fmr <= target_fmr)
    if len(fits) == 0:
        above = float(np.nextafter(scores.max(), np.inf))
        return above, 0.0, 1.0
    i = int(fits[0])
    return float(thresholds[i]), float(fmr[i]), float(fnmr[i])

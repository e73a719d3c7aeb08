"""Trial lists, and what a detector of one speaker costs on them; the rates are in `app.scoring.rates`."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.scoring.rates import Floats, error_rates


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

    def among(self, enroll: Container[str], test: Container[str]) -> "Trials":
        """The trials whose first recording is among `enroll` and whose second is among `test`."""
        pairs = enumerate(zip(self.enroll, self.test, strict=True))
        return self.chosen([i for i, (a, b) in pairs if a in enroll and b in test])

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


def draw_trials(
    utterances: Sequence[str], speakers: Sequence[str], sets: Sequence[str], most: int, seed: int = 0
) -> dict[str, Trials]:
    """Draws a trial list for each set from who spoke what.

    Args:
        utterances: Id of each recording.
        speakers: Speaker of each recording.
        sets: Set of each recording; impostors are drawn inside it, since between sets the channel
            would give them away.
        most: Most trials of each kind and set; every pair when a set has fewer.
        seed: Of the draw.

    Returns:
        A list for each set that has a speaker with two recordings and a second speaker.
    """
    rng = np.random.default_rng(seed)
    names, voices, homes = np.array(utterances), np.array(speakers), np.array(sets)
    lists = {}
    for home in np.unique(homes).tolist():
        inside = np.flatnonzero(homes == home)
        left, right = np.triu_indices(len(inside), 1)
        same = voices[inside[left]] == voices[inside[right]]
        if not 0 < same.sum() < len(same):
            continue
        drawn = [rng.permutation(np.flatnonzero(same == kind))[:most] for kind in (True, False)]
        rows = np.concatenate(drawn)
        lists[home] = Trials(
            same[rows].astype(np.int64),
            names[inside[left[rows]]].tolist(),
            names[inside[right[rows]]].tolist(),
        )
    return lists


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
    return float(min(np.min(_normalised_cost(fmr, fnmr, p_target, c_miss, c_fa)), 1.0))


def act_dcf(
    llr: Floats,
    labels: npt.NDArray[np.int64],
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Detection cost of scores taken at their word, normalised as `min_dcf`; above 1 they do harm.

    What it exceeds minDCF by is lost to calibration.

    Args:
        llr: Log-likelihood ratios, natural log; accepted from the threshold of Bayes on.
        labels: 1 = target.
        p_target: Share of target trials that is expected.
        c_miss: Cost of a target that is turned away.
        c_fa: Cost of an impostor who passes.
    """
    threshold = np.log(c_fa * (1 - p_target) / (c_miss * p_target))
    missed = np.mean(llr[labels == 1] < threshold)
    passed = np.mean(llr[labels == 0] >= threshold)
    return float(_normalised_cost(passed, missed, p_target, c_miss, c_fa))


def _normalised_cost(fmr: Any, fnmr: Any, p_target: float, c_miss: float, c_fa: float) -> Any:
    """Detection cost of error rates, divided by the better of always yes and always no."""
    of_misses, of_passes = c_miss * p_target, c_fa * (1 - p_target)
    return (of_misses * fnmr + of_passes * fmr) / min(of_misses, of_passes)


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

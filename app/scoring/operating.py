"""Held-out scores → what calibration.json promises: thresholds, rates with intervals, the DET."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from app.scoring.calibration import FORMAT
from app.scoring.fitting import balance
from app.scoring.intervals import Labels, Names, rate_intervals
from app.scoring.rates import RULE_OF_THREE, Floats, cllr, equal_error_rate, error_rates, min_cllr
from app.scoring.score import ScoreModel

FMR_POINTS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False-match rates at which thresholds are written, as far as the trials support them."""
_DET_POINTS: Final = 200


@dataclass(frozen=True)
class Scored:
    """Trials of one set with held-out scores (log-likelihood ratios, natural log).

    Attributes:
        llr: float64 (trials,).
        labels: int64 (trials,), 1 = target.
        enroll_speakers: Speaker of the enrolment.
        test_speakers: Speaker of the tested recording.
    """

    llr: Floats
    labels: Labels
    enroll_speakers: Names
    test_speakers: Names


def calibration_content(
    score: ScoreModel, sets: Mapping[str, Scored], model_sha256: str, source: str
) -> dict[str, Any]:
    """The content of calibration.json; every set counts alike.

    Args:
        score: Fitted on all trials.
        sets: Trials scored by fits without their speakers; both kinds in each.
        model_sha256: Hash of the model.
        source: The trials, in words.

    Raises:
        ValueError: The trials support no operating point.
    """
    llr = np.concatenate([s.llr for s in sets.values()])
    labels = np.concatenate([s.labels for s in sets.values()])
    block = np.repeat(np.arange(len(sets)), [len(s.labels) for s in sets.values()])
    weights = balance(block, labels, 0.5)
    voices = [np.concatenate([s.enroll_speakers, s.test_speakers]) for s in sets.values()]
    return {
        "format": FORMAT,
        "model_sha256": model_sha256,
        "source": source,
        "score": asdict(score),
        "trials": {
            "target": int(labels.sum()),
            "impostor": int((labels == 0).sum()),
            "speakers": len(np.unique(np.concatenate(voices))),
        },
        "eer": equal_error_rate(llr, labels, weights),
        "cllr": cllr(llr, labels, weights),
        "min_cllr": min_cllr(llr, labels, weights),
        "operating_points": operating_points(sets),
        "det": det_points(llr, labels, weights),
    }


def operating_points(sets: Mapping[str, Scored]) -> list[dict[str, Any]]:
    """Thresholds by false-match rate with 95 % intervals by speaker, every set counting alike.

    A rate below 3 / impostor trials is not written: that many trials cannot support it.

    Raises:
        ValueError: No rate is supported.
    """
    impostors = [s.llr[s.labels == 0] for s in sets.values()]
    order = np.argsort(-np.concatenate(impostors))
    falling = np.concatenate(impostors)[order]
    passed = np.cumsum(np.concatenate([np.full(len(s), 1 / len(s)) for s in impostors])[order]) / len(sets)
    rates = [rate for rate in FMR_POINTS if rate >= RULE_OF_THREE / len(falling)]
    if not rates:
        raise ValueError(f"{len(falling)} impostor trials support no false-match rate up to {FMR_POINTS[-1]}")
    # The least threshold above every impostor that the rate does not allow.
    thresholds = [
        float(np.nextafter(falling[np.searchsorted(passed, rate, side="right")], np.inf)) for rate in rates
    ]
    accepted = {name: s.llr >= np.array(thresholds)[:, None] for name, s in sets.items()}
    fmr, fnmr = rate_intervals(
        accepted,
        {name: s.labels for name, s in sets.items()},
        {name: (s.enroll_speakers, s.test_speakers) for name, s in sets.items()},
    )
    missed = [1 - accepted[name][:, s.labels == 1].mean(axis=1) for name, s in sets.items()]
    passing = [accepted[name][:, s.labels == 0].mean(axis=1) for name, s in sets.items()]
    return [
        {
            "fmr": rate,
            "fnmr": float(np.mean(missed, axis=0)[i]),
            "threshold": thresholds[i],
            "fmr_interval": fmr[i].tolist(),
            "fnmr_interval": fnmr[i].tolist(),
            "measured_fmr": float(np.mean(passing, axis=0)[i]),
        }
        for i, rate in enumerate(rates)
    ]


def det_points(llr: Floats, labels: Labels, weights: Floats) -> dict[str, list[float]]:
    """At most 200 points of the DET curve, evenly far apart on normal deviates, thresholds rising.

    The end at which nobody passes has no finite threshold where an impostor scored highest; it is left out.
    """
    from scipy.stats import norm  # slow to import, and most processes never fit

    fmr, fnmr, thresholds = error_rates(llr, labels, weights)
    ends = 1e-5, 1 - 1e-5
    along = np.maximum.accumulate(norm.ppf(np.clip(fnmr, *ends)) - norm.ppf(np.clip(fmr, *ends)))
    chosen = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], _DET_POINTS)))
    chosen = chosen[np.isfinite(thresholds[chosen])]
    columns = {"threshold": thresholds, "fmr": fmr, "fnmr": fnmr}
    return {name: np.round(column[chosen], 6).tolist() for name, column in columns.items()}

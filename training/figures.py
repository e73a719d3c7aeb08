"""Scored trials → figures: error rates and costs with their intervals, by set and in the mean over sets."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from app.scoring import ScoreModel
from app.scoring.intervals import speaker_bootstrap
from app.scoring.rates import RULE_OF_THREE, Floats, cllr, equal_error_rate, min_cllr
from training.metrics import act_dcf, min_dcf, threshold_at_fmr
from training.scored import Measured

Row: TypeAlias = dict[str, Any]
"""Figures by name: rates in [0, 1]; None where the trials do not support one."""

LEAST_TARGETS, LEAST_IMPOSTORS = 20, 50
"""Trials of a set from which its rate counts in the mean of a condition or group."""
_STATISTICS: Final[dict[str, Callable[[Floats, npt.NDArray[np.int64]], float]]] = {
    "eer": equal_error_rate,
    "min_dcf": min_dcf,
}


def set_row(m: Measured, score: ScoreModel | None, rounds: int) -> Row:
    """The figures of one set.

    Args:
        m: Its scored trials.
        score: The model's own calibration; None leaves out what needs one.
        rounds: Rounds of the bootstrap; 0 leaves the intervals out.

    Returns:
        Rates of single recordings against each other; under `enrolled` the same of recordings against
        enrolments, or None where nobody has speech enough for one; under `baseline` those of MFCC statistics.
    """
    row = rates(m.scores, m, rounds)
    row["baseline"] = {
        "eer": equal_error_rate(m.baseline, m.labels),
        "min_dcf": min_dcf(m.baseline, m.labels),
    }
    known = m.against_enrolments
    row["enrolled"] = rates(known.enrolled, known, rounds) if known.has_both_kinds else None
    if row["enrolled"] and score is not None:
        llr = score.llr(known.enrolled, known.enrolled_speech_s, known.speech_s)
        row["enrolled"] |= {
            "score_eer": equal_error_rate(llr, known.labels),
            "score_min_dcf": min_dcf(llr, known.labels),
            "act_dcf": act_dcf(llr, known.labels),
            "cllr": cllr(llr, known.labels),
            "min_cllr": min_cllr(llr, known.labels),
        }
    return row


def rates(scores: Floats, m: Measured, rounds: int) -> Row:
    """EER and minDCF with intervals, and FNMR at two false-match rates, of the trials by these scores."""
    impostors = int((m.labels == 0).sum())
    row: Row = {
        "target_trials": int(m.labels.sum()),
        "impostor_trials": impostors,
        "speakers": len({*m.enroll_speakers.tolist(), *m.test_speakers.tolist()}),
    }
    for name, statistic in _STATISTICS.items():
        row[name] = statistic(scores, m.labels)
        row[f"{name}_interval"] = (
            list(
                speaker_bootstrap(
                    statistic, scores, m.labels, m.enroll_speakers, m.test_speakers, rounds=rounds
                )
            )
            if rounds
            else None
        )
    for name, fmr in (("fnmr_at_fmr_1", 0.01), ("fnmr_at_fmr_0_1", 0.001)):
        supported = impostors * fmr >= RULE_OF_THREE
        row[name] = threshold_at_fmr(scores, m.labels, fmr)[2] if supported else None
    return row


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean over sets, every set counting alike; counts of trials are summed.

    A figure that some sets do not have is the mean over those that do. The sets share no speaker, so the
    half widths of their intervals add up in squares.
    """
    mean: Row = {"sets": len(rows)}
    keys = list(dict.fromkeys(key for row in rows for key in row))
    for key in keys:
        values = [row[key] for row in rows if row.get(key) is not None]
        if not values:
            mean[key] = None
        elif key.endswith("_trials") or key == "speakers":
            mean[key] = int(sum(values))
        elif key.endswith("_interval"):
            centre = mean[key.removesuffix("_interval")]
            half = math.sqrt(sum(((high - low) / 2) ** 2 for low, high in values)) / len(values)
            mean[key] = [max(0.0, centre - half), centre + half]
        elif isinstance(values[0], dict):
            mean[key] = mean_row(values)
        elif isinstance(values[0], (int, float)):
            mean[key] = float(np.mean(values))
    return mean


def group_row(
    name: str,
    chosen: Mapping[str, Measured],
    reference: Mapping[str, Measured],
    score: ScoreModel | None,
    rounds: int,
) -> Row | None:
    """The figures of a condition or of a group of trials: the mean over the sets with trials enough.

    Args:
        name: What it is called.
        chosen: Its trials by set.
        reference: What to compare with, by set: the same trials untouched, or all trials.
        score: The model's calibration, if any.
        rounds: Rounds of the bootstrap.

    Returns:
        The mean row with `name`, `set_names` and `reference`, the mean of the same sets; None when no set
        has trials enough.
    """
    names = [
        home
        for home, m in sorted(chosen.items())
        if m.labels.sum() >= LEAST_TARGETS and (m.labels == 0).sum() >= LEAST_IMPOSTORS
    ]
    if not names:
        return None
    row = mean_row([set_row(chosen[home], score, rounds) for home in names])
    beside = mean_row([set_row(reference[home], score, 0) for home in names])
    return {"name": name, "set_names": names, **row, "reference": beside}

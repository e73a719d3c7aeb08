"""Trials of one gallery → a calibration of its own: the model's score, shifted and stretched.

Two numbers at most are fitted, not the model's whole line: what a similarity is worth at which durations was
learnt from far more speech than one gallery holds; what microphones, rooms and languages of its own change is
where the score stands and how wide it spreads.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np

from app.errors import UnsupportedRate
from app.scoring.calibration import Calibration, read_calibration
from app.scoring.fitting import (
    EXTRAS,
    SIMILARITY_ONLY,
    Examples,
    Fit,
    Frame,
    fit,
    held_out,
    shift,
    speaker_folds,
)
from app.scoring.intervals import ENDS, Labels, rate_intervals, speaker_weights
from app.scoring.operating import Scored, calibration_content
from app.scoring.own_trials import OwnTrials
from app.scoring.rates import Floats, cllr, cllr_costs, equal_error_rate, min_cllr
from app.scoring.score import ScoreModel

FOLDS: Final = 5
_ROUNDS: Final = 200
SCALES: Final = (0.5, 2.0)
"""Least and greatest scale. Few trials that can be told apart without an error would ask for one without
bounds, and the first error of somebody else would cost as much as it is large."""
LEAST_GAIN: Final = 0.001
"""Bits of Cllr that a scale must save to be fitted."""


@dataclass(frozen=True)
class Refit:
    """A calibration and how it compares with the one in force.

    Attributes:
        content: As `calibration_content` writes it.
        figures: For people: counts, costs and thresholds, see `_figures`.
    """

    content: dict[str, Any]
    figures: dict[str, Any]


def refit(trials: OwnTrials, base: Calibration, in_force: Calibration, source: str) -> Refit:
    """Fits the offset of the model's score, and its scale where that pays, cross-validated by speaker.

    Args:
        trials: Of both kinds.
        base: The model's own calibration, whose score is shifted and stretched.
        in_force: What it is compared with.
        source: The trials, in words.

    Raises:
        ValueError: The trials support no operating point, or the score would fall with the similarity.
    """
    line, scores = _chosen(_examples(trials, base.score), Frame(base.score.speech_range_s, base.score.centre))
    score = _stretched(base.score, line.offset, float(line.weights[0]))
    scored = Scored(scores, trials.labels, trials.enroll_speakers, trials.test_speakers)
    content = calibration_content(score, {"own": scored}, base.model_sha256, source)
    proposed = read_calibration(content)
    before = in_force.score.llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s)
    return Refit(content, _figures(trials, before, scores, in_force, proposed))


def _chosen(examples: Examples, frame: Frame) -> tuple[Fit, Floats]:
    """The line whose held-out scores cost less: shifted, or shifted and stretched; and those scores."""
    shifted = held_out(examples, examples, lambda some: shift(some, frame))
    stretched = held_out(examples, examples, lambda some: _stretch(some, frame))
    costs = [cllr(scores, examples.labels) for scores in (shifted, stretched)]
    if costs[1] < costs[0] - LEAST_GAIN:
        return _stretch(examples, frame), stretched
    return shift(examples, frame), shifted


def _stretch(examples: Examples, frame: Frame) -> Fit:
    """Offset and scale, the scale inside `SCALES`.

    Raises:
        ValueError: There are no trials of both kinds, or the score would fall with the similarity.
    """
    line = fit(examples, SIMILARITY_ONLY, frame)
    scale = float(line.weights[0])
    if scale <= 0.0:
        raise ValueError("the score does not rise with the similarity")
    held = min(max(scale, SCALES[0]), SCALES[1])
    return line if held == scale else shift(examples, frame, held)


def _stretched(score: ScoreModel, offset: float, scale: float) -> ScoreModel:
    """The same score times `scale`, plus `offset`."""
    names = [f.name for f in fields(score) if f.name not in ("speech_range_s", "centre")]
    weights = {name: scale * getattr(score, name) for name in names}
    return replace(score, **weights | {"offset": offset + weights["offset"]})


def _examples(trials: OwnTrials, score: ScoreModel) -> Examples:
    """The trials as the fit wants them, with the model's score in the place of the similarity."""
    # Strangers, of whom there may be many, must not decide how the enrolled are spread.
    folds = speaker_folds([trials.enroll_speakers.tolist(), trials.test_speakers.tolist()], FOLDS)
    count = len(trials.labels)
    return Examples(
        block=np.zeros(count, np.int64),
        labels=trials.labels,
        similarity=np.asarray(score.llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s)),
        enrolled_speech_s=trials.enrolled_speech_s,
        speech_s=trials.speech_s,
        enroll_fold=np.array([folds[name] for name in trials.enroll_speakers.tolist()]),
        test_fold=np.array([folds[name] for name in trials.test_speakers.tolist()]),
        extras=np.zeros((count, sum(map(len, EXTRAS.values())))),
    )


def _figures(
    trials: OwnTrials, before: Floats, after: Floats, in_force: Calibration, proposed: Calibration
) -> dict[str, Any]:
    """Counts by origin; costs of both calibrations and what their thresholds do on these trials."""
    labels, draws = trials.labels, _draws(trials)
    saved = cllr_costs(before, labels) - cllr_costs(after, labels)
    return {
        "trials": {
            origin: {"target": int((labels[which] == 1).sum()), "impostor": int((labels[which] == 0).sum())}
            for origin, which in (("confirmed", trials.confirmed), ("gallery", ~trials.confirmed))
        },
        "speakers": trials.speakers,
        "in_force": _costs(before, labels, draws),
        "proposed": _costs(after, labels, draws),
        "cllr_saved": _mean(saved, labels),
        "cllr_saved_interval": _interval(saved, labels, draws),
        "thresholds": [
            {
                "fmr": point.fmr,
                "in_force": _measured(trials, before, _threshold(in_force, point.fmr)),
                "proposed": _measured(trials, after, point.threshold),
            }
            for point in proposed.operating_points
        ],
    }


def _costs(llr: Floats, labels: Labels, draws: Floats) -> dict[str, Any]:
    return {
        "eer": equal_error_rate(llr, labels),
        "cllr": cllr(llr, labels),
        "cllr_interval": _interval(cllr_costs(llr, labels), labels, draws),
        "min_cllr": min_cllr(llr, labels),
    }


def _threshold(calibration: Calibration, fmr: float) -> float | None:
    try:
        return calibration.at_fmr(fmr).threshold
    except UnsupportedRate:
        return None


def _measured(trials: OwnTrials, llr: Floats, threshold: float | None) -> dict[str, Any] | None:
    """The error rates at a threshold on these trials, with intervals by speaker."""
    if threshold is None:
        return None
    passed, labels = llr >= threshold, trials.labels
    speakers = {"own": (trials.enroll_speakers, trials.test_speakers)}
    fmr, fnmr = rate_intervals({"own": passed[None]}, {"own": labels}, speakers)
    return {
        "threshold": threshold,
        "fmr": float(passed[labels == 0].mean()),
        "fmr_interval": fmr[0].tolist(),
        "fnmr": float(1 - passed[labels == 1].mean()),
        "fnmr_interval": fnmr[0].tolist(),
    }


def _draws(trials: OwnTrials) -> Floats:
    drawn = speaker_weights(trials.labels, trials.enroll_speakers, trials.test_speakers, _ROUNDS)
    return np.array(list(drawn), np.float64)


def _mean(costs: Floats, labels: Labels) -> float:
    return float(np.mean([costs[labels == kind].mean() for kind in (0, 1)]))


def _interval(costs: Floats, labels: Labels, draws: Floats) -> list[float]:
    """95 % interval of the mean over both kinds of trial, by drawing speakers anew."""
    by_kind = [
        draws[:, labels == kind] @ costs[labels == kind] / draws[:, labels == kind].sum(axis=1)
        for kind in (0, 1)
    ]
    ends: list[float] = np.percentile(np.mean(by_kind, axis=0), ENDS).tolist()
    return ends

"""Trials of one gallery → a calibration of its own: the model's score, shifted and stretched.

Two numbers are fitted, not the model's whole line: what a similarity is worth at which durations was learnt
from far more speech than one gallery holds; what microphones, rooms and languages of its own change is where
the score stands and how wide it spreads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.arrays import Embeddings
from app.errors import UnsupportedRate
from app.scoring.calibration import Calibration, read_calibration
from app.scoring.fitting import EXTRAS, SIMILARITY_ONLY, Examples, Frame, cross_validated, fit, speaker_folds
from app.scoring.intervals import ENDS, Labels, Names, rate_intervals, speaker_weights
from app.scoring.operating import Scored, calibration_content
from app.scoring.rates import Floats, cllr, cllr_costs, equal_error_rate, min_cllr
from app.scoring.score import ScoreModel
from app.scoring.vectors import centroid

FOLDS: Final = 5
MOST_SPEAKERS: Final = 1000
MOST_TAKES: Final = 5
"""Takes of one speaker that are compared; all of them make the centroid."""
MOST_IMPOSTORS: Final = 20_000
_ROUNDS: Final = 200


@dataclass(frozen=True)
class OwnTrials:
    """Comparisons whose truth is known; every array has one row for each.

    Attributes:
        labels: int64, 1 = target.
        similarity: float64, cosine.
        enrolled_speech_s: float64, speech behind the speaker's centroid, in seconds.
        speech_s: float64, speech in the recording, in seconds.
        enroll_speakers: Who is enrolled.
        test_speakers: Who spoke; a name of its own for a stranger.
        confirmed: bool, a decision that somebody confirmed, not a comparison inside the gallery.
    """

    labels: Labels
    similarity: Floats
    enrolled_speech_s: Floats
    speech_s: Floats
    enroll_speakers: Names
    test_speakers: Names
    confirmed: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: "Sequence[OwnTrials]") -> "OwnTrials":
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    @property
    def speakers(self) -> int:
        """Voices among whom there are target trials."""
        return len(np.unique(self.enroll_speakers[self.labels == 1]))


@dataclass(frozen=True)
class Takes:
    """Recordings that make up a gallery; every array has one row for each.

    Attributes:
        speakers: Who.
        embeddings: float32 (takes, dim), unit length.
        speech_s: float64 (takes,), in seconds.
    """

    speakers: Names
    embeddings: Embeddings
    speech_s: Floats


def gallery_trials(takes: Takes, required_s: float, seed: int = 0) -> OwnTrials:
    """Every take against the gallery: the speaker's other takes are targets, the other speakers impostors.

    At most `MOST_SPEAKERS` speakers and `MOST_TAKES` takes of each are compared, and `MOST_IMPOSTORS`
    impostor trials kept, drawn at random.

    Args:
        takes: Of everybody.
        required_s: Speech that makes an enrolment, in seconds. Without the take itself half of it will do
            for a target trial: else a speaker with two takes would hardly have one.
        seed: Of the draws.

    Returns:
        The trials; none at all from an empty gallery.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(takes.speakers)
    names = np.sort(rng.permutation(names)[:MOST_SPEAKERS])
    targets, centroids, seconds, probes = [], [], [], []
    for name in names:
        own = np.flatnonzero(takes.speakers == name)
        compared = rng.permutation(own)[:MOST_TAKES]
        probes.append(compared)
        centroids.append(centroid(takes.embeddings[own], takes.speech_s[own]))
        seconds.append(float(takes.speech_s[own].sum()))
        for one in compared:
            rest = own[own != one]
            rest_s = float(takes.speech_s[rest].sum())
            if len(rest) and rest_s >= required_s / 2:
                mean = centroid(takes.embeddings[rest], takes.speech_s[rest])
                targets.append((float(mean @ takes.embeddings[one]), rest_s, one))
    return OwnTrials.joined(
        [
            _targets(takes, targets),
            _impostors(takes, names, np.array(seconds), centroids, probes, required_s, rng),
        ]
    )


def _targets(takes: Takes, found: Sequence[tuple[float, float, int]]) -> OwnTrials:
    similarity, rest_s, places = np.array(found, np.float64).reshape(-1, 3).T
    tested = places.astype(np.int64)
    return _compared(takes, tested, takes.speakers[tested], similarity, rest_s, label=1)


def _impostors(
    takes: Takes, names: Names, seconds: Floats, centroids: Sequence[Any], probes: Sequence[Any],
    required_s: float, rng: np.random.Generator,
) -> OwnTrials:  # fmt: skip
    enrolled = np.flatnonzero(seconds >= required_s)
    tested = np.concatenate(probes) if probes else np.zeros(0, np.int64)
    if not len(enrolled) or not len(tested):
        return _compared(takes, tested[:0], names[:0], np.zeros(0), np.zeros(0), label=0)
    others = np.flatnonzero(takes.speakers[tested][:, None] != names[enrolled][None])
    if len(others) > MOST_IMPOSTORS:
        others = np.sort(rng.choice(others, MOST_IMPOSTORS, replace=False, shuffle=False))
    rows, columns = np.divmod(others, len(enrolled))
    left, right = takes.embeddings[tested[rows]], np.stack(centroids)[enrolled[columns]]
    similarity = np.asarray(np.sum(left * right, axis=1, dtype=np.float64))
    return _compared(
        takes, tested[rows], names[enrolled[columns]], similarity, seconds[enrolled[columns]], label=0
    )


def _compared(
    takes: Takes, tested: npt.NDArray[np.int64], enrolled: Names,
    similarity: Floats, enrolled_s: Floats, *, label: int,
) -> OwnTrials:  # fmt: skip
    return OwnTrials(
        labels=np.full(len(tested), label),
        similarity=similarity,
        enrolled_speech_s=enrolled_s,
        speech_s=takes.speech_s[tested],
        enroll_speakers=enrolled,
        test_speakers=takes.speakers[tested],
        confirmed=np.zeros(len(tested), bool),
    )


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
    """Fits offset and scale of the model's score on these trials, cross-validated by speaker.

    Args:
        trials: Of both kinds.
        base: The model's own calibration, whose score is shifted and stretched.
        in_force: What it is compared with.
        source: The trials, in words.

    Raises:
        ValueError: The trials support no operating point, or the score would fall with the similarity.
    """
    examples = _examples(trials, base.score)
    frame = Frame(base.score.speech_range_s, base.score.centre)
    line = fit(examples, SIMILARITY_ONLY, frame)
    held_out = cross_validated(examples, examples, SIMILARITY_ONLY, frame)
    score = _stretched(base.score, line.offset, float(line.weights[0]))
    scored = Scored(held_out, trials.labels, trials.enroll_speakers, trials.test_speakers)
    content = calibration_content(score, {"own": scored}, base.model_sha256, source)
    proposed = read_calibration(content)
    before = in_force.score.llr(trials.similarity, trials.enrolled_speech_s, trials.speech_s)
    return Refit(content, _figures(trials, before, held_out, in_force, proposed))


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

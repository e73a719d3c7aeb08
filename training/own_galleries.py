"""Would a calibration of one's own pay? Each set as a tenant, fitted on half its speakers, tried on the rest.

    python -m training.own_galleries --model models/mine --corpus utterances.csv --cache FOLDER

Fits what POST /v1/calibrations fits, on the comparisons inside the gallery alone, and says what the model's
scores and the fitted ones cost on speakers that neither has seen of this set, and which error rates come
about at the thresholds for a false-match rate of 5 %.
"""

import sys
from collections.abc import Sequence
from typing import Final

import numpy as np

from app.scoring import Calibration, read_calibration
from app.scoring.intervals import Names
from app.scoring.own_trials import OwnTrials, Takes, gallery_trials
from app.scoring.rates import Floats, cllr
from app.scoring.refit import refit
from training.studies import Study, run_study

FMR: Final = 0.05
_LEAST: Final = 30, 300, 10
"""Target trials, impostor trials and speakers that a fit needs, as the service asks for."""


def halves(takes: Takes, seed: int = 0) -> tuple[Takes, Takes]:
    """The takes of half of the speakers, drawn at random, and those of the others."""
    names = np.random.default_rng(seed).permutation(np.unique(takes.speakers))
    first = np.isin(takes.speakers, names[: len(names) // 2])
    one, other = (
        Takes(takes.speakers[part], takes.embeddings[part], takes.speech_s[part]) for part in (first, ~first)
    )
    return one, other


def tried(takes: Takes, base: Calibration, required_s: float) -> Floats | None:
    """Cllr, FMR and FNMR of unseen speakers, each by the model's calibration and by the fitted one.

    Args:
        takes: Of all speakers of a set.
        base: The model's calibration.
        required_s: Speech that makes an enrolment, in seconds.

    Returns:
        float64 (6,), the mean of fitting on the one half and on the other; None where they are too small.
    """
    one, other = (gallery_trials(half, required_s) for half in halves(takes))
    if not (_suffices(one) and _suffices(other)):
        return None
    return np.asarray(np.mean([_half(one, other, base), _half(other, one, base)], axis=0))


def _suffices(trials: OwnTrials) -> bool:
    targets = int(trials.labels.sum())
    return all(
        found >= least
        for found, least in zip((targets, len(trials.labels) - targets, trials.speakers), _LEAST, strict=True)
    )


def _half(fitted: OwnTrials, unseen: OwnTrials, base: Calibration) -> list[float]:
    own = read_calibration(refit(fitted, base, base, "half of the speakers").content)
    target, row = unseen.labels == 1, []
    for calibration in (base, own):
        llr = calibration.score.llr(unseen.similarity, unseen.enrolled_speech_s, unseen.speech_s)
        passed = llr >= calibration.at_fmr(FMR).threshold
        row.append([cllr(llr, unseen.labels), passed[~target].mean(), 1 - passed[target].mean()])
    return [float(value) for pair in zip(*row, strict=True) for value in pair]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_study("training.own_galleries", __doc__, _report, arguments)


def _report(study: Study) -> str:
    rows = {}
    for name in sorted({source.set_name for source in study.sources}):
        own = [s for s in study.sources if s.set_name == name and s.utterance_id in study.features]
        heard = [study.features[source.utterance_id] for source in own]
        speakers: Names = np.array([source.speaker_id for source in own], np.str_)
        spoken = np.array([f.speech_s for f in heard])
        takes = Takes(
            speakers[spoken > 0], np.stack([f.embedding for f in heard])[spoken > 0], spoken[spoken > 0]
        )
        found = tried(takes, study.calibration, study.enroll_speech_s)
        if found is not None:
            rows[name] = found
    if not rows:
        raise ValueError("no set has speakers enough for two halves")
    lines = ["| set | Cllr | own | FMR | own | FNMR | own |", "|---|---|---|---|---|---|---|"]
    for name, row in (rows | {"mean": np.mean(list(rows.values()), axis=0)}).items():
        shown = [f"{value:.3f}" for value in row[:2]] + [f"{value:.1%}" for value in row[2:]]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

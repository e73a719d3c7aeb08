"""How often a search errs: what the formula of the service says, and what recordings of strangers say.

    python -m training.searches --model models/mine --corpus utterances.csv --cache FOLDER

Draws galleries from the development speakers of each set, and from all sets together, searches them for the
recordings of those who were not drawn, and counts for how many of them somebody reaches a threshold. The
formula takes the comparisons of a search for independent; `FPIR = 1 - (1 - FMR)^size`.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.errors import UnsupportedRate
from app.scoring import Calibration, centroid
from app.scoring.points import fpir_of
from app.scoring.rates import Floats
from training.corpus import Source
from training.scored import Features
from training.studies import Study, run_study

SIZES: Final = (10, 30, 100, 300)
RATES: Final = (0.01, 0.05, 0.1, 0.2)
ALL_SETS: Final = "all sets together"
_ROUNDS: Final = 40
_MOST_PROBES: Final = 8
"""Recordings of one stranger, so that nobody who spoke much counts for many."""
_LEAST_STRANGERS: Final = 10


@dataclass(frozen=True)
class Voice:
    """A speaker of a set.

    Attributes:
        home: The set.
        takes: All recordings.
        enrolled: Centroid and speech of the first ones that make an enrolment; None with too little.
    """

    home: str
    takes: Sequence[Features]
    enrolled: tuple[Floats, float] | None


@dataclass(frozen=True)
class Searched:
    """Searches for strangers in galleries of one size, drawn from one pool of speakers.

    Attributes:
        scores: float64 (searches, size), rising in each row.
    """

    scores: Floats

    def fmr(self, threshold: float) -> float:
        """Share of the comparisons that reach a threshold."""
        return float(np.mean(self.scores >= threshold))

    def fpir(self, threshold: float) -> float:
        """Share of the searches in which somebody does."""
        return float(np.mean(self.scores[:, -1] >= threshold))

    def threshold_at(self, fpir: float) -> float:
        """The threshold at which the formula says this rate, from the rate of the comparisons made."""
        falling = np.sort(self.scores.ravel())[::-1]
        places = np.arange(1, len(falling) + 1) / len(falling)
        said = -np.expm1(self.scores.shape[1] * np.log1p(-np.minimum(places, 1 - 1e-12)))
        return float(falling[max(int(np.searchsorted(said, fpir, side="right")) - 1, 0)])


def voices_of(
    sources: Sequence[Source], homes: Mapping[str, str], features: Mapping[str, Features], required_s: float
) -> list[Voice]:
    """The speakers, each enrolled with its first recordings until there is enough speech.

    Args:
        sources: Recordings.
        homes: Set of each recording, by utterance.
        features: Features by utterance; recordings without are left out.
        required_s: Speech that makes an enrolment, in seconds.
    """
    takes: dict[tuple[str, str], list[Features]] = {}
    for source in sources:
        found = features.get(source.utterance_id)
        if found is not None and found.speech_s > 0:
            takes.setdefault((homes[source.utterance_id], source.speaker_id), []).append(found)
    return [Voice(home, own, _enrolled(own, required_s)) for (home, _), own in takes.items()]


def _enrolled(takes: Sequence[Features], required_s: float) -> tuple[Floats, float] | None:
    speech = np.cumsum([take.speech_s for take in takes])
    count = int(np.searchsorted(speech, required_s)) + 1
    if count > len(takes):
        return None
    mean = centroid(np.stack([t.embedding for t in takes[:count]]), [t.speech_s for t in takes[:count]])
    return mean.astype(np.float64), float(speech[count - 1])


def search(
    voices: Sequence[Voice], size: int, calibration: Calibration, rounds: int = _ROUNDS, seed: int = 0
) -> Searched | None:
    """Searches galleries that are drawn anew in each round for everybody who is not in them.

    Returns:
        None where the voices are too few for a gallery of this size and strangers to it.
    """
    rng = np.random.default_rng(seed)
    able = [place for place, voice in enumerate(voices) if voice.enrolled is not None]
    if len(able) < size or len(voices) - size < max(_LEAST_STRANGERS, size // 3):
        return None
    found = []
    for _ in range(rounds):
        drawn = rng.permutation(able)[:size].tolist()
        members = [each.enrolled for each in (voices[place] for place in drawn) if each.enrolled is not None]
        centroids, speech = np.stack([m[0] for m in members]), np.array([m[1] for m in members])
        strangers = [voice for place, voice in enumerate(voices) if place not in set(drawn)]
        probes = [v.takes[i] for v in strangers for i in rng.permutation(len(v.takes))[:_MOST_PROBES]]
        similarity = np.stack([probe.embedding for probe in probes]).astype(np.float64) @ centroids.T
        heard = np.array([[probe.speech_s] for probe in probes])
        found.append(np.sort(calibration.score.llr(similarity, speech, heard), axis=1))
    return Searched(np.concatenate(found))


def report(voices: Sequence[Voice], calibration: Calibration) -> str:
    """Both comparisons as tables: the formula against its own comparisons, the promise against strangers."""
    formula = ["| gallery | drawn from | formula says | measured | ratio |", "|---|---|---|---|---|"]
    promise = [
        "| gallery | drawn from | asked for | measured | lowest and highest set |",
        "|---|---|---|---|---|",
    ]
    homes = sorted({voice.home for voice in voices})
    pools = {"one set": [[v for v in voices if v.home == home] for home in homes], ALL_SETS: [list(voices)]}
    for words, lists in pools.items():
        for size in SIZES:
            found = [each for each in (search(pool, size, calibration) for pool in lists) if each is not None]
            if not found:
                continue
            label = f"{size} | {words}" + (f" ({len(found)} sets)" if words != ALL_SETS else "")
            for rate in RATES:
                formula.append(_formula_row(label, found, size, rate))
                promise.append(_promise_row(label, found, size, rate, calibration))
    return "\n".join([*formula, "", *promise])


def _formula_row(label: str, found: Sequence[Searched], size: int, rate: float) -> str:
    thresholds = [each.threshold_at(rate) for each in found]
    said = np.mean([fpir_of(each.fmr(t), size) for each, t in zip(found, thresholds, strict=True)])
    came = np.mean([each.fpir(t) for each, t in zip(found, thresholds, strict=True)])
    return f"| {label} | {said:.2%} | {came:.2%} | {came / said:.2f} |"


def _promise_row(
    label: str, found: Sequence[Searched], size: int, rate: float, calibration: Calibration
) -> str:
    try:
        threshold = calibration.at_fpir(rate, size).point.threshold
    except UnsupportedRate:
        return f"| {label} | {rate:.0%} | refused | |"
    came = [each.fpir(threshold) for each in found]
    return f"| {label} | {rate:.0%} | {np.mean(came):.2%} | {min(came):.1%} … {max(came):.1%} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_study("training.searches", __doc__, _report, arguments)


def _report(study: Study) -> str:
    homes = {source.utterance_id: source.set_name for source in study.sources}
    voices = voices_of(study.sources, homes, study.features, study.enroll_speech_s)
    return report(voices, study.calibration)


if __name__ == "__main__":
    sys.exit(main())

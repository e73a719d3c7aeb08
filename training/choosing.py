"""What a calibration is made of, decided by held-out cost: trials, terms, the score of several takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from tqdm import tqdm

from app.audio.quality import NARROWBAND_HZ
from app.scoring.fitting import (
    EXTRAS,
    P_TARGET,
    TERMS,
    Examples,
    Fit,
    Frame,
    cross_validated,
    fit,
)
from app.scoring.intervals import Labels
from app.scoring.rates import Floats, cllr, equal_error_rate
from training.metrics import min_dcf
from training.scored import Features, Measured

BySpeech: TypeAlias = Mapping[float, float]
"""Held-out Cllr in bits, in the mean over sets, by required speech in seconds."""

SINGLE: Final = 0.0
"""The required speech that stands for trials of one recording against one other."""
PRIORS: Final = (0.01, P_TARGET, 0.5)
LEAST_GAIN: Final = 0.001
"""Bits of Cllr that a further term must save to be taken."""
LEAST_SETS: Final = 3
"""Sets from which on whole sets can be held out."""
SCORINGS: Final[Mapping[str, Callable[[Measured], Floats]]] = {
    "centroid": lambda m: m.enrolled,
    "best of the references": lambda m: m.enrolled_best,
    "mean of both": lambda m: (m.enrolled + m.enrolled_best) / 2,
}
"""Similarities of a recording to an enrolment of several takes, by their words."""


def examples_of(
    m: Measured, similarity: Floats, block: int,
    features: Mapping[str, Features], folds: Mapping[str, int],
) -> Examples:  # fmt: skip
    """The trials of one set against enrolments, those whose similarity is a number, as one block."""
    heard = [[features[name] for name in names] for names in (m.enroll, m.test)]
    left, right = [np.nan_to_num(np.array([f.snr_db for f in side])) for side in heard]
    narrow = [np.array([f.bandwidth_hz < NARROWBAND_HZ for f in side]) for side in heard]
    extras = [np.minimum(left, right) / 10, np.abs(left - right) / 10]
    extras += [narrow[0] ^ narrow[1], narrow[0] & narrow[1]]
    found = Examples(
        block=np.full(len(m.labels), block),
        labels=m.labels,
        similarity=similarity,
        enrolled_speech_s=m.enrolled_speech_s,
        speech_s=m.speech_s,
        enroll_fold=np.array([folds[name] for name in m.enroll_speakers]),
        test_fold=np.array([folds[name] for name in m.test_speakers]),
        extras=np.stack(extras, axis=1).astype(np.float64),
    )
    return found.chosen(~np.isnan(similarity))


@dataclass(frozen=True)
class Evidence:
    """The trials that a calibration may be fitted on, by how much speech an enrolment needs.

    Attributes:
        sets: Names of the sets, in the order of their blocks.
        trials: Examples by required speech in seconds, block i being set i; those under `SINGLE` are of one
            recording against one other.
        wanted: The required speech of the operating points.
    """

    sets: Sequence[str]
    trials: Mapping[float, Examples]
    wanted: float

    @property
    def mixes(self) -> dict[str, tuple[float, ...]]:
        """Which trials may be fitted on, by words."""
        enrolments = tuple(s for s in self.trials if s != SINGLE)
        return {
            "single recordings": (SINGLE,),
            f"enrollments of {self.wanted:g} s": (self.wanted,),
            f"enrollments of {', '.join(f'{s:g}' for s in enrolments)} s": enrolments,
            "all of these": (SINGLE, *enrolments),
        }

    def mixed(self, mix: str) -> Examples:
        """The trials of a mix; each set at each required speech is a block of its own."""
        parts = [self.trials[seconds] for seconds in self.mixes[mix]]
        return Examples.joined(replace(p, block=p.block + i * len(self.sets)) for i, p in enumerate(parts))

    def by_set(self, trials: Examples) -> Examples:
        """The trials with sets for folds: each set is then scored by a fit without the whole of it."""
        home = trials.block % len(self.sets)
        return replace(trials, enroll_fold=home, test_fold=home)

    def costs(self, mix: str, terms: Sequence[str], frame: Frame, p_target: float = P_TARGET) -> "Costs":
        """What a fit on a mix costs on trials that it did not see."""
        training, tested = self.mixed(mix), Examples.joined(self.trials.values())
        ends = np.cumsum([len(t.labels) for t in self.trials.values()])[:-1]

        def cost(scores: Floats) -> BySpeech:
            parts = zip(self.trials.items(), np.split(scores, ends), strict=True)
            return {seconds: mean_over_sets(cllr, part, trials) for (seconds, trials), part in parts}

        by_speaker = cost(cross_validated(training, tested, terms, frame, p_target))
        if len(self.sets) < LEAST_SETS:
            return Costs(by_speaker, None)
        unseen = cross_validated(self.by_set(training), self.by_set(tested), terms, frame, p_target)
        return Costs(by_speaker, cost(unseen))


def mean_over_sets(statistic: Callable[[Floats, Labels], float], scores: Floats, trials: Examples) -> float:
    """A figure of scores and labels in the mean over the blocks that have trials of both kinds."""
    values = []
    for block in np.unique(trials.block):
        here = trials.block == block
        labels = trials.labels[here]
        if 0 < labels.sum() < len(labels):
            values.append(statistic(scores[here], labels))
    return float(np.mean(values))


@dataclass(frozen=True)
class Costs:
    """Held-out costs of one way to fit.

    Attributes:
        by_speaker: Of trials whose speakers the fit did not see.
        by_set: Of trials whose whole set it did not see; None with fewer than `LEAST_SETS` sets.
    """

    by_speaker: BySpeech
    by_set: BySpeech | None

    @property
    def objective(self) -> float:
        """What is chosen by: the mean over the enrolments, short and long, of sets that were not seen.

        A set is also a microphone, a language and a kind of text, and has durations of its own. With other
        speakers of the same set in the fit, durations pay by telling the sets apart, which helps nobody
        whose recordings come from elsewhere.
        """
        return mean_over_enrolments(self.by_speaker if self.by_set is None else self.by_set)


def mean_over_enrolments(costs: BySpeech) -> float:
    """The mean over the required speech of enrolments."""
    return float(np.mean([cost for seconds, cost in costs.items() if seconds != SINGLE]))


@dataclass(frozen=True)
class Choice:
    """What is fitted in the end, and the costs by which it was chosen.

    Attributes:
        mix: Trials that are fitted on.
        terms: Of the ScoreModel.
        frame: Of the durations.
        by_terms: Costs of the terms that were tried; None where the score would fall with the similarity.
        by_mix: Costs of the mixes, with the chosen terms.
        by_prior: Costs of other priors of the fit, with the chosen terms and mix.
        by_extra: Costs of what a ScoreModel cannot hold, beside the chosen terms.
    """

    mix: str
    terms: tuple[str, ...]
    frame: Frame
    by_terms: Mapping[str, Costs | None]
    by_mix: Mapping[str, Costs]
    by_prior: Mapping[str, Costs]
    by_extra: Mapping[str, Costs]


def choose(evidence: Evidence) -> Choice:
    """Tries terms, then mixes of trials, each by its cost on trials that the fit did not see.

    Raises:
        ValueError: With none of the terms does the score rise with the similarity.
    """
    everything = list(evidence.mixes)[-1]
    trials = evidence.mixed(everything)
    frame = Frame.of(np.concatenate([trials.enrolled_speech_s, trials.speech_s]))
    by_terms: dict[tuple[str, ...], Costs | None] = {}
    for terms in tqdm(TERMS, desc="terms", leave=False):
        rises = is_rising(fit(trials, terms, frame))
        by_terms[terms] = evidence.costs(everything, terms, frame) if rises else None
    usable = {terms: costs.objective for terms, costs in by_terms.items() if costs is not None}
    if not usable:
        raise ValueError("no score that rises with the similarity fits: target trials are not more alike")
    least = min(usable.values())
    terms = next(terms for terms, cost in usable.items() if cost <= least + LEAST_GAIN)
    mixes = [mix for mix in evidence.mixes if is_rising(fit(evidence.mixed(mix), terms, frame))]
    by_mix = {mix: evidence.costs(mix, terms, frame) for mix in tqdm(mixes, desc="mixes", leave=False)}
    mix = min(by_mix, key=lambda name: by_mix[name].objective)
    return Choice(
        mix,
        terms,
        frame,
        by_terms={" + ".join(terms): costs for terms, costs in by_terms.items()},
        by_mix=by_mix,
        by_prior={f"{p:g}": evidence.costs(mix, terms, frame, p) for p in PRIORS},
        by_extra={
            words: evidence.costs(mix, (*terms, *extra), frame)
            for words, extra in tqdm(EXTRAS.items(), desc="other covariates", leave=False)
        },
    )


def is_rising(line: Fit) -> bool:
    """Whether the score rises with the similarity at all durations."""
    try:
        line.score_model()
    except ValueError:
        return False
    return True


def compare_scorings(
    measured: Mapping[float, Mapping[str, Measured]],
    features: Mapping[str, Features],
    folds: Mapping[str, int],
    fitted: Sequence[str],
    choice: Choice,
) -> dict[float, dict[str, dict[str, float]]]:
    """EER, minDCF and Cllr of each way to score against several takes, in the mean over sets.

    Args:
        measured: Sets by required speech and name.
        features: Of every recording.
        folds: Of the speakers.
        fitted: Sets that a fit may use; Cllr (cross-validated) is of these, EER and minDCF are of all.
        choice: Terms and frame of the fits.
    """
    found: dict[float, dict[str, dict[str, float]]] = {}
    for seconds, sets in measured.items():
        for words, similarity in SCORINGS.items():
            parts = {
                name: examples_of(m, similarity(m), i, features, folds)
                for i, (name, m) in enumerate(sets.items())
            }
            everything = Examples.joined(parts.values())
            known = Examples.joined(parts[name] for name in fitted)
            held_out = cross_validated(known, known, choice.terms, choice.frame)
            found.setdefault(seconds, {})[words] = {
                "eer": mean_over_sets(equal_error_rate, everything.similarity, everything),
                "min_dcf": mean_over_sets(min_dcf, everything.similarity, everything),
                "cllr": mean_over_sets(cllr, held_out, known),
            }
    return found

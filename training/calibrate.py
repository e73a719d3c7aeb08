"""Fit what a similarity means: score as log-likelihood ratio, operating points, calibration.json.

    timbre calibrate --model models/mine --corpus utterances.csv --trials trials --out FOLDER

Fits a line on trials of speakers that the model was not trained on, tries on held-out sets and speakers
which durations belong into it, and writes calibration.json into the model's folder; the tables of
what was tried, a reliability plot and a DET go to FOLDER. The corpus may also be a folder with one folder
of recordings per speaker; trials are lists `0|1 enroll_utterance test_utterance`, one .txt per set.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from app.embedder import Embedder, pin_calibration
from app.errors import TimbreError
from app.scoring.fitting import SIMILARITY_ONLY, Examples, Fit, cross_validated, fit, speaker_folds
from app.scoring.operating import Scored, calibration_content
from app.scoring.rates import cllr, min_cllr
from training.calibration_tables import tables
from training.choosing import LEAST_SETS, SINGLE, Choice, Evidence, choose, compare_scorings, examples_of
from training.corpus import Source, read_sources
from training.metrics import Trials, act_dcf, min_dcf, read_trial_folder
from training.plots import plot_det, plot_reliability
from training.scored import (
    Enrolments,
    Features,
    Measured,
    add_enrolment_option,
    add_reading_options,
    measure,
    read_features,
    sources_of,
)

SHORT_S: Final = 1.0
LONG_S: Final = 10.0
"""Further amounts of speech that enrolments are made of, so that the fit sees short and long ones."""
FOLDS: Final = 5

BySet = Mapping[str, Measured]


@dataclass(frozen=True)
class Prepared:
    """All that the fits need.

    Attributes:
        measured: Sets by required speech and name, trials of too little speech left out.
        fitted: Names of the sets that are fitted on.
        features: Of every recording.
        folds: Of every speaker.
        evidence: Trials of the fitted sets.
    """

    measured: Mapping[float, BySet]
    fitted: Sequence[str]
    features: Mapping[str, Features]
    folds: Mapping[str, int]
    evidence: Evidence

    def against_enrolments(self, m: Measured) -> Examples:
        """The trials of any set whose speaker can be enrolled."""
        return examples_of(m, m.enrolled, 0, self.features, self.folds)


def check_speakers(lists: Mapping[str, Trials], sources: Sequence[Source], left_out: Sequence[str]) -> None:
    """Refuses trials that would not be a test.

    Raises:
        ValueError: A set that is left out is unknown or shares speakers with the others, or the manifest
            has a split and says that speakers of the trials were trained on.
    """
    unknown = sorted(set(left_out) - set(lists))
    if unknown:
        raise ValueError(f"no trial list is called {unknown[0]!r}; there are {', '.join(lists)}")
    if not set(lists) - set(left_out):
        raise ValueError("no trial list is left to fit on")
    of = {source.utterance_id: source for source in sources}
    voices = {
        name: {of[u].speaker_id for u in (*trials.enroll, *trials.test)} for name, trials in lists.items()
    }
    inside = set().union(*(voices[name] for name in lists if name not in left_out))
    outside = set().union(*(voices[name] for name in left_out))
    if inside & outside:
        raise ValueError(f"speaker {min(inside & outside)!r} is in a set that is left out and in another")
    trained = {source.speaker_id for source in sources if source.split == "train"}
    if any(source.split != "train" for source in sources) and (inside | outside) & trained:
        raise ValueError(
            f"{len((inside | outside) & trained)} speakers of the trials were trained on, by the manifest's "
            "split: their scores say nothing about strangers"
        )


def prepare_trials(
    lists: Mapping[str, Trials], sources: Sequence[Source], features: Mapping[str, Features],
    left_out: Sequence[str], wanted: float, least_speech_s: float,
) -> Prepared:  # fmt: skip
    """Scores all trials as single recordings and against short, wanted and long enrolments.

    Raises:
        ValueError: In no set that is fitted are there trials of both kinds against enrolments.
    """
    measured: dict[float, BySet] = {}
    for seconds in sorted({SHORT_S, wanted, LONG_S}):
        sets = measure(lists, Enrolments(sources, features, seconds))
        measured[seconds] = {
            name: m.chosen(np.minimum(m.speech_s, m.enroll_speech_s) >= least_speech_s)
            for name, m in sets.items()
        }
    usable = {n for n, m in measured[wanted].items() if m.against_enrolments.has_both_kinds} - set(left_out)
    if not usable:
        raise ValueError(
            f"no set to fit on has target and impostor trials against {wanted:g} s of enrolled speech"
        )
    fitted = sorted(usable)
    folds = speaker_folds(([*m.enroll_speakers, *m.test_speakers] for m in measured[wanted].values()), FOLDS)

    measured = {
        seconds: sets
        for seconds, sets in measured.items()
        if any(sets[name].against_enrolments.has_both_kinds for name in fitted)
    }
    single = {
        name: replace(m, enrolled=m.scores, enrolled_speech_s=m.enroll_speech_s)
        for name, m in measured[wanted].items()
    }
    trials = {
        seconds: Examples.joined(
            examples_of(sets[name], sets[name].enrolled, i, features, folds) for i, name in enumerate(fitted)
        )
        for seconds, sets in {SINGLE: single, **measured}.items()
    }
    return Prepared(measured, fitted, features, folds, Evidence(fitted, trials, wanted))


def held_out_scores(prepared: Prepared, choice: Choice, final: Fit) -> dict[str, dict[str, Scored]]:
    """Trials against enrolments, by what scored them and by set.

    Returns:
        `before`: a line on the similarity alone, fitted on such trials alone; `after`: the chosen terms,
        fitted on the chosen mix, both cross-validated by speaker;
        `unseen_before`, `unseen`: the same fitted without the whole set. Sets that were left out are scored
        by fits on everything else.
    """
    evidence = prepared.evidence
    tested, training = evidence.trials[evidence.wanted], evidence.mixed(choice.mix)
    plain = fit(tested, SIMILARITY_ONLY, choice.frame)
    scores = {
        "before": (cross_validated(tested, tested, SIMILARITY_ONLY, choice.frame), plain),
        "after": (cross_validated(training, tested, choice.terms, choice.frame), final),
    }
    if len(prepared.fitted) >= LEAST_SETS:
        away, home = evidence.by_set(training), evidence.by_set(tested)
        scores["unseen_before"] = (cross_validated(home, home, SIMILARITY_ONLY, choice.frame), plain)
        scores["unseen"] = (cross_validated(away, home, choice.terms, choice.frame), final)
    sets = {name: m.against_enrolments for name, m in sorted(prepared.measured[evidence.wanted].items())}
    return {
        words: {
            name: Scored(
                held_out[tested.block == prepared.fitted.index(name)]
                if name in prepared.fitted
                else line.llr(prepared.against_enrolments(m)),
                m.labels, m.enroll_speakers, m.test_speakers,
            )
            for name, m in sets.items() if m.has_both_kinds
        }
        for words, (held_out, line) in scores.items()
    }  # fmt: skip


def set_rows(
    scores: Mapping[str, Mapping[str, Scored]], fitted: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Costs by set and by what scored it, and their mean over the fitted sets as set `mean`."""
    rows: dict[str, dict[str, float]] = {}
    for name, after in scores["after"].items():
        row: dict[str, float] = {
            "target_trials": int(after.labels.sum()),
            "impostor_trials": int((after.labels == 0).sum()),
        }
        for words, sets in scores.items():
            llr, labels = sets[name].llr, sets[name].labels
            row |= {
                f"cllr_{words}": cllr(llr, labels),
                f"min_cllr_{words}": min_cllr(llr, labels),
                f"act_dcf_{words}": act_dcf(llr, labels),
                f"min_dcf_{words}": min_dcf(llr, labels),
            }
        rows[name] = row
    keys = list(next(iter(rows.values())))
    rows["mean"] = {key: float(np.mean([rows[name][key] for name in fitted])) for key in keys}
    return rows


def calibrate(args: argparse.Namespace) -> str:
    """Fits, writes calibration.json, pictures and table.md; returns the tables.

    Raises:
        ValueError: The trials cannot carry a calibration.
        TimbreError: The model is refused.
    """
    lists, everything = read_trial_folder(args.trials), read_sources(args.corpus)
    sources = sources_of(lists, everything)
    check_speakers(lists, everything, args.leave_out)
    with closing(Embedder.load(args.model, workers=args.threads)) as embedder:
        manifest = embedder.manifest
        features, refused = read_features(sources, embedder, threads=args.threads, cache=args.cache)
    prepared = prepare_trials(
        lists, sources, features, args.leave_out, args.enroll_speech, manifest.min_speech_s
    )
    choice = choose(prepared.evidence)
    final = fit(prepared.evidence.mixed(choice.mix), choice.terms, choice.frame)
    scores = held_out_scores(prepared, choice, final)
    kept = {name: scores["after"][name] for name in prepared.fitted}
    source = (
        f"{len(kept)} development sets, a recording against an enrollment of {args.enroll_speech:g} s of "
        "speech or more, cross-validated by speaker, every set counting alike"
    )
    content = calibration_content(final.score_model(), kept, manifest.sha256, source)
    scorings = compare_scorings(prepared.measured, features, prepared.folds, prepared.fitted, choice)
    text = tables(
        manifest.model_id, content, set_rows(scores, prepared.fitted), prepared.fitted, choice, scorings
    )
    args.out.mkdir(parents=True, exist_ok=True)
    curves = {name: (s.llr, s.labels) for name, s in scores["after"].items()}
    plot_det(curves, args.out / "det.png")
    plot_reliability(curves, args.out / "reliability.png")
    (args.out / "table.md").write_text(text, encoding="utf-8")
    (args.model / "calibration.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    pin_calibration(args.model)
    return f"{text}\n{len(refused)} recordings could not be embedded; wrote {args.model / 'calibration.json'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        print(calibrate(args))
    except (ValueError, OSError, TimbreError) as problem:
        print(f"timbre calibrate: {problem}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timbre calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_reading_options(parser)
    add_enrolment_option(parser)
    add("--trials", type=Path, required=True, help="folder of trial lists, one .txt per set")
    add("--out", type=Path, required=True, help="folder for the tables and the pictures")
    add("--leave-out", nargs="*", default=[], metavar="SET", help="sets to report, but not to fit on")
    return parser


if __name__ == "__main__":
    sys.exit(main())

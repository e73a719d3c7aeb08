"""Measure a model on recordings and trials: error rates, plots, a report, a model card, a gate.

    timbre evaluate --model models/mine --corpus RECORDINGS [--trials TRIALS] --out FOLDER

RECORDINGS is a folder with one folder of recordings per speaker, or a CSV with the columns utterance_id,
speaker_id and path. TRIALS is a folder of lists, one .txt per set, or one list, of lines
`0|1 enroll_utterance test_utterance`; without it, trials are drawn from who spoke what. Writes figures.json,
table.md, report.html and its pictures. Exit code 1 when the gate or the comparison fails, 2 on an error.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.embedder import Embedder, Manifest
from app.errors import TimbreError
from app.scoring import ScoreModel, load_calibration
from training.card import evaluation_only, write_card
from training.changes import conditions, noise_source
from training.compare import compare
from training.conditions import Changed, measure_conditions
from training.corpus import Source, read_sources
from training.figures import Row, group_row, mean_row, set_row
from training.gate import FORMAT, Figures, Tolerances, read_figures, worse
from training.groups import Columns, groups, read_columns
from training.metrics import Trials, draw_trials, read_trial_folder, read_trials
from training.pictures import draw_pictures
from training.report import table, write_report
from training.scored import (
    Enrolments,
    Measured,
    add_enrolment_option,
    add_reading_options,
    measure,
    read_features,
    sources_of,
)

DRAWN = 5000
"""Trials of each kind and set that are drawn where no list is given."""


@dataclass(frozen=True)
class Effort:
    """How much is measured beyond the trials themselves.

    Attributes:
        clips: Tested recordings of each set that are changed in every condition.
        rounds: Rounds of the bootstrap over speakers.
    """

    clips: int
    rounds: int


FULL, QUICK = Effort(clips=60, rounds=200), Effort(clips=15, rounds=50)


def trial_lists(
    place: Path | None, sources: Sequence[Source], most: int | None
) -> tuple[dict[str, Trials], str]:
    """Trials by set and where they come from, in words.

    Raises:
        ValueError: A list has another form, or no trials can be drawn.
    """
    if place is None:
        names, speakers, sets = (
            [getattr(s, column) for s in sources] for column in ("utterance_id", "speaker_id", "set_name")
        )
        lists = draw_trials(names, speakers, sets, most or DRAWN)
        if not lists:
            raise ValueError(
                "no trials can be drawn: no set has a speaker with two recordings and a second speaker"
            )
        return lists, "drawn at random from who spoke what, inside each set"
    if place.is_file():
        trials = read_trials(place)
        return {place.stem: trials.thinned(most) if most else trials}, f"the trial list {place.name}"
    lists = read_trial_folder(place, most)
    if not lists:
        raise ValueError(f"{place} holds no list: expected files .txt")
    return lists, f"{len(lists)} {'list' if len(lists) == 1 else 'lists'} of trials"


def score_model(folder: Path, sha256: str) -> ScoreModel | None:
    """The model's calibration; None, and a line that says why, where it has none of its own."""
    try:
        calibration = load_calibration(folder / "calibration.json")
    except ValueError as problem:
        print(f"not calibrated: {problem}", file=sys.stderr)
        return None
    if calibration.model_sha256 != sha256:
        print("not calibrated: calibration.json was made for another model", file=sys.stderr)
        return None
    return calibration.score


def condition_rows(changed: Sequence[Changed], score: ScoreModel | None, rounds: int) -> dict[str, list[Row]]:
    """The figures of every condition that enough recordings have, by family."""
    rows: dict[str, list[Row]] = {}
    for each in changed:
        row = group_row(each.condition.name, each.measured, each.untouched, score, rounds)
        if row is not None:
            rows.setdefault(each.condition.family, []).append(row | {"refused": each.refused})
    return rows


def group_rows(
    measured: Mapping[str, Measured], columns: Columns, score: ScoreModel | None, rounds: int
) -> dict[str, list[Row]]:
    """The figures of every group with trials enough, by column of the manifest; at least two of a column."""
    found = {
        column: [group_row(name, chosen, measured, score, rounds) for name, chosen in by_group.items()]
        for column, by_group in groups(measured, columns).items()
    }
    kept = {column: [row for row in rows if row is not None] for column, rows in found.items()}
    return {column: rows for column, rows in kept.items() if len(rows) > 1}


def fingerprint(lists: Mapping[str, Trials]) -> str:
    """SHA-256 of the trials, by which two measurements are known to be comparable."""
    digest = hashlib.sha256()
    for name, trials in sorted(lists.items()):
        for label, enroll, test in zip(trials.labels.tolist(), trials.enroll, trials.test, strict=True):
            digest.update(f"{name}\t{label}\t{enroll}\t{test}\n".encode())
    return digest.hexdigest()


def speakers_trained_on(measured: Mapping[str, Measured], columns: Columns) -> int | None:
    """How many speakers of the trials are in the manifest's training split; None where it names no splits."""
    trained = {row["speaker_id"] for row in columns.values() if row.get("split") == "train"}
    tested = {name for m in measured.values() for name in (*m.enroll_speakers, *m.test_speakers)}
    return len(trained & tested) if any(row.get("split") for row in columns.values()) else None


def model_facts(manifest: Manifest, precision: str) -> dict[str, Any]:
    """Which model was measured, and which of its files."""
    facts = {name: getattr(manifest, name) for name in ("name", "version", "sha256", "dim")}
    return {"id": manifest.model_id, **facts, "precision": precision}


def evaluate(args: argparse.Namespace) -> tuple[dict[str, Any], Columns]:
    """Measures everything that was asked for and writes the figures and the pictures.

    Returns:
        The content of figures.json and the manifest's columns.
    """
    everything = read_sources(args.corpus, args.split)
    lists, words = trial_lists(args.trials, everything, args.most)
    columns, sources = read_columns(args.corpus), sources_of(lists, everything)
    effort = QUICK if args.quick else FULL
    clips = effort.clips if args.clips is None else args.clips
    noise, noise_words = noise_source(args.noises if clips else None)
    with closing(Embedder.load(args.model, precision=args.precision, workers=args.threads)) as embedder:
        manifest = embedder.manifest
        score = score_model(args.model, manifest.sha256)
        features, refused = read_features(sources, embedder, threads=args.threads, cache=args.cache)
        enrolments = Enrolments(sources, features, args.enroll_speech)
        measured = measure(lists, enrolments)
        changed = measure_conditions(
            lists, sources, enrolments, embedder,
            conditions(noise) if clips else [], clips=clips, threads=args.threads,
        )  # fmt: skip
    sets = {name: set_row(m, score, effort.rounds) for name, m in sorted(measured.items())}
    figures = {
        "format": FORMAT,
        "model": model_facts(manifest, args.precision),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trials": {"source": words, "sha256": fingerprint(lists)},
        "speakers_trained_on": speakers_trained_on(measured, columns),
        "enroll_speech_s": args.enroll_speech,
        "calibrated": score is not None,
        "bootstrap_rounds": effort.rounds,
        "noise": noise_words,
        "refused": refused,
        "sets": sets,
        "mean": mean_row(list(sets.values())),
        "conditions": condition_rows(changed, score, effort.rounds),
        "groups": group_rows(measured, columns, score, effort.rounds),
        "compare": compare(args.model, args.compare, sources, features, measured, args.threads, args.cache)
        if args.compare
        else None,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    draw_pictures(figures, measured, score, features, sources, args.out)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (args.out / "table.md").write_text(table(figures), encoding="utf-8")
    write_report(figures, args.out, evaluation_only())
    return figures, columns


def verdicts(figures: Figures, args: argparse.Namespace) -> bool:
    """Prints what comparison and gate say; whether both are passed."""
    passed = True
    if figures["compare"] is not None:
        print(f"\n{args.compare} beside {args.precision}:")
        for name, row in figures["compare"]["sets"].items():
            print(
                f"  {'passes' if row['passed'] else 'FAILS '}  {name}: EER {100 * row['eer']:.2f} and "
                f"{100 * row['other_eer']:.2f} %, cosine {row['cosine']:.4f} in the mean, "
                f"{row['least_cosine']:.4f} at least"
            )
            passed = passed and row["passed"]
    if args.gate is not None:
        lines = worse(
            figures, read_figures(args.gate), Tolerances(args.gate_eer, args.gate_dcf, args.gate_set)
        )
        print(f"\ngate: {'passed' if not lines else 'FAILED'}, beside {args.gate}")
        for line in lines:
            print(f"  worse: {line}")
        passed = passed and not lines
    return passed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        if args.gate is not None:
            read_figures(args.gate)  # now, and not after minutes of work
        figures, columns = evaluate(args)
        print(table(figures))
        print(f"wrote {args.out / 'report.html'}; {len(figures['refused'])} recordings could not be embedded")
        if args.card:
            path = write_card(args.model, figures, columns, noises=args.noises, benchmark=args.benchmark)
            print(f"wrote {path}")
        return 0 if verdicts(figures, args) else 1
    except (ValueError, OSError, TimbreError) as problem:
        print(f"timbre evaluate: {problem}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="timbre evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_reading_options(parser)
    add_enrolment_option(parser)
    add("--split", help="only this split of the manifest, for trials that are drawn")
    add("--trials", type=Path, help="folder of trial lists, or one list")
    add("--out", type=Path, required=True, help="folder for figures, pictures and report")
    add("--noises", type=Path, metavar="CSV", help="manifest of noises; without it, noise is generated")
    add("--precision", choices=("fp32", "int8"), default="fp32", help="which file of the model")
    add("--compare", choices=("fp32", "int8"), help="also measure this file, with a verdict for each set")
    add("--most", type=int, help="most trials of each kind and set")
    add("--quick", action="store_true", help="fewer changed recordings and rounds of the bootstrap")
    add("--clips", type=int, help="tested recordings of each set to change in every condition; 0: none")
    add("--card", action="store_true", help="write MODEL_CARD.md into the model's folder")
    add("--benchmark", type=Path, metavar="FILE", help="what a benchmark printed, for the card")
    gate, slack = parser.add_argument_group("gate"), Tolerances()
    add = gate.add_argument
    add("--gate", type=Path, metavar="FIGURES", help="fail when worse than the model of this figures.json")
    add("--gate-eer", type=float, default=slack.eer, help="how much worse the mean EER may be (%(default)s)")
    add("--gate-dcf", type=float, default=slack.min_dcf, help="the same of the mean minDCF (%(default)s)")
    add("--gate-set", type=float, default=slack.set_eer, help="the same of one set's EER (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

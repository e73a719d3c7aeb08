"""All methods by one ruler: each run's network, exported, on the same trials, frozen, probed and fine-tuned.

    python -m training.comparison --runs runs/methods --corpus utterances.csv --trials TRIALS

The folder of --runs holds a folder for each run of training.train. Every recording goes the way that the
service sends it, and embeddings are compared by cosine. What is asked of each network:

frozen      EER and minDCF as `timbre evaluate` gives them for single recordings; distances of both kinds of
            trial
linear      linear discriminants of some training speakers: EER of the trials after that projection, and the
            share of held-out recordings of those speakers that are named rightly
fine-tuned  EER and minDCF of the run NAME+probe, which went on from the run NAME:
            python -m training.train --recipe training/recipes/probe.toml --start RUNS/NAME/branch.keras
            --run RUNS/NAME+probe, with the same --corpus and --noises for all
untrained   EER of the run NAME+untrained: the same recipe at a learning rate of 0, which takes nothing but
            the statistics of batch normalisation: --set stage.1.peak_rate=0.0 --set stage.1.last_rate=0.0
            --set stage.1.epochs=1 --set stage.1.steps=60 --set scale=1

The row `mfcc` is of the statistics of MFCC that a trained network must beat. Runs that have not ended are
passed over. Speech, embeddings and exported models are kept, so another run costs only its own time.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from app.errors import TimbreError
from training.comparison_page import fill_page, tables
from training.comparison_plots import draw_comparison
from training.evaluate import fingerprint
from training.export import ExportFailed
from training.figures import Row
from training.heard import embeddings_of
from training.metrics import read_trial_folder
from training.ruler import Ruler, measured, rates
from training.runs import FINE_TUNED, UNTRAINED, Run, exported, runs_of

FORMAT: Final = 1
"""The version of figures.json that is written."""


def method_rows(ruler: Ruler, args: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """The rows of the comparison, the best frozen EER first, and what could not be measured, in words."""
    found = {"mfcc": _row("mfcc", measured(ruler, *ruler.mfcc()))}
    for model in args.models:
        found[model.name] = _row(model.name, _measured(model, ruler, args))
    failed = []
    for run in runs_of(args.runs):
        try:
            found[run.name] = _run_row(run, ruler, args)
        except (ExportFailed, TimbreError) as problem:
            failed.append(f"{run.name}: {problem}")
    beside = {name: row for name, row in found.items() if name.endswith((FINE_TUNED, UNTRAINED))}
    rows = [
        row | {"untrained": beside.get(name + UNTRAINED), "fine_tuned": beside.get(name + FINE_TUNED)}
        for name, row in found.items()
        if name not in beside
    ]
    return sorted(rows, key=lambda row: float(row["frozen"]["eer"])), failed


def _row(name: str, figures: Row, **facts: Any) -> Row:
    unknown: Row = {"methods": [], "labels": None, "parameters": None, "minutes": None}
    return {"name": name, **unknown, **facts, **figures}


def _measured(model: Path, ruler: Ruler, args: argparse.Namespace) -> Row:
    dev, train = (embeddings_of(model, some, args.cache, args.threads) for some in (ruler.dev, ruler.train))
    return measured(ruler, dev, train)


def _run_row(run: Run, ruler: Ruler, args: argparse.Namespace) -> Row:
    model = exported(run, args.work)
    if run.name.endswith((FINE_TUNED, UNTRAINED)):
        dev = embeddings_of(model.folder, ruler.dev, args.cache, args.threads)
        return {**rates(ruler.scored(dev)), "minutes": run.minutes}
    return _row(
        run.name,
        _measured(model.folder, ruler, args),
        methods=run.methods,
        labels=run.labels,
        parameters=model.parameters,
        minutes=run.minutes,
    )


def compare_methods(args: argparse.Namespace) -> tuple[Row, list[str]]:
    """Measures every run and writes figures.json, table.md, the pictures and, where asked for, the page.

    Returns:
        The content of figures.json, and what could not be measured.
    """
    lists = read_trial_folder(args.trials)
    if not lists:
        raise ValueError(f"{args.trials} holds no list: expected files .txt")
    args.cache.mkdir(parents=True, exist_ok=True)
    ruler = Ruler.of(args.corpus, lists, args.probe_speakers, args.cache, args.threads)
    rows, failed = method_rows(ruler, args)
    takes = ruler.takes
    figures = {
        "format": FORMAT,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trials": {
            "sha256": fingerprint(lists),
            "target": sum(int(labels.sum()) for _, _, labels in ruler.pairs.values()),
            "impostor": sum(int((labels == 0).sum()) for _, _, labels in ruler.pairs.values()),
            "recordings": len(ruler.dev),
        },
        "probe": {
            "speakers": len(set(takes.speakers)),
            "fitted": int((~takes.held_out).sum()),
            "held_out": int(takes.held_out.sum()),
            "chance": takes.chance,
        },
        "methods": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (args.out / "table.md").write_text(tables(figures), encoding="utf-8")
    draw_comparison(figures, args.out)
    if args.page is not None:
        fill_page(args.page, tables(figures))
    return figures, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 when a run could not be measured, 2 on an error."""
    args = _parser().parse_args(arguments)
    try:
        figures, failed = compare_methods(args)
    except (ValueError, OSError, TimbreError) as problem:
        print(f"training.comparison: {problem}", file=sys.stderr)
        return 2
    print(tables(figures))
    for row in figures["methods"]:
        if row["fine_tuned"] is None and row["minutes"] is not None:
            print(f"not fine-tuned yet: {row['name']}")
    for line in failed:
        print(f"left out {line}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.comparison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--runs", type=Path, required=True, help="folder with a folder for each run of training.train")
    add("--corpus", type=Path, required=True, help="manifest CSV with split `train` and `dev`")
    add("--trials", type=Path, required=True, help="folder of development trial lists")
    add(
        "--models",
        type=Path,
        nargs="*",
        default=[],
        help="folders of exported models to stand beside the runs",
    )
    add(
        "--out",
        type=Path,
        default=Path("docs/methods"),
        help="figures, tables, pictures (default: %(default)s)",
    )
    add("--page", type=Path, help="Markdown page that gets the tables between its markers")
    add("--work", type=Path, default=Path("runs/comparison/models"),
        help="folder for the exported models (default: %(default)s)")  # fmt: skip
    add("--cache", type=Path, default=Path("runs/comparison/cache"),
        help="keeps speech and embeddings for the next time (default: %(default)s)")  # fmt: skip
    add("--threads", type=int, default=2, help="recordings embedded at once (default: %(default)s)")
    add("--probe-speakers", type=int, default=400,
        help="training speakers of the linear probe (default: %(default)s)")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())

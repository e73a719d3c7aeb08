r"""Measures an exported model on trial lists, by the service's own path from bytes to embedding.

    python -m training.evaluate --model models/timbre-1 --corpus utterances.csv \
        --trials trials --out docs/evaluation

Writes table.md, figures.json, det.png and scores.png; with --thresholds also the model's
calibration.json, from which the service takes its default threshold.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.embedder import Embedder
from training.corpus import read_sources
from training.metrics import equal_error_rate, min_dcf, read_trial_folder, threshold_at_fmr
from training.plots import plot_det, plot_scores
from training.scored import Measured, measure

FMR_POINTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False-match rates at which thresholds are written, as far as the trials support them."""


def figures(measured: Mapping[str, Measured]) -> dict[str, dict[str, float]]:
    """EER and minDCF(0.01) of model and baseline by set, rates in [0, 1], and their means as set `mean`."""
    rows: dict[str, dict[str, float]] = {}
    for name, m in sorted(measured.items()):
        rows[name] = {
            "target_trials": int(m.labels.sum()),
            "impostor_trials": int(len(m.labels) - m.labels.sum()),
            "eer": equal_error_rate(m.scores, m.labels),
            "min_dcf": min_dcf(m.scores, m.labels),
            "fnmr_at_fmr_1": threshold_at_fmr(m.scores, m.labels, 0.01)[2],
            "enrolled_eer": _enrolled_eer(m),
            "baseline_eer": equal_error_rate(m.baseline, m.labels),
            "baseline_min_dcf": min_dcf(m.baseline, m.labels),
        }
    keys = list(next(iter(rows.values())))
    rows["mean"] = {key: float(np.nanmean([row[key] for row in rows.values()])) for key in keys}
    return rows


def _enrolled_eer(m: Measured) -> float:
    scores, labels = m.against_enrolments
    both = 0 < labels.sum() < len(labels)
    return equal_error_rate(scores, labels) if both else float("nan")


def table(rows: Mapping[str, Mapping[str, float]], model_id: str) -> str:
    """The figures as a Markdown table."""
    lines = [
        f"Model `{model_id}` beside MFCC statistics. Cosine of single recordings; in the column *enrolled*",
        "of a recording and a centroid of as much speech as the service asks for. Rates in %; minDCF",
        "normalised, p_target 0.01, both costs 1.",
        "",
        "| set | trials: same, other | EER | minDCF | FNMR at FMR 1 | EER, enrolled | MFCC EER | minDCF |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        mean = name == "mean"
        cells = [
            f"**{name}**" if mean else name,
            "" if mean else f"{r['target_trials']:.0f}, {r['impostor_trials']:.0f}",
            f"{100 * r['eer']:.2f}",
            f"{r['min_dcf']:.3f}",
            f"{100 * r['fnmr_at_fmr_1']:.1f}",
            f"{100 * r['enrolled_eer']:.2f}",
            f"{100 * r['baseline_eer']:.2f}",
            f"{r['baseline_min_dcf']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def operating_points(measured: Mapping[str, Measured], model_sha256: str, source: str) -> dict[str, Any]:
    """Thresholds by false-match rate against enrolments, as the content of calibration.json.

    Every set counts alike; sets without enrolled trials of both kinds are left out. A rate below
    3 / impostor trials is not written: that many trials cannot support it.
    """
    scored = [m.against_enrolments for m in measured.values() if not np.isnan(_enrolled_eer(m))]
    impostors = [scores[labels == 0] for scores, labels in scored]
    targets = [scores[labels == 1] for scores, labels in scored]
    count = sum(map(len, impostors))
    order = np.argsort(-np.concatenate(impostors))
    falling = np.concatenate(impostors)[order]
    passed = np.cumsum(np.concatenate([np.full(len(s), 1 / len(s)) for s in impostors])[order]) / len(scored)
    points = []
    for wanted in FMR_POINTS:
        if wanted < 3 / count:
            continue
        # The least threshold above every impostor that the rate does not allow.
        threshold = float(np.nextafter(falling[np.searchsorted(passed, wanted, side="right")], np.inf))
        points.append(
            {
                "fmr": wanted,
                "fnmr": float(np.mean([np.mean(s < threshold) for s in targets])),
                "threshold": threshold,
                "measured_fmr": float(np.mean([np.mean(s >= threshold) for s in impostors])),
            }
        )
    return {
        "model_sha256": model_sha256,
        "scale": "similarity",
        "source": source,
        "trials": {"target": sum(map(len, targets)), "impostor": count},
        "eer": float(np.mean([equal_error_rate(*pair) for pair in scored])),
        "operating_points": points,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument(
        "--corpus", type=Path, required=True, help="manifest CSV, or a folder with one folder per speaker"
    )
    parser.add_argument("--trials", type=Path, required=True, help="folder of trial lists, one .txt per set")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the plots")
    parser.add_argument(
        "--precision", choices=("fp32", "int8"), default="fp32", help="which file of the model"
    )
    parser.add_argument("--most", type=int, help="most trials of each kind and set")
    parser.add_argument(
        "--enroll-speech",
        type=float,
        default=4.0,
        metavar="S",
        help="speech of an enrolment in seconds, as TIMBRE_REQUIRED_SPEECH_S (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="recordings embedded at once (default: %(default)s)"
    )
    parser.add_argument("--thresholds", action="store_true", help="write the model's calibration.json")
    parser.add_argument(
        "--leave-out", nargs="*", default=[], metavar="SET", help="sets that --thresholds does not use"
    )
    args = parser.parse_args()
    embedder = Embedder.load(args.model, precision=args.precision, workers=args.threads)
    try:
        lists = read_trial_folder(args.trials, args.most)
        measured, refused = measure(
            lists,
            read_sources(args.corpus),
            embedder,
            threads=args.threads,
            required_s=args.enroll_speech,
        )
    finally:
        embedder.close()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = figures(measured)
    text = table(rows, embedder.manifest.model_id)
    (args.out / "table.md").write_text(text)
    (args.out / "figures.json").write_text(json.dumps({"refused": refused, "sets": rows}, indent=1) + "\n")
    curves = {name: (m.scores, m.labels) for name, m in measured.items()}
    plot_det(curves, args.out / "det.png")
    plot_scores(curves, args.out / "scores.png")
    print(text)
    print(f"{len(refused)} recordings could not be embedded")
    if args.thresholds:
        used = {name: m for name, m in measured.items() if name not in args.leave_out}
        source = (
            f"{len(used)} development sets, a recording against an enrollment of {args.enroll_speech:g} s of "
            "speech or more, every set counting alike"
        )
        content = operating_points(used, embedder.manifest.sha256, source)
        (args.model / "calibration.json").write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {args.model / 'calibration.json'}")


if __name__ == "__main__":
    main()

r"""Measures an exported model on trial lists, by the service's own path from bytes to embedding.

    python -m training.evaluate --model models/timbre-1 --corpus utterances.csv \
        --trials trials --out docs/evaluation

Writes table.md, figures.json, det.png and scores.png; with --thresholds also the model's
calibration.json, from which the service takes its default threshold.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from app.arrays import Embedding
from app.audio import prepare
from app.embedder import Embedder
from app.errors import AudioRefused
from training.baseline import mfcc_statistics, standardised
from training.corpus import Source, read_sources
from training.early_signal import read_trial_folder
from training.metrics import Floats, Trials, equal_error_rate, min_dcf, threshold_at_fmr
from training.plots import plot_det, plot_scores

FMR_POINTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""False-match rates at which thresholds are written, as far as the trials support them."""


@dataclass(frozen=True)
class Measured:
    """The trials of one set with their scores.

    Attributes:
        scores: float64 (trials,), cosine of the model's embeddings.
        baseline: float64 (trials,), cosine of MFCC statistics.
        labels: int64 (trials,), 1 = target.
    """

    scores: Floats
    baseline: Floats
    labels: npt.NDArray[np.int64]


def _features(
    sources: Sequence[Source], embedder: Embedder, threads: int
) -> tuple[dict[str, Embedding], dict[str, npt.NDArray[np.float64]], list[str]]:
    """Embedding and MFCC statistics of each recording, and the ids of those that cannot be embedded."""

    def one(source: Source) -> tuple[Embedding, npt.NDArray[np.float64]] | None:
        try:
            utterance = prepare(source.path.read_bytes(), max_duration_s=600.0)
            return embedder.embed(utterance.waveform), mfcc_statistics(utterance.waveform)
        except AudioRefused:
            return None

    embeddings: dict[str, Embedding] = {}
    statistics: dict[str, npt.NDArray[np.float64]] = {}
    refused: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        bar = tqdm(pool.map(one, sources), total=len(sources), desc="embedding", unit="clip")
        for source, result in zip(sources, bar, strict=True):
            if result is None:
                refused.append(source.utterance_id)
            else:
                embeddings[source.utterance_id], statistics[source.utterance_id] = result
    return embeddings, statistics, refused


def _cosines(vectors: Mapping[str, npt.NDArray[np.float32]], trials: Trials) -> Floats:
    left = np.stack([vectors[name] for name in trials.enroll])
    right = np.stack([vectors[name] for name in trials.test])
    return np.asarray(np.sum(left * right, axis=1, dtype=np.float64))


def measure(
    lists: Mapping[str, Trials], sources: Sequence[Source], embedder: Embedder, threads: int = 1
) -> tuple[dict[str, Measured], list[str]]:
    """Scores every trial by the model and by the baseline.

    A trial with a recording that the service would refuse for want of any signal is left out.

    Returns:
        The measured sets by name, and the utterances that were left out.

    Raises:
        ValueError: A trial names an utterance that the corpus lacks.
    """
    wanted = {name for trials in lists.values() for name in (*trials.enroll, *trials.test)}
    chosen = [source for source in sources if source.utterance_id in wanted]
    missing = wanted - {source.utterance_id for source in chosen}
    if missing:
        raise ValueError(
            f"the corpus lacks {len(missing)} utterances of the trials, {min(missing)!r} among them"
        )
    embeddings, statistics, refused = _features(chosen, embedder, threads)
    measured = {}
    for name, trials in lists.items():
        keep = [i for i, (a, b) in enumerate(zip(trials.enroll, trials.test, strict=True))
                if a in embeddings and b in embeddings]  # fmt: skip
        kept = Trials(trials.labels[keep], [trials.enroll[i] for i in keep], [trials.test[i] for i in keep])
        names = sorted({*kept.enroll, *kept.test})
        mfcc = dict(zip(names, standardised(np.stack([statistics[n] for n in names])), strict=True))
        measured[name] = Measured(_cosines(embeddings, kept), _cosines(mfcc, kept), kept.labels)
    return measured, refused


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
            "baseline_eer": equal_error_rate(m.baseline, m.labels),
            "baseline_min_dcf": min_dcf(m.baseline, m.labels),
        }
    keys = list(next(iter(rows.values())))
    rows["mean"] = {key: float(np.mean([row[key] for row in rows.values()])) for key in keys}
    return rows


def table(rows: Mapping[str, Mapping[str, float]], model_id: str) -> str:
    """The figures as a Markdown table."""
    lines = [
        f"Model `{model_id}` beside MFCC statistics; cosine of single recordings; rates in %;",
        "minDCF normalised, p_target 0.01, both costs 1.",
        "",
        "| set | trials: target, impostor | EER | minDCF | FNMR at FMR 1 | MFCC EER | MFCC minDCF |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        mean = name == "mean"
        cells = [
            f"**{name}**" if mean else name,
            "" if mean else f"{r['target_trials']:.0f}, {r['impostor_trials']:.0f}",
            f"{100 * r['eer']:.2f}",
            f"{r['min_dcf']:.3f}",
            f"{100 * r['fnmr_at_fmr_1']:.1f}",
            f"{100 * r['baseline_eer']:.2f}",
            f"{r['baseline_min_dcf']:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def operating_points(measured: Mapping[str, Measured], model_sha256: str, source: str) -> dict[str, object]:
    """Thresholds by false-match rate, every set counting alike, as the content of calibration.json.

    A rate below 3 / impostor trials is not written: that many trials cannot support it.
    """
    scores = np.concatenate([m.scores for m in measured.values()])
    labels = np.concatenate([m.labels for m in measured.values()])
    target, impostor = int(labels.sum()), int(len(labels) - labels.sum())

    def mean_rates(threshold: float) -> tuple[float, float]:
        fmr = [np.mean(m.scores[m.labels == 0] >= threshold) for m in measured.values()]
        fnmr = [np.mean(m.scores[m.labels == 1] < threshold) for m in measured.values()]
        return float(np.mean(fmr)), float(np.mean(fnmr))

    weights = np.concatenate([1 / np.bincount(m.labels, minlength=2)[m.labels] for m in measured.values()])
    order = np.argsort(-scores[labels == 0])
    passed = np.cumsum(weights[labels == 0][order]) / len(measured)
    falling = scores[labels == 0][order]
    points = []
    for wanted in FMR_POINTS:
        if wanted < 3 / impostor:
            continue
        # The least threshold above every impostor that the rate does not allow.
        threshold = float(np.nextafter(falling[np.searchsorted(passed, wanted, side="right")], np.inf))
        fmr, fnmr = mean_rates(threshold)
        points.append({"fmr": wanted, "fnmr": fnmr, "threshold": threshold, "measured_fmr": fmr})
    eer = float(np.mean([equal_error_rate(m.scores, m.labels) for m in measured.values()]))
    return {
        "model_sha256": model_sha256,
        "scale": "similarity",
        "source": source,
        "trials": {"target": target, "impostor": impostor},
        "eer": eer,
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
        measured, refused = measure(lists, read_sources(args.corpus), embedder, args.threads)
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
        source = f"{len(used)} development sets, recording against recording, every set counting alike"
        content = operating_points(used, embedder.manifest.sha256, source)
        (args.model / "calibration.json").write_text(json.dumps(content, indent=1) + "\n")
        print(f"wrote {args.model / 'calibration.json'}")


if __name__ == "__main__":
    main()

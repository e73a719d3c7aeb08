"""What people would rather look at: training histories, DET curves and score histograms, as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.stats import norm

from training.metrics import Floats, error_rates

Scored = tuple[Floats, npt.NDArray[np.int64]]
"""Scores and labels of one trial list."""
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)


def plot_history(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Loss and development EER by epoch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([int(r["epoch"]) for r in rows], [float(r["loss"]) for r in rows])
    left.set(xlabel="epoch", ylabel="training loss")
    measured = [(int(r["epoch"]), float(r["dev_eer"])) for r in rows if r["dev_eer"]]
    right.plot([epoch for epoch, _ in measured], [rate for _, rate in measured], marker="o")
    right.set(xlabel="epoch", ylabel="EER on development trials, mean over sets (%)")
    figure.savefig(path, dpi=100)


def plot_det(sets: Mapping[str, Scored], path: Path) -> None:
    """The DET curve of every set, on normal deviates."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    for number, (name, (scores, labels)) in enumerate(sorted(sets.items())):
        fmr, fnmr, _ = error_rates(scores, labels)
        deviates = (norm.ppf(np.clip(rate, 5e-4, 0.999)) for rate in (fmr, fnmr))
        # matplotlib has ten colours; the dashes tell the eleventh set from the first.
        axes.plot(*deviates, label=name, linewidth=1, linestyle=("-", "--", ":")[number // 10 % 3])
    axes.set_xticks(norm.ppf(_TICKS), [f"{100 * t:g}" for t in _TICKS])
    axes.set_yticks(norm.ppf(_TICKS), [f"{100 * t:g}" for t in _TICKS])
    axes.set(xlabel="false-match rate (%)", ylabel="false-non-match rate (%)", title="DET")
    axes.set(xlim=norm.ppf([5e-4, 0.7]), ylim=norm.ppf([5e-4, 0.9]))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def plot_scores(sets: Mapping[str, Scored], path: Path) -> None:
    """Histograms of the scores of target and impostor trials, one small plot a set."""
    columns = min(3, len(sets))
    rows = -(-len(sets) // columns)
    figure = Figure(figsize=(11, 2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (name, (scores, labels)) in zip(grid.flat, sorted(sets.items()), strict=False):
        for label, word in ((1, "same speaker"), (0, "different speakers")):
            axes.hist(
                scores[labels == label], bins=60, range=(-0.5, 1.0), density=True, alpha=0.6, label=word
            )
        axes.set_title(name, fontsize=9)
        axes.set_yticks([])
    grid.flat[0].legend(fontsize=7)
    figure.supxlabel("similarity (cosine)")
    figure.savefig(path, dpi=100)

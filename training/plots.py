"""What people would rather look at: training histories, DET curves and score histograms, as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.manifold import TSNE
from sklearn.metrics import ConfusionMatrixDisplay
from threadpoolctl import threadpool_limits

from app.arrays import Embeddings
from app.scoring.rates import Floats, error_rates

Scored = tuple[Floats, npt.NDArray[np.int64]]
"""Scores and labels of one trial list."""
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6)


def plot_history(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Loss and the early signals by epoch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([int(r["epoch"]) for r in rows], [float(r["loss"]) for r in rows])
    left.set(xlabel="epoch", ylabel="training loss")
    for name, words in (("aside_eer", "speakers kept aside"), ("dev_eer", "development trials")):
        measured = [(int(r["epoch"]), float(r[name])) for r in rows if r.get(name)]
        if measured:
            right.plot(*zip(*measured, strict=True), marker="o", label=words)
    right.set(xlabel="epoch", ylabel="EER, mean over sets (%)")
    if right.lines:
        right.legend()
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
    axes.legend(fontsize=7, loc="upper right")
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
    grid.flat[0].legend(fontsize=7, loc="upper left")
    figure.supxlabel("similarity (cosine)")
    figure.savefig(path, dpi=100)


def plot_conditions(conditions: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """EER by condition with its interval, and of the same trials untouched; one small plot a family."""
    families = {family: rows for family, rows in conditions.items() if rows}
    figure = Figure(figsize=(4.2 * len(families), 4.2), layout="constrained")
    grid = figure.subplots(1, len(families), sharey=True, squeeze=False)
    for axes, (family, rows) in zip(grid.flat, families.items(), strict=True):
        places = np.arange(len(rows))
        rates = np.array([[row["eer"], *row["eer_interval"]] for row in rows]) * 100
        reach = np.abs(rates[:, 1:] - rates[:, :1]).T
        # Codecs are in no order that a line could follow.
        lines = ("none", "none") if family == "codec" else ("-", ":")
        axes.errorbar(
            places, rates[:, 0], yerr=reach, marker="o", capsize=4, linestyle=lines[0], label="changed"
        )
        before = [100 * row["reference"]["eer"] for row in rows]
        axes.plot(places, before, marker="s", linestyle=lines[1], label="the same trials untouched")
        axes.set_xticks(places, [row["name"] for row in rows], rotation=30, ha="right", fontsize=8)
        axes.set_title(family)
        axes.grid(alpha=0.3)
    grid.flat[0].set_ylim(bottom=0)  # last, and by all: an axis with a limit no longer grows
    grid.flat[0].set_ylabel("EER, mean over sets (%)")
    grid.flat[0].legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=110)


def plot_map(embeddings: Embeddings, speakers: Sequence[str], path: Path, seed: int = 0) -> None:
    """Embeddings in two dimensions by t-SNE, each speaker in a colour of its own.

    Args:
        embeddings: float32 (recordings, dim), unit length, at least four.
        speakers: Who spoke each.
        path: The PNG file.
        seed: Of the projection.
    """
    projection = TSNE(
        perplexity=min(30.0, (len(embeddings) - 1) / 3), metric="cosine", init="pca", random_state=seed
    )
    # On a busy machine OpenMP's threads wait for each other far longer than so few points take.
    with threadpool_limits(1):
        places = projection.fit_transform(embeddings)
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    who = np.array(speakers)
    for number, name in enumerate(dict.fromkeys(speakers)):
        chosen = places[who == name]
        marker = "osD^v"[number // 20 % 5]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=26, marker=marker, color=colormaps["tab20"](number % 20), label=name
        )
    axes.set(xticks=[], yticks=[])
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=110)


def plot_confusions(
    truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64], classes: Sequence[str], path: Path
) -> None:
    """How often each class (rows, which sum to 1) was taken for each (columns).

    Args:
        truth: Class of each recording, (recordings,).
        found: The class that was found.
        classes: Names of the classes, by number.
        path: The PNG file.
    """
    few = len(classes) <= 12  # more of them leave no room for numbers
    side = 2.5 + 0.8 * len(classes) if few else 3 + 0.22 * len(classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        truth,
        found,
        labels=range(len(classes)),
        display_labels=classes,
        normalize="true",
        include_values=few,
        values_format=".2f",
        xticks_rotation="vertical",
        cmap="Blues",
        ax=axes,
    )
    axes.set(xlabel="found", ylabel="true")
    figure.savefig(path, dpi=110)


def plot_reliability(sets: Mapping[str, Scored], path: Path, bins: int = 20) -> None:
    """Scores in bins beside the log-odds that are observed there, by set and for all sets alike.

    Each kind of trial weighs 1 in a set, so observed log-odds are log-likelihood ratios, and a calibrated
    score lies on the diagonal.

    Args:
        sets: Log-likelihood ratios (natural log) and labels; both kinds in each.
        path: The picture.
        bins: Number of bins, which hold as much weight each.
    """
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=":", label="calibrated")
    weights = {
        name: np.where(labels == 1, 1 / labels.sum(), 1 / (labels == 0).sum())
        for name, (_, labels) in sets.items()
    }
    for number, (name, (scores, labels)) in enumerate(sorted(sets.items())):
        points = observed_log_odds(scores, labels, weights[name], bins)
        style = ("-", "--", ":")[number // 10 % 3]
        axes.plot(*points.T, label=name, linewidth=0.8, alpha=0.6, linestyle=style)
    columns = zip(*((*sets[name], weights[name]) for name in sets), strict=True)
    llr, kinds, shares = (np.concatenate(column) for column in columns)
    pooled = observed_log_odds(llr, kinds, shares, bins)
    axes.plot(*pooled.T, color="black", linewidth=2, marker="o", markersize=4, label="all sets alike")
    axes.set(xlabel="score (log-likelihood ratio)", ylabel="observed log-odds at even prior")
    axes.set(xlim=(-10, 10), ylim=(-10, 10), title="Reliability")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, dpi=110)


def observed_log_odds(scores: Floats, labels: npt.NDArray[np.int64], weights: Floats, bins: int) -> Floats:
    """float64 (bins, 2): mean score and observed log-odds of bins of equal weight.

    Bins without trials of both kinds, where the log-odds are infinite, are left out.
    """
    order = np.argsort(scores)
    share = np.cumsum(weights[order])
    place = np.minimum((share / share[-1] * bins).astype(int), bins - 1)
    sums = [
        np.bincount(place, weights=column[order], minlength=bins)
        for column in (weights * (labels == 1), weights * (labels == 0), weights * scores)
    ]
    target, impostor, moment = (s[(sums[0] > 0) & (sums[1] > 0)] for s in sums)
    return np.stack([moment / (target + impostor), np.log(target / impostor)], axis=1)

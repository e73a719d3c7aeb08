"""Figures of the comparison of methods → pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from training.figures import Row

_WAYS = (
    ("untrained", "untrained, cosine"),
    ("frozen", "frozen, cosine"),
    ("linear", "linear probe"),
    ("fine_tuned", "fine-tuned"),
)


def draw_comparison(figures: Mapping[str, Any], out: Path) -> None:
    """Draws eer.png, distances.png and, where a run took time, minutes.png into a folder."""
    rows = figures["methods"]
    _plot_rates(rows, out / "eer.png")
    _plot_distances(rows, out / "distances.png")
    timed = [row for row in rows if row["minutes"]]
    (out / "minutes.png").unlink(missing_ok=True)
    if timed:
        _plot_minutes(timed, out / "minutes.png")


def _plot_rates(rows: Sequence[Row], path: Path) -> None:
    """EER of each method, four bars: untrained, frozen, under the linear probe, fine-tuned."""
    figure = Figure(figsize=(9, 1.5 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rows))
    for number, (key, words) in enumerate(_WAYS):
        rates = [100 * row[key]["eer"] if row[key] else np.nan for row in rows]
        axes.barh(places + (number - 1.5) * 0.21, rates, height=0.21, label=words)
    axes.axvline(50, color="black", linewidth=0.8, linestyle=":", label="chance")
    axes.set_yticks(places, [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("EER, mean over sets (%)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=100)


def _plot_distances(rows: Sequence[Row], path: Path) -> None:
    """Histograms of the distances of same and different speakers, one small plot a method."""
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(2.8 * columns, 1.7 * lines + 0.6), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(rows) :]:
        axes.remove()
    for axes, row in zip(grid.flat, rows, strict=False):
        for key, words in (("same", "same speaker"), ("different", "different speakers")):
            density = row["distances"]["histogram"][key]
            axes.stairs(density, np.linspace(0, 2, len(density) + 1), fill=True, alpha=0.6, label=words)
        axes.set_title(f"{row['name']}, d′ {row['distances']['separation']:.2f}", fontsize=8)
        axes.set_yticks([])
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    figure.supxlabel("Euclidean distance of unit-length embeddings", fontsize=9)
    figure.savefig(path, dpi=100)


def _plot_minutes(rows: Sequence[Row], path: Path) -> None:
    """EER of the frozen and of the fine-tuned network beside the minutes that its method learnt."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    minutes = [row["minutes"] for row in rows]
    for key, words in (_WAYS[1], _WAYS[3]):
        axes.scatter(minutes, [100 * row[key]["eer"] if row[key] else np.nan for row in rows], label=words)
    for row in rows:
        axes.annotate(
            row["name"], (row["minutes"], 100 * row["frozen"]["eer"]), (4, 3),
            textcoords="offset points", fontsize=7,
        )  # fmt: skip
    axes.set(xlabel="minutes of training, without fine-tuning", ylabel="EER, mean over sets (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)

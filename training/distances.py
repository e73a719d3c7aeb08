"""How far windows of one speaker and of two lie apart, by epoch, and who is told apart by it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

from training.corpus import Corpus
from training.progress import read_history
from training.timelines import pairs_of_all

PUBLISHED = {"training": (1.4, 4.7), "test": (1.8, 4.4)}
"""Mean distance of similar and of dissimilar pairs, as published."""
FIGURES = ("similar", "dissimilar", "precision", "recall")
"""What is measured of a group: mean distances, then how well they tell who is one speaker."""
_BATCH = 32


@dataclass(frozen=True)
class Windows:
    """Windows of several speakers, drawn once so that every epoch is measured on the same ones.

    Attributes:
        waveforms: float32 (windows, samples).
        speakers: Number of each one's speaker: (windows,).
    """

    waveforms: npt.NDArray[np.float32]
    speakers: npt.NDArray[np.int64]

    @classmethod
    def drawn(cls, timelines: Corpus, each: int, samples: int, rng: np.random.Generator) -> Self:
        """`each` windows at random places of every timeline of a corpus."""
        drawn = [timelines.crop(row, samples, rng) for row in range(len(timelines)) for _ in range(each)]
        return cls(np.stack(drawn), np.repeat(timelines.speakers, each))


@dataclass(frozen=True)
class Distances:
    """Distances of pairs.

    Attributes:
        values: (pairs,).
        same: 1 where one speaker is in both: (pairs,).
        weights: Of each pair, so that both kinds weigh as in a full epoch of training: (pairs,).
    """

    values: npt.NDArray[np.float64]
    same: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def between(
        cls, vectors: npt.ArrayLike, speakers: npt.NDArray[np.int64], similar: int, dissimilar: int
    ) -> Self:
        """Euclidean distances between all windows.

        Args:
            vectors: (windows, dim), of free length.
            speakers: (windows,).
            similar: Pairs of each speaker in a full epoch.
            dissimilar: Pairs of each two speakers in a full epoch.
        """
        one, other = np.triu_indices(len(speakers), 1)
        same = (speakers[one] == speakers[other]).astype(np.int64)
        full = pairs_of_all(len(np.unique(speakers)), similar, dissimilar)
        each = np.array([full[1] / np.sum(same == 0), full[0] / np.sum(same == 1)])
        return cls(pdist(np.asarray(vectors, np.float64)), same, each[same])

    def threshold(self) -> float:
        """The distance up to which a pair is best said to be of one speaker: where F1 is highest."""
        precision, recall, nearness = precision_recall_curve(
            self.same, -self.values, sample_weight=self.weights
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        return float(-nearness[np.argmax(f1[:-1])])

    def figures(self, threshold: float) -> dict[str, float]:
        """Mean distances, and precision and recall of "one speaker" up to a distance."""
        near = self.values <= threshold
        return {
            "similar": float(self.values[self.same == 1].mean()),
            "dissimilar": float(self.values[self.same == 0].mean()),
            "precision": float(precision_score(self.same, near, sample_weight=self.weights, zero_division=0)),
            "recall": float(recall_score(self.same, near, sample_weight=self.weights)),
        }


class MeasuresDistances(keras.callbacks.Callback):
    """Adds the figures of each group to the logs and writes the report anew, each epoch.

    Args:
        encoder: Waveforms → vectors of free length.
        groups: Windows by the group's name; `training` is where the threshold is chosen.
        pairs: Similar pairs of each speaker and dissimilar ones of each two, in a full epoch.
        about: What the report says beside the figures, by name.
        folder: The stage's folder: distances.json, distances.md, distances.png.
    """

    def __init__(
        self,
        encoder: keras.Model,
        groups: Mapping[str, Windows],
        pairs: tuple[int, int],
        about: Mapping[str, Any],
        folder: Path,
    ) -> None:
        super().__init__()
        self.encoder, self.groups, self.pairs = encoder, groups, pairs
        self.about, self.folder = about, folder

    def measure(self) -> dict[str, float]:
        """`threshold`, and `<group>_<figure>` for each group."""
        found = {
            name: Distances.between(
                self.encoder.predict(windows.waveforms, batch_size=_BATCH, verbose=0),
                windows.speakers,
                *self.pairs,
            )
            for name, windows in self.groups.items()
        }
        threshold = found["training"].threshold()
        figures = {"threshold": threshold}
        for group, distances in found.items():
            figures |= {f"{group}_{name}": value for name, value in distances.figures(threshold).items()}
        return figures

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        measured = self.measure()
        if logs is not None:
            logs.update(measured)  # and so into the history, from which a resumed run goes on
        before = [{name: float(row[name]) for name in measured} for row in read_history(self.folder)[:epoch]]
        write_report([*before, measured], list(self.groups), self.about, self.folder)


def write_report(
    epochs: Sequence[Mapping[str, float]], groups: Sequence[str], about: Mapping[str, Any], folder: Path
) -> None:
    """Writes distances.json, distances.md and distances.png.

    Args:
        epochs: What `MeasuresDistances.measure` gave after each epoch.
        groups: Names of the groups.
        about: What else to say, by name.
        folder: Where to.
    """
    text = {"about": dict(about), "published": PUBLISHED, "epochs": list(epochs)}
    (folder / "distances.json").write_text(json.dumps(text, indent=1, ensure_ascii=False))
    (folder / "distances.md").write_text(_page(epochs, groups, about), encoding="utf-8")
    plot_distances(epochs, groups, folder / "distances.png")


def _page(epochs: Sequence[Mapping[str, float]], groups: Sequence[str], about: Mapping[str, Any]) -> str:
    last = epochs[-1]
    rows = [_row(group, [last[f"{group}_{name}"] for name in FIGURES]) for group in groups]
    columns = [(group, name) for group in groups for name in FIGURES[:2]]
    course = [
        _row(number, [epoch[f"{group}_{name}"] for group, name in columns])
        for number, epoch in enumerate(epochs, 1)
    ]
    return "\n".join(
        [
            "# Distances of the Siamese network",
            "",
            *[f"- {name}: {value}" for name, value in about.items()],
            f"- threshold, {last['threshold']:.2f}: where F1 of the training pairs is highest",
            "",
            f"After {len(epochs)} epochs (similar, dissimilar: mean distance of those pairs):",
            "",
            f"| windows | {' | '.join(FIGURES)} |",
            f"|---|{'---|' * len(FIGURES)}",
            *rows,
            "| published, training | 1.4 | 4.7 | 0.87 | 0.84 |",
            "| published, test | 1.8 | 4.4 | about 0.8 | about 0.8 |",
            "",
            "![Mean distances by epoch](distances.png)",
            "",
            f"| epoch | {' | '.join(f'{group}, {name}' for group, name in columns)} |",
            f"|---|{'---|' * len(columns)}",
            *course,
            "",
        ]
    )


def _row(head: object, values: Sequence[float]) -> str:
    return f"| {head} | {' | '.join(f'{value:.2f}' for value in values)} |"


def plot_distances(epochs: Sequence[Mapping[str, float]], groups: Sequence[str], path: Path) -> None:
    """Mean distance of similar and of dissimilar pairs by epoch, one small plot a group."""
    figure = Figure(figsize=(4 * len(groups), 4), layout="constrained")
    grid = figure.subplots(1, len(groups), sharey=True, squeeze=False)
    for axes, group in zip(grid.flat, groups, strict=True):
        for place, (kind, colour) in enumerate((("similar", "tab:green"), ("dissimilar", "tab:red"))):
            values = [row[f"{group}_{kind}"] for row in epochs]
            axes.plot(range(1, len(epochs) + 1), values, marker=".", color=colour, label=kind)
            if group in PUBLISHED:
                published = PUBLISHED[group][place]
                axes.axhline(published, color=colour, linestyle=":", label=f"published: {published}")
        axes.set(title=group, xlabel="epoch", ylim=(0, None))
        axes.legend(fontsize=8)
    grid.flat[0].set_ylabel("mean Euclidean distance")
    figure.savefig(path, dpi=100)

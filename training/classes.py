"""What a classifier gets right: accuracy, precision, recall and F1 by class, and what it takes for what."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import classification_report

from training.plots import plot_confusions


def write_report(
    truth: npt.NDArray[np.int64],
    found: npt.NDArray[np.int64],
    classes: Sequence[str],
    speakers: int,
    folder: Path,
) -> dict[str, Any]:
    """Writes classes.json, classes.md and confusions.png into a folder.

    Args:
        truth: Class of each recording, (recordings,).
        found: The class that the classifier says.
        classes: Names, by number; each has a recording.
        speakers: How many speakers the recordings are of; none of them was learnt.
        folder: Where to.

    Returns:
        The content of classes.json: scikit-learn's report, beside it `chance`, the accuracy of always saying
        the commonest class, and `line`, the whole in a sentence.
    """
    figures: dict[str, Any] = classification_report(
        truth,
        found,
        labels=range(len(classes)),
        target_names=classes,
        output_dict=True,
        zero_division=0,
    )
    accuracy, chance = float(np.mean(found == truth)), float(np.bincount(truth).max() / len(truth))
    figures |= {"accuracy": accuracy, "chance": chance, "recordings": len(truth), "speakers": speakers}
    macro = figures["macro avg"]
    figures["line"] = (
        f"{len(classes)} classes, {len(truth)} recordings of {speakers} speakers that were not learnt: "
        f"accuracy {100 * accuracy:.1f} % (always saying the commonest class: {100 * chance:.1f} %), "
        f"macro precision {macro['precision']:.3f}, recall {macro['recall']:.3f} "
        f"(by chance {1 / len(classes):.3f}), F1 {macro['f1-score']:.3f}"
    )
    (folder / "classes.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    (folder / "classes.md").write_text(_text(figures, classes), encoding="utf-8")
    plot_confusions(truth, found, classes, folder / "confusions.png")
    return figures


def _text(figures: dict[str, Any], classes: Sequence[str]) -> str:
    rows = "\n".join(
        f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1-score']:.3f} "
        f"| {row['support']:.0f} |"
        for name, row in ((name, figures[name]) for name in (*classes, "macro avg", "weighted avg"))
    )
    return f"""# What the classifier tells apart

{figures["line"]}.

| class | precision | recall | F1 | recordings |
|---|---|---|---|---|
{rows}

![Which class was found for which](confusions.png)
"""

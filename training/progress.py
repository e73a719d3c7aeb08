"""What a run does at each epoch: sets the margin, saves itself, keeps its history."""

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import keras

from training.objectives import MarginSoftmax
from training.plots import plot_history


class MarginSchedule(keras.callbacks.Callback):
    """Raises the angular margin from zero, linearly between two shares of the stage.

    All of an epoch has the margin of its middle: within an epoch, JAX keeps the model's state to itself.
    """

    def __init__(self, loss: MarginSoftmax, epochs: int, span: tuple[float, float]) -> None:
        super().__init__()
        self.loss, self.epochs, self.span = loss, epochs, span

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        first, last = self.span
        done = (epoch + 0.5) / self.epochs
        share = (done - first) / max(last - first, 1e-9)
        self.loss.margin_now.assign(self.loss.margin * min(max(share, 0.0), 1.0))


class Checkpoint(keras.callbacks.Callback):
    """After each epoch: the training model with its optimiser, the branch, the history and its plot.

    The epoch's number is written last and each file is put in place whole, so that a run
    stopped at any moment resumes from its last complete epoch.
    """

    def __init__(self, branch: keras.Model, folder: Path) -> None:
        super().__init__()
        self.branch, self.folder = branch, folder
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for model, name in ((self.model, "training.keras"), (self.branch, "branch.keras")):
            model.save(self.folder / f"new-{name}")
            (self.folder / f"new-{name}").replace(self.folder / name)
        logs = dict(logs or {})
        logs["seconds"] = round(time.monotonic() - self.began, 2)
        best = read_state(self.folder).get("best", float("inf"))
        signal = logs.get("aside_eer", logs.get("dev_eer", float("inf")))
        if signal < best:
            best = signal
            shutil.copy(self.folder / "branch.keras", self.folder / "best.keras")
        self._history(epoch, logs)
        state = self.folder / "new-state.json"
        state.write_text(json.dumps({"epochs_done": epoch + 1, "best": best}))
        state.replace(self.folder / "state.json")

    def _history(self, epoch: int, logs: dict[str, Any]) -> None:
        path = self.folder / "history.csv"
        rows = read_history(self.folder)[:epoch]
        rows.append({"epoch": str(epoch + 1), **{name: str(value) for name, value in logs.items()}})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
        plot_history(rows, self.folder / "history.png")


def read_state(folder: Path) -> dict[str, Any]:
    """What a stage's folder says of its progress; empty before the first epoch."""
    path = folder / "state.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read_history(folder: Path) -> list[dict[str, str]]:
    """The rows of a stage's history, one an epoch."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))

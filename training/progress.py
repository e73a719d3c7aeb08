"""What a run does at each epoch: sets the margin, saves itself, keeps its history."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras

from training.objectives import MarginSoftmax
from training.plots import plot_history
from training.recipe import Stage


class MarginSchedule(keras.callbacks.Callback):
    """Raises the angular margin from zero, linearly between two shares of the stage.

    All of an epoch has the margin of its middle: within an epoch, JAX keeps the model's state to itself.
    """

    def __init__(self, loss: MarginSoftmax, stage: Stage) -> None:
        super().__init__()
        self.loss, self.stage = loss, stage

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        stage = self.stage
        done = (epoch + 0.5) / stage.epochs
        share = (done - stage.margin_from) / max(stage.margin_until - stage.margin_from, 1e-9)
        self.loss.margin_now.assign(stage.margin * min(max(share, 0.0), 1.0))


class Checkpoint(keras.callbacks.Callback):
    """After each epoch: the training model with its optimiser, the branch, the history and its plot.

    The epoch's number is written last and each file is put in place whole, so that a run
    stopped at any moment resumes from its last complete epoch.
    """

    def __init__(self, branch: keras.Model, folder: Path) -> None:
        super().__init__()
        self.branch, self.folder = branch, folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for model, name in ((self.model, "training.keras"), (self.branch, "branch.keras")):
            model.save(self.folder / f"new-{name}")
            (self.folder / f"new-{name}").replace(self.folder / name)
        logs = dict(logs or {})
        logs.setdefault("accuracy", logs.get("speakers_accuracy", ""))
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
        names = ["epoch", "loss", "learning_rate", "accuracy", "margin", "aside_eer", "dev_eer"]
        rows = read_history(self.folder)[:epoch]
        rows.append({"epoch": str(epoch + 1), **{n: str(logs.get(n, "")) for n in names[1:]}})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
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

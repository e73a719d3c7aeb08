"""Training runs, read from what they left, and their networks as models that the service could load."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from app.embedder import sha256_of
from training.export import export_model, new_manifest
from training.methods import load_network, method_named
from training.progress import read_history, read_state

FINE_TUNED: Final = "+probe"
"""What the name of a run has more than that of the run that it went on from."""
UNTRAINED: Final = "+untrained"
"""What the name of a run at a learning rate of 0 has more than that of the run with which it began alike."""


@dataclass(frozen=True)
class Run:
    """A folder that `training.train` left.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.name

    @cached_property
    def stages(self) -> list[dict[str, Any]]:
        """The stages of the recipe as it was run, each with its `folder`."""
        recipe = json.loads((self.folder / "recipe.json").read_text())
        return [
            {**stage, "folder": self.folder / f"stage{number}-{stage['objective']}"}
            for number, stage in enumerate(recipe["stage"], 1)
        ]

    @property
    def is_complete(self) -> bool:
        """Whether every stage has had all its epochs."""
        left = [stage["epochs"] - read_state(stage["folder"]).get("epochs_done", 0) for stage in self.stages]
        return (self.folder / "branch.keras").is_file() and max(left) <= 0

    @property
    def _learning(self) -> list[dict[str, Any]]:
        """The stages that learn: at a rate of 0, only the statistics of batch normalisation are taken."""
        return [stage for stage in self.stages if stage["peak_rate"] > 0]

    @property
    def methods(self) -> list[str]:
        """The objectives that were learnt, each once."""
        return list(dict.fromkeys(stage["objective"] for stage in self._learning))

    @property
    def labels(self) -> str:
        """What the methods are told about a recording."""
        told = dict.fromkeys(method_named(name).labels for name in self.methods)
        return ", ".join(label for label in told if label != "none") or "none"

    @property
    def minutes(self) -> float:
        """Time of all epochs that learn, with the early signals that were taken in them."""
        return (
            sum(float(r["seconds"]) for stage in self._learning for r in read_history(stage["folder"])) / 60
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the network's file."""
        return sha256_of(self.folder / "branch.keras")


def runs_of(folder: Path) -> list[Run]:
    """Every complete run in a folder, by name."""
    found = [Run(path.parent) for path in sorted(folder.glob("*/recipe.json"))]
    return [run for run in found if run.is_complete]


@dataclass(frozen=True)
class Exported:
    """A run's network as a model.

    Attributes:
        folder: The model's folder.
        parameters: Weights of the embedding network.
    """

    folder: Path
    parameters: int


def exported(run: Run, work: Path) -> Exported:
    """Exports a run's network into `work`, unless that has been done.

    Raises:
        ExportFailed: The exported graph is not what was trained.
    """
    folder, facts = work / run.name, work / run.name / "run.json"
    known = json.loads(facts.read_text()) if facts.is_file() else {}
    if known.get("digest") != run.digest:
        network = load_network(run.folder / "branch.keras")
        facts.unlink(missing_ok=True)
        export_model(network, folder, new_manifest(run.name, f"{run.name}/recipe.json"))
        known = {"digest": run.digest, "parameters": network.count_params()}
        facts.write_text(json.dumps(known))
    return Exported(folder, known["parameters"])

"""Every method in miniature: the recipe that is shipped, made small, learnt, measured and exported."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.embedder import Manifest
from training.augment import AugmentConfig
from training.corpus import load_corpus, read_manifest
from training.early_signal import EarlySignal
from training.export import export_model, new_manifest
from training.groups import read_columns
from training.methods import load_network
from training.metrics import read_trial_folder
from training.network import NetworkConfig
from training.progress import read_history
from training.recipe import Recipe, read_recipe
from training.train import train

RECIPES = Path(__file__).parents[3] / "training/recipes"
SMALL = NetworkConfig(channels=32, dilations=(1, 2), aggregate=48, bottleneck=8, dim=24)
QUIET = AugmentConfig(noise=0.3, simulated_rooms=0, codec=0, telephone=0)


@dataclass(frozen=True)
class Learnt:
    """A run in miniature."""

    run: Path
    recipe: Recipe
    losses: list[float]
    """Training loss of each epoch of the first stage."""
    history: list[dict[str, str]]
    """History of the first stage."""
    eer: float
    """EER in % on the miniature's trials, of speakers that were not learnt; chance is 50."""

    def export(self, folder: Path) -> Manifest:
        """Exports the branch as a model folder; the exporter checks it value by value."""
        network = load_network(self.run / "branch.keras")
        return export_model(network, folder, new_manifest("method", "recipe.json"))


Learn = Callable[..., Learnt]


@pytest.fixture
def learn(miniature: Path, tmp_path: Path) -> Learn:
    """`learn("cpc", steps=8, options={"dim": 16})`: trains the recipe cpc.toml, made small, on the miniature.

    Keywords are fields of the first stage; `options` changes some of its method's own, `network` is the size
    of the shared embedding network, and `manifest` another corpus than the miniature's.
    """

    def run(
        name: str,
        *,
        options: dict[str, Any] | None = None,
        network: NetworkConfig = SMALL,
        manifest: Path | None = None,
        **stage: Any,
    ) -> Learnt:
        recipe = read_recipe(RECIPES / f"{name}.toml")
        first = recipe.stage[0]
        small = {"epochs": 3, "steps": 8, "batch": 8, "crop_s": 1.0, "warm_up": 4, "peak_rate": 3e-3} | stage
        first = replace(first, options=replace(first.options, **(options or {})), **small)
        recipe = replace(recipe, stage=(first,), network=network, augment=QUIET, signal_every=10, scale=1.0)
        corpus = load_corpus(read_manifest(manifest or miniature / "utterances.csv", "train"), tmp_path / "c")
        columns = read_columns(manifest or miniature / "utterances.csv")
        train(recipe, corpus, tmp_path / "run", miniature / "noise.csv", columns=columns)
        history = read_history(tmp_path / f"run/stage1-{first.objective}")
        dev = load_corpus(read_manifest(miniature / "utterances.csv", "dev"), tmp_path / "c")
        branch = load_network(tmp_path / "run/branch.keras")
        signal = EarlySignal("dev_eer", branch, dev, read_trial_folder(miniature / "trials"), every=1)
        return Learnt(
            run=tmp_path / "run",
            recipe=recipe,
            losses=[float(row["loss"]) for row in history],
            history=history,
            eer=float(np.mean(list(signal.measure().values()))),
        )

    return run

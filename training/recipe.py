"""A recipe: a TOML file that says how a model is trained, read into one frozen object."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from training.augment import AugmentConfig
from training.corpus import Silence
from training.network import NetworkConfig
from training.pairs import Balance


@dataclass(frozen=True)
class Stage:
    """One objective, trained for a number of epochs; stages follow each other on one branch."""

    objective: Literal["margin_softmax", "contrastive"]
    """What is learnt: a large-margin softmax over speakers, or the contrastive loss of pairs."""
    epochs: int
    """Epochs of `steps` batches each."""
    steps: int = 250
    """Batches per epoch."""
    batch: int = 64
    """Crops (or pairs) per batch."""
    crop_s: float = 1.8
    """Length of a crop, in seconds."""
    peak_rate: float = 1e-3
    """Highest learning rate of Adam."""
    last_rate: float = 1e-5
    """Learning rate at the end."""
    warm_up: int = 500
    """Batches until the highest learning rate."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    margin: float = 0.2
    """Margin: an angle in radians for margin_softmax, a distance for contrastive."""
    margin_from: float = 0.2
    """Share of the stage after which the angular margin starts to rise from zero."""
    margin_until: float = 0.6
    """Share of the stage after which the angular margin stands at its full value."""
    scale: float = 30.0
    """Factor before the softmax (margin_softmax)."""
    centres: int = 1
    """Centres per speaker (margin_softmax)."""
    per_speaker: int = 1
    """Crops of each speaker in a batch, of different recordings where there are several (margin_softmax)."""
    together: int = 1
    """Speakers of a batch that are drawn from one set, as hard impostors (margin_softmax)."""
    impostor_weight: float = 0.0
    """Weight of the prototypical loss beside the softmax; needs per_speaker and together above 1."""
    radius: float = 3.0
    """Radius of the sphere on which distances are taken (contrastive)."""
    speeds: tuple[float, ...] = (1.0,)
    """Playing speeds; each makes new speakers."""


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. Every section of the TOML file is one of these fields."""

    stage: tuple[Stage, ...]
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    balance: Balance = field(default_factory=Balance)
    silence: Silence | None = None
    """Splits silence off with pydub when the section is there."""
    aside: float = 0.0
    """Share of the speakers that is never trained on; the best epoch is chosen by their trials."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the convolutions; front end, pooling, losses and weights are float32, and so is what is exported."""
    seed: int = 1
    signal_every: int = 4
    """Epochs between two early signals."""
    signal_trials: int = 300
    """Trials of each kind and set in such a measurement."""
    notes: str = ""
    """What the recipe is for."""


def _build(kind: type[Any], values: dict[str, Any], place: str) -> Any:
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"{place} does not know {', '.join(sorted(unknown))}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise ValueError(f"{place}: {error}") from error


def read_recipe(path: Path) -> Recipe:
    """Reads a recipe.

    Raises:
        ValueError: The file is no TOML, lacks a stage, or names something unknown.
    """
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    stages = text.pop("stage", [])
    if not stages:
        raise ValueError(f"{path} has no [[stage]]")
    sections = {"network": NetworkConfig, "augment": AugmentConfig, "balance": Balance, "silence": Silence}
    values = {
        name: _build(sections[name], value, f"{path} [{name}]") if name in sections else value
        for name, value in text.items()
    }
    values["stage"] = tuple(
        _build(Stage, stage, f"{path} [[stage]] {i}") for i, stage in enumerate(stages, 1)
    )
    recipe: Recipe = _build(Recipe, values, str(path))
    return recipe

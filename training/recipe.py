"""A recipe: a TOML file that says how a model is trained, read into one frozen object."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from training.augment import AugmentConfig
from training.corpus import Silence
from training.frontend import FrontEnd
from training.methods import method_named
from training.network import NetworkConfig
from training.pairs import Balance


@dataclass(frozen=True)
class Stage:
    """One objective, trained for a number of epochs; stages follow each other on one branch."""

    objective: str
    """The method, a file of training/methods: margin_softmax, contrastive, cpc …"""
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
    decay: Literal["cosine", "polynomial"] = "cosine"
    """How the learning rate falls; polynomial is a straight line."""
    speeds: tuple[float, ...] = (1.0,)
    """Playing speeds; each makes new speakers."""
    options: Any = None
    """The method's own settings, which stand among the common ones in the file; None takes its defaults."""

    def __post_init__(self) -> None:
        if self.options is None:
            object.__setattr__(self, "options", method_named(self.objective).Options())


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. Every section of the TOML file is one of these fields."""

    stage: tuple[Stage, ...]
    network: NetworkConfig = field(default_factory=NetworkConfig)
    front_end: FrontEnd = field(default_factory=FrontEnd)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    balance: Balance = field(default_factory=Balance)
    silence: Silence | None = None
    """Splits silence off with pydub when the section is there."""
    aside: float = 0.0
    """Share of the speakers that is never trained on; the best epoch is chosen by their trials."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the convolutions; front end, pooling, losses and weights are float32, and so is what is exported."""
    scale: float = 1.0
    """Share of the full size's steps that is run, to fit the machine at hand."""
    seed: int = 1
    signal_every: int = 4
    """Epochs between two early signals."""
    signal_trials: int = 300
    """Trials of each kind and set in such a measurement."""
    notes: str = ""
    """What the recipe is for."""

    def scaled(self) -> Self:
        """The recipe as it is run: `scale` of the steps of every stage, at least one each."""
        stages = (replace(stage, steps=max(1, round(stage.steps * self.scale))) for stage in self.stage)
        return replace(self, stage=tuple(stages), scale=1.0)


def stage_of(values: Mapping[str, Any], place: str = "a stage") -> Stage:
    """A stage from its keys: those that are not common to all stages are its method's own.

    Raises:
        ValueError: A key or the method is unknown, or one that has no default is missing.
    """
    common = {f.name for f in fields(Stage)} - {"options"}
    options = built(
        method_named(str(values.get("objective"))).Options,
        {name: value for name, value in values.items() if name not in common},
        place,
    )
    shared = {name: value for name, value in values.items() if name in common}
    stage: Stage = built(Stage, {**shared, "options": options}, place)
    return stage


def _change(text: dict[str, Any], change: str) -> None:
    """Puts one `key=value` into what was read; the value is TOML, and a word without quotes is a word."""
    key, _, value = change.partition("=")
    *sections, name = key.split(".")
    place: Any = text
    try:
        for section in sections:
            place = place[int(section) - 1] if isinstance(place, list) else place.setdefault(section, {})
    except (ValueError, IndexError):
        raise ValueError(f"{change}: there is no stage {section}") from None
    try:
        place[name] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        place[name] = value


def built(kind: type[Any], values: dict[str, Any], place: str) -> Any:
    """A frozen section from its keys; lists become tuples.

    Args:
        kind: The dataclass.
        values: Its fields by name.
        place: Where they stand, for the message.

    Raises:
        ValueError: A key is unknown, or one that has no default is missing.
    """
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"{place} does not know {', '.join(sorted(unknown))}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**plain)
    except TypeError as error:
        raise ValueError(f"{place}: {error}") from error


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Reads a recipe.

    Args:
        path: The file.
        changes: What to say otherwise, `key=value`: `scale=0.1`, `front_end.kind=plp`, `stage.1.epochs=3`.

    Raises:
        ValueError: The file is no TOML, lacks a stage, or names something unknown.
    """
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    for change in changes:
        _change(text, change)
    stages = text.pop("stage", [])
    if not stages:
        raise ValueError(f"{path} has no [[stage]]")
    sections = {
        "network": NetworkConfig,
        "front_end": FrontEnd,
        "augment": AugmentConfig,
        "balance": Balance,
        "silence": Silence,
    }
    values = {
        name: built(sections[name], value, f"{path} [{name}]") if name in sections else value
        for name, value in text.items()
    }
    values["stage"] = tuple(stage_of(stage, f"{path} [[stage]] {i}") for i, stage in enumerate(stages, 1))
    recipe: Recipe = built(Recipe, values, str(path))
    return recipe
